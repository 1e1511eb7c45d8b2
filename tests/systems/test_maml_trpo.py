"""MAML-TRPO as a whole: same seed same curve, fresh data at each step, learning, no leak."""

import dataclasses
import gc
import resource
from typing import Any

import numpy as np
import pytest
import torch

from maml_rl.core.tree import flatten, map_tree
from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.policies import PolicyConfig
from maml_rl.rl.sampling.seeds import drawing_seed
from maml_rl.systems.inner import InnerConfig
from maml_rl.systems.maml_trpo import Config, OuterConfig, System

NAVIGATION = Config(
    environment=EnvironmentConfig("envs:Navigation2D-v0", {"horizon": 20, "action_scale": 1.0}),
    policy=PolicyConfig([16]),
    tasks=4,
    episodes=5,
    torch_threads=1,
)
CHEETAH = dataclasses.replace(
    NAVIGATION, environment=EnvironmentConfig("envs:HalfCheetahVel-v0", {"horizon": 10}, {"num_threads": 1})
)


def _curve(config: Config, iterations: int = 3) -> tuple[list[dict[str, float]], dict[str, Any]]:
    system = System(config)
    state, curve = system.initial_state(), []
    for iteration in range(iterations):
        state, metrics = system.iterate(state, iteration)
        curve.append({name: value for name, value in metrics.items() if not name.endswith("_s")})
    system.close()
    return curve, state


def _same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return torch.equal(flatten(first["meta"]), flatten(second["meta"]))


def test_the_same_seed_gives_the_same_curve_bitwise_for_one_and_two_simulation_threads() -> None:
    two = dataclasses.replace(CHEETAH.environment, vector_arguments={"num_threads": 2})
    curve, state = _curve(CHEETAH)
    other_curve, other_state = _curve(dataclasses.replace(CHEETAH, environment=two))
    assert curve == other_curve
    assert _same(state, other_state)
    assert _curve(dataclasses.replace(CHEETAH, seed=2))[0] != curve


def test_training_does_not_touch_the_global_generators() -> None:
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    _curve(NAVIGATION, 1)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()  # noqa: NPY002


@pytest.mark.parametrize(
    "changes",
    [
        {"inner": InnerConfig(steps=0)},
        {"inner": InnerConfig(steps=3)},
        {"inner": InnerConfig(steps=2, mode="first_order")},
        {"inner": InnerConfig(steps=2), "outer": OuterConfig(objective="uniform")},
        {"inner": InnerConfig(steps=1), "outer": OuterConfig(objective=[0.5, 0.5], chunk=3)},
        {"precision": "float64"},
    ],
    ids=str,
)
def test_every_combination_iterates(changes: dict[str, Any]) -> None:
    curve, _state = _curve(dataclasses.replace(NAVIGATION, **changes), 2)
    assert all(np.isfinite(value) for metrics in curve for value in metrics.values())
    assert not any(metrics["line_search_rejected"] for metrics in curve)
    steps = changes.get("inner", InnerConfig()).steps
    assert {f"return_step_{k}" for k in range(steps + 1)} <= curve[0].keys()


def test_a_categorical_policy_learns_the_corridor_of_a_third_party(third_party: str) -> None:
    config = Config(
        environment=EnvironmentConfig(f"{third_party}:Corridor-v0"),
        policy=PolicyConfig([8], "tanh"),
        inner=InnerConfig(learning_rate=[1.0, 0.5]),
        tasks=6,
        episodes=10,
        torch_threads=1,
    )
    curve, _ = _curve(config, 15)
    early, late = ([m["return_step_1"] for m in part] for part in (curve[:3], curve[-3:]))
    assert np.mean(late) > np.mean(early) + 1.0
    assert np.mean([m["adaptation_gain"] for m in curve[-3:]]) > 1.0


def test_adaptation_helps_after_a_few_iterations_of_navigation() -> None:
    config = dataclasses.replace(NAVIGATION, tasks=10, episodes=10, policy=PolicyConfig([32]))
    curve, state = _curve(config, 25)
    gains = [metrics["adaptation_gain"] for metrics in curve]
    assert np.mean(gains[-5:]) > 1.0
    assert np.mean(gains[-5:]) > 2 * np.mean(gains[:3])
    system = System(config)
    evaluation = system.evaluate([state], system.Options(steps=3, tasks=12, seed=0, episodes=8))
    assert evaluation.values.shape == (4, 12, 8)
    returns = evaluation.values.mean((1, 2))
    assert returns[1] > returns[0] + 1.0


