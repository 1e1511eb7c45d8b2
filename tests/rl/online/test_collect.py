"""Collecting without a graph and estimating with one: the same learners, and each for itself."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.random import SeedSequence
from torch import Tensor
from torch.utils._pytree import tree_leaves

from maml_rl.core.estimators import Estimator, Lifetimes, bootstrapped, decayed_trace, truncated_unroll
from maml_rl.core.tree import map_tree
from maml_rl.core.types import Memory, Meta
from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.online.hyperparameters import FIXED, HyperparameterConfig
from maml_rl.rl.online.learner import LearnerConfig, OnlineLearner
from maml_rl.rl.online.lives import Lives
from maml_rl.rl.sampling.sampler import Sampler
from maml_rl.rl.sampling.seeds import task_seeds
from tests.rl.online.learners import learner, theta_of

COUNT, E, T, SICK = 3, 2, 5, 1
CHAIN = EnvironmentConfig("envs:NoisyChain-v0", {"states": 4, "signal": [0.1, 0.9]})
GRID = EnvironmentConfig("envs:TwoColours-v0", {"size": 3, "swap_every": 4})
PLANE = EnvironmentConfig("envs:Navigation2D-v0", {"horizon": 7, "goal_radius": 0.3})
SIZES = {CHAIN.id: (4, 1), GRID.id: (18, 4), PLANE.id: (2, None)}


def _learner(environment: EnvironmentConfig, rule: Any = "sgd") -> OnlineLearner:
    gamma = HyperparameterConfig(0.9, "one")
    return learner(*SIZES[environment.id], LearnerConfig(rule), gamma=gamma)


def _thetas(one: OnlineLearner, count: int = COUNT) -> Meta:
    """A theta for each lifetime, with a learning rate of its own."""
    theta = map_tree(lambda leaf: leaf.expand(count, *leaf.shape).clone(), theta_of(one, learning_rate=0.05))
    theta[FIXED]["learning_rate"] += 0.02 * torch.arange(count)
    return theta


def _lifetimes(count: int = COUNT, traced: bool = False) -> Lifetimes:
    return Lifetimes(count, 10**6, staggered=False, apart=True, traced=traced)


def _lives(one: OnlineLearner, environment: EnvironmentConfig, count: int = COUNT, traced: bool = False) -> Lives:
    sampler = Sampler(environment, count, E, torch.device("cpu"), torch.float64)
    tasks = Sampler(environment, COUNT, E, torch.device("cpu"), torch.float64).stepper.draw_tasks(SeedSequence(7))
    return Lives(one, _lifetimes(count, traced), sampler, tasks[:count], T)


def _seeds(window: int, count: int = COUNT) -> Callable[[int], Sequence[SeedSequence]]:
    return lambda rollout: task_seeds(3, 0, window, rollout, count)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _require_close(one: Any, other: Any) -> None:
    for ours, wanted in zip(tree_leaves(one), tree_leaves(other), strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-12, atol=1e-12)


def _estimators(one: OnlineLearner) -> list[Estimator]:
    problem, lifetimes = one.problem(), _lifetimes()
    return [
        truncated_unroll(problem, lifetimes, 3),
        decayed_trace(problem, lifetimes, 3, 0.9),
        bootstrapped(problem, lifetimes, 2, 2, one.descend, one.match),
    ]


@pytest.mark.parametrize(("environment", "rule"), [(CHAIN, "sgd"), (GRID, "adam"), (PLANE, "sgd")])
def test_the_estimator_reaches_the_learners_that_acted(environment: EnvironmentConfig, rule: str) -> None:
    """In every window the learner that acts first is the one whom the window before has made."""
    one = _learner(environment, rule)
    for estimator in _estimators(one):
        lives, theta = _lives(one, environment), _thetas(one)
        memory, standing = estimator.init(theta, _generator(0)), ""
        for call in range(3):
            window, standing = lives.window(theta, memory, standing, _seeds(call + 1), estimator.steps)
            assert window.data.rewards.shape == (COUNT, estimator.steps, E, T)
            on, finite = lives.collector.lived_on(theta, memory, window)
            memory = estimator.estimate(theta, memory, window.data, _generator(call)).memory
            # The last rollout of a bootstrapped estimate is learned from in its target alone.
            reached = window.last if estimator.name == "bootstrapped" else on["carry"]
            _require_close(memory["carry"], reached)
            assert bool(finite.all())
            taken = estimator.steps - (estimator.name == "bootstrapped")
            assert memory["step"].tolist() == [(call + 1) * taken] * COUNT
            assert on["step"].tolist() == [call * taken + estimator.steps] * COUNT
        lives.sampler.close()


@pytest.mark.parametrize("environment", [GRID, PLANE], ids=lambda each: each.id)
def test_what_was_sampled_is_what_the_learners_do(environment: EnvironmentConfig) -> None:
    """The learner in an estimate gives the actions of the rollout the probabilities that they were sampled with."""
    one = _learner(environment)
    lives, theta = _lives(one, environment), _thetas(one)
    memory, standing = (
        truncated_unroll(one.problem(), _lifetimes(), 3).init(theta, _generator(0)),
        "",
    )
    played, rollout = [], lives.sampler.rollout
    lives.sampler.rollout = lambda *args: played.append(rollout(*args)) or played[-1]  # type: ignore[func-returns-value, method-assign]
    window, _ = lives.window(theta, memory, standing, _seeds(1), 3)
    for n in range(COUNT):
        own = map_tree(lambda leaf, n=n: leaf[n], theta)
        carry = one.begin(own, memory["seed"][n])
        for k in range(3):
            data = map_tree(lambda leaf, n=n, k=k: leaf[n, k], window.data)
            log_probs = one.agent.policy.act(one.agent.actor(carry["params"]), data.observations).log_prob(data.actions)
            torch.testing.assert_close(log_probs, played[k][0].log_probs[n], rtol=1e-11, atol=1e-12)
            carry = one.learn(own, carry, data, torch.tensor(k))
    lives.sampler.close()


@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_a_learner_whose_update_is_not_finite_acts_as_before_and_leaves_the_others_their_bits(rule: str) -> None:
    one = _learner(GRID, rule)
    theta = _thetas(one)
    poisoned = map_tree(torch.clone, theta)
    poisoned[FIXED]["learning_rate"][SICK] = float("inf")
    others = [n for n in range(COUNT) if n != SICK]
    windows = []
    for each in (theta, poisoned):
        lives = _lives(one, GRID)
        memory = truncated_unroll(one.problem(), _lifetimes(), 3).init(each, _generator(0))
        windows.append(lives.window(each, memory, "", _seeds(1), 3)[0])
        on, finite = lives.collector.lived_on(each, memory, windows[-1])
        lives.sampler.close()
    assert finite.tolist() == [n != SICK for n in range(COUNT)]
    assert on["step"].tolist() == [0 if n == SICK else 3 for n in range(COUNT)]
    begun = one.begin(map_tree(lambda leaf: leaf[SICK], theta), memory["seed"][SICK])
    _require_close(map_tree(lambda leaf: leaf[SICK], windows[1].last), begun)
    for healthy, sick in zip(tree_leaves(windows[0][:2]), tree_leaves(windows[1][:2]), strict=True):
        assert torch.equal(healthy[others], sick[others])
    assert bool(torch.stack([leaf.double().isfinite().all() for leaf in tree_leaves(windows[1].data)]).all())


def test_adams_memory_counts_as_the_learner() -> None:
    """A gradient whose square is infinite leaves parameters finite, and a learner that would never move again."""
    one = _learner(GRID, "adam")
    lives, theta = _lives(one, GRID), _thetas(one)
    memory = truncated_unroll(one.problem(), _lifetimes(), 3).init(theta, _generator(0))
    window, _ = lives.window(theta, memory, "", _seeds(1), 1)
    rewards = window.data.rewards.clone()
    rewards[SICK] *= 1e200
    _, finite = lives.collector.lived_on(theta, memory, window._replace(data=window.data._replace(rewards=rewards)))
    assert finite.tolist() == [n != SICK for n in range(COUNT)]
    lives.sampler.close()


@pytest.mark.parametrize("environment", [CHAIN, GRID, PLANE], ids=lambda each: each.id)
def test_a_lifetime_does_not_depend_on_how_many_live_beside_it(environment: EnvironmentConfig) -> None:
    one = _learner(environment)
    lived: list[list[Any]] = []
    for count in (COUNT, 1):
        lives, theta = _lives(one, environment, count), _thetas(one, count)
        memory: Memory = truncated_unroll(one.problem(), _lifetimes(count), 2).init(theta, _generator(0))
        memory = {**memory, "seed": torch.arange(count)}
        standing, windows = "", []
        for call in range(2):
            window, standing = lives.window(theta, memory, standing, _seeds(call + 1, count), 2)
            memory, _ = lives.collector.lived_on(theta, memory, window)
            windows.append(map_tree(lambda leaf: leaf[0], window[:2]))
        lived.append(windows)
        lives.sampler.close()
    _require_close(*lived)


def test_a_lifetime_that_begins_anew_acts_as_one_that_begins_and_rollouts_have_seeds_of_their_own() -> None:
    one = _learner(GRID)
    lives, theta, asked = _lives(one, GRID), _thetas(one), list[int]()
    memory, standing = (
        truncated_unroll(one.problem(), _lifetimes(), 3).init(theta, _generator(0)),
        "",
    )
    worn = map_tree(lambda leaf: leaf + 1, memory["carry"])
    memory = {**memory, "carry": worn, "step": torch.tensor([4, 0, 4])}
    window, _ = lives.window(theta, memory, standing, lambda k: asked.append(k) or _seeds(1)(k), 1)  # type: ignore[func-returns-value]
    begun = one.begin(map_tree(lambda leaf: leaf[1], theta), memory["seed"][1])
    for last, old, new in zip(tree_leaves(window.last), tree_leaves(worn), tree_leaves(begun), strict=True):
        assert torch.equal(last[[0, 2]], old[[0, 2]])
        assert torch.equal(last[1], new)
    lives.window(theta, memory, standing, lambda k: asked.append(k) or _seeds(1)(k), 3)  # type: ignore[func-returns-value]
    lives.window(theta, memory, "", lambda k: asked.append(k) or _seeds(1)(k), 2)  # type: ignore[func-returns-value]
    assert asked == [0, 1, 0, 1, 2, 3, 0, 1, 2]
    lives.sampler.close()


def test_records_change_no_bit() -> None:
    """Also with biases that begin as one tensor of zeros and then part."""
    one = _learner(GRID)
    results = []
    for traced in (False, True):
        lives, theta = _lives(one, GRID, traced=traced), _thetas(one)
        estimator = truncated_unroll(one.problem(), _lifetimes(traced=traced), 2)
        memory, standing = estimator.init(theta, _generator(0)), ""
        for call in range(3):
            window, standing = lives.window(theta, memory, standing, _seeds(call + 1), 2)
            estimate = estimator.estimate(theta, memory, window.data, _generator(call))
            on, _ = lives.collector.lived_on(theta, memory, window)
            memory = estimate.memory
            results.append((estimate.gradient, memory, on, window.data, window.last))
        lives.sampler.close()
    half = len(results) // 2
    for plain, recorded in zip(results[:half], results[half:], strict=True):
        for ours, wanted in zip(tree_leaves(recorded), tree_leaves(plain), strict=True):
            assert torch.equal(ours, wanted)


def test_environments_that_cannot_be_stored_begin_anew_in_each_window() -> None:
    one = _learner(PLANE)
    lives = _lives(one, EnvironmentConfig(PLANE.id, PLANE.arguments, backend="sync"))
    theta = _thetas(one)
    memory = truncated_unroll(one.problem(), _lifetimes(), 1).init(theta, _generator(0))
    first, nothing = lives.window(theta, memory, "", _seeds(1), 1)
    assert nothing == ""
    second, _ = lives.window(theta, memory, "", _seeds(2), 1)
    firsts: list[Tensor] = [window.data.observations[:, 0, :, 0] for window in (first, second)]
    np.testing.assert_array_equal(firsts[0], 0.0)
    np.testing.assert_array_equal(firsts[1], 0.0)
    lives.sampler.close()
