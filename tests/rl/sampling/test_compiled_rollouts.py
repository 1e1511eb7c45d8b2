"""Compiled rollouts: what the loop through numpy returns, from where it stands to where it leaves off."""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from numpy.random import SeedSequence

from envs.task_distribution import scaled_box
from envs.two_colours import TwoColoursGrid, two_colours
from maml_rl.core.tree import map_tree
from maml_rl.core.types import Params
from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.policies import categorical_mlp
from maml_rl.rl.sampling.actors import memoryless
from maml_rl.rl.sampling.compiled_rollouts import CompiledRollouts
from maml_rl.rl.sampling.sampler import Carry, Sampler
from maml_rl.rl.sampling.seeds import task_seeds
from maml_rl.rl.sampling.stepping import SimulationError
from maml_rl.rl.sampling.trajectories import Rollout
from tests.compiler import needs_compiler

TASKS, EPISODES, STEPS = 3, 2, 60
COLOURS = EnvironmentConfig("envs:TwoColours-v0", {"size": 3, "swap_every": [5, 9]})
POLICY = categorical_mlp(18, 4, (8,))
ACTOR = memoryless(POLICY)


def _params() -> Params:
    one = [POLICY.initial(torch.Generator().manual_seed(task), torch.float64) for task in range(TASKS)]
    return map_tree(lambda *leaves: torch.stack(leaves), *one)


def _sampler(compiled: bool) -> Sampler:
    return Sampler(COLOURS, TASKS, EPISODES, torch.device("cpu"), torch.float64, compiled)


def _started(sampler: Sampler) -> Carry:
    tasks = sampler.stepper.draw_tasks(SeedSequence(1))
    return sampler.start(ACTOR, tasks, task_seeds(0, 0, 0, 0, TASKS))


def _lived(sampler: Sampler, rollouts: int) -> tuple[list[Rollout], Carry, dict[str, np.ndarray]]:
    """Rollouts one after the other, and where the environments stand behind them."""
    carry, lived = _started(sampler), []
    for index in range(rollouts):
        rollout, carry = sampler.rollout(ACTOR, _params(), carry, task_seeds(0, 0, 0, index + 1, TASKS), STEPS)
        lived.append(rollout)
    return lived, carry, sampler.stepper.envs.snapshot()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def compiled() -> Iterator[Sampler]:
    """One sampler for all tests, for it takes seconds to compile."""
    sampler = _sampler(compiled=True)
    yield sampler
    sampler.close()


@needs_compiler
def test_it_is_the_loop_through_numpy(compiled: Sampler) -> None:
    plain = _sampler(compiled=False)
    (wanted, end, stood), (lived, other_end, other_stood) = _lived(plain, 2), _lived(compiled, 2)
    plain.close()
    assert torch.stack([rollout.rewards for rollout in wanted]).unique().numel() == 3
    for one, two in zip(wanted, lived, strict=True):
        for field in fields(Rollout):
            before, after = getattr(one, field.name), getattr(two, field.name)
            torch.testing.assert_close(after, before, rtol=1e-12, atol=1e-12, msg=field.name)
            assert after.is_contiguous()
            assert not after.is_inference()
    assert lived[0].episode_starts[..., 0].all()
    assert not lived[1].episode_starts.any()
    np.testing.assert_array_equal(end.observations, other_end.observations)
    np.testing.assert_array_equal(end.elapsed, other_end.elapsed)
    assert set(stood) == set(other_stood)
    for name, values in stood.items():
        np.testing.assert_array_equal(values, other_stood[name])


@needs_compiler
def test_other_tasks_and_other_policies_are_not_taken_for_those_of_the_first_rollout(compiled: Sampler) -> None:
    other = memoryless(categorical_mlp(18, 4, (8,), "tanh"))
    plain, rewards = _sampler(compiled=False), []
    for sampler in (plain, compiled):
        _lived(sampler, 1)
        tasks = [{"blue_reward": -1.0, "swap_every": 7}] * TASKS
        carry = sampler.start(other, tasks, task_seeds(0, 0, 0, 0, TASKS))
        rewards.append(sampler.rollout(other, _params(), carry, task_seeds(0, 0, 0, 1, TASKS), STEPS)[0])
    plain.close()
    torch.testing.assert_close(rewards[1].rewards, rewards[0].rewards, rtol=0, atol=1e-12)
    torch.testing.assert_close(rewards[1].log_probs, rewards[0].log_probs, rtol=1e-12, atol=1e-12)


