"""Compiled rollouts: what the loop through numpy returns, from where it stands to where it leaves off."""

from collections.abc import Iterator
from dataclasses import fields

import numpy as np
import pytest
import torch
from numpy.random import SeedSequence

from maml_rl.core.tree import map_tree
from maml_rl.core.types import Params
from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.policies import categorical_mlp
from maml_rl.rl.sampling.actors import memoryless
from maml_rl.rl.sampling.sampler import Carry, Sampler
from maml_rl.rl.sampling.seeds import task_seeds
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