def test_evaluation_is_repeatable_and_never_sees_the_training_tasks() -> None:
    system = System(NAVIGATION)
    state = system.initial_state()
    before = map_tree(torch.clone, state)
    options = system.Options(steps=2, tasks=3, seed=NAVIGATION.seed, episodes=2)
    first, second = (system.evaluate([state], options) for _ in range(2))
    assert first.tasks == second.tasks
    np.testing.assert_array_equal(first.values, second.values)
    assert _same(state, before)
    for iteration in range(50):
        drawn = system.sampler.stepper.draw_tasks(drawing_seed(NAVIGATION.seed, 0, iteration))
        assert not {str(task) for task in first.tasks} & {str(task) for task in drawn}
    faster = system.evaluate([state], dataclasses.replace(options, learning_rates=[5.0]))
    assert np.array_equal(faster.values[0], first.values[0])
    assert not np.array_equal(faster.values[1], first.values[1])
    assert first.settings["learning_rates"] == [0.1, 0.05]
    assert faster.settings["learning_rates"] == [5.0, 5.0]
    system.close()


def test_thirty_iterations_leak_nothing() -> None:
    config = dataclasses.replace(NAVIGATION, tasks=8, episodes=20, policy=PolicyConfig([64, 64]))
    system = System(config)
    state = system.initial_state()

    def resident() -> int:
        gc.collect()
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    sizes, tensors = [], []
    for iteration in range(40):
        state, _ = system.iterate(state, iteration)
        if iteration in (9, 39):
            sizes.append(resident())
            tensors.append(sum(type(thing) is torch.Tensor for thing in gc.get_objects()))
    # One kept graph would be about 30 MB; thirty of them would be noticed many times over.
    assert sizes[1] - sizes[0] < 60e6
    assert tensors[1] <= tensors[0]
    system.close()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Config(tasks=0), "`tasks` must be at least 1, got 0"),
        (lambda: Config(episodes=0), "`episodes`"),
        (lambda: Config(iterations=-1), "`iterations`"),
        (lambda: Config(seed=-1), "`seed`"),
        (lambda: PolicyConfig([0]), "policy.hidden"),
        (lambda: PolicyConfig(minimum_std=0.0), "policy.minimum_std"),
        (lambda: PolicyConfig(initial_std=1e-9), "policy.minimum_std"),
        (lambda: InnerConfig(steps=-1), "inner.steps"),
        (lambda: InnerConfig(learning_rate=-0.1), "learning rates"),
        (lambda: InnerConfig(learning_rate=[]), "learning rates"),
        (lambda: OuterConfig(max_kl=0.0), "outer.max_kl"),
        (lambda: OuterConfig(line_search_shrink=1.0), "outer.line_search_shrink"),
        (lambda: OuterConfig(chunk=0), "outer.chunk"),
        (lambda: Config(inner=InnerConfig(steps=0), outer=OuterConfig(objective="uniform")), "at least one, got 0"),
        (lambda: Config(outer=OuterConfig(objective=[1.0])), r"K \+ 1 = 2 entries"),
        (lambda: System(Config(device="tpu")), "`device` must be 'cpu', 'cuda'"),
        (lambda: System(Config(device="meta")), "`device` must be 'cpu', 'cuda'"),
        (lambda: System(Config(device="cuda:99")), "no such CUDA device"),
        (lambda: Config(seed=2**32), "`seed`"),
        (lambda: Config(outer=OuterConfig(objective=[0.0, 0.0])), "sum to 1"),
        (lambda: Config(outer=OuterConfig(objective=[-1.0, 2.0])), "at least 0"),
        (lambda: EnvironmentConfig(max_episode_steps=0), "max_episode_steps"),
        (lambda: EnvironmentConfig(arguments={"render_mode": "human"}), "cannot hold render_mode"),
    ],
)
def test_impossible_configurations_are_refused_by_name(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_refused() -> None:
    with pytest.raises(ValueError, match="no such CUDA device"):
        System(Config(device="cuda"))