@needs_compiler
def test_an_actor_with_a_memory_is_refused(compiled: Sampler) -> None:
    carry = _started(compiled)._replace(memory=torch.zeros(TASKS, EPISODES, 1))
    with pytest.raises(ValueError, match="for actors without a memory"):
        compiled.rollout(ACTOR, _params(), carry, task_seeds(0, 0, 0, 1, TASKS), 3)


@needs_compiler
def test_a_reward_that_is_not_finite_is_told_with_its_task() -> None:
    task = two_colours(3)

    def reward(before: Any, controls: Any, after: Any, tasks: Any) -> Any:
        rewards = task.distribution.reward(before, controls, after, tasks)
        return rewards.sqrt() if isinstance(rewards, torch.Tensor) else rewards

    broken = replace(task, distribution=replace(task.distribution, reward=reward))
    sampler = _sampler(compiled=False)
    sampler.stepper.envs.close()
    sampler.stepper.envs = broken.vector(TASKS * EPISODES)
    rollouts, tasks = CompiledRollouts(sampler.stepper, sampler._layout), [{"blue_reward": 1.0}] * TASKS
    carry = sampler.start(ACTOR, tasks, task_seeds(0, 0, 0, 0, TASKS))
    noise = torch.zeros(2, TASKS, EPISODES, 4, dtype=torch.float64)
    with pytest.raises(SimulationError, match=r"task 0 .*time step 0: the reward is not a finite number"):
        rollouts.rollout(ACTOR, _params(), carry.observations, carry.elapsed, noise, tasks)


class _Assigned(TwoColoursGrid):
    def assign(self, tasks: Any) -> None:
        """Takes the tasks beforehand."""


def test_only_pure_functions_of_choices_are_given_to_compile() -> None:
    task = two_colours(3)
    box = scaled_box(1, 1.0)
    for other in (
        replace(task, simulator=_Assigned(3)),
        replace(task, distribution=replace(task.distribution, tensors=False)),
        replace(task, distribution=replace(task.distribution, action_space=box)),
        replace(task, distribution=replace(task.distribution, action_space=gym.spaces.Discrete(4, start=1))),
    ):
        assert other.vector(2).tensor_step() is None
    assert task.vector(2).tensor_step() is not None


def test_the_end_of_an_episode_is_no_step_to_go_on_from() -> None:
    task = two_colours(3)
    ending = replace(task.distribution, terminated=lambda states, tasks: np.ones(len(states), dtype=bool))
    envs = replace(task, distribution=ending).vector(2)
    envs.reset(seed=0)
    with pytest.raises(RuntimeError, match="an episode ended in steps taken elsewhere"):
        envs.go_on(envs.standing(), 1)


@needs_compiler
def test_a_policy_that_is_not_finite_is_told_with_its_task(compiled: Sampler) -> None:
    params, carry = _params(), _started(compiled)
    params["layer1.bias"][1, 2] = float("nan")
    with pytest.raises(FloatingPointError, match=r"task 1 .*time step 0: the policy's output is not a finite number"):
        compiled.rollout(ACTOR, params, carry, task_seeds(0, 0, 0, 1, TASKS), 3)


@pytest.mark.parametrize(
    "config",
    [
        EnvironmentConfig("envs:Navigation2D-v0"),
        EnvironmentConfig("envs:TwoColours-v0", {"horizon": 100}),
        EnvironmentConfig("envs:TwoColours-v0", max_episode_steps=100),
        EnvironmentConfig("envs:TwoColours-v0", show_task=True),
    ],
    ids=["numpy alone", "a horizon", "a time limit", "a wrapper"],
)
def test_other_environments_are_refused(config: EnvironmentConfig) -> None:
    with pytest.raises(ValueError, match="`compiled` is for environments whose steps are functions of tensors"):
        Sampler(config, 1, 1, torch.device("cpu"), torch.float64, compiled=True)
