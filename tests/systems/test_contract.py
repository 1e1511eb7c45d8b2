"""The contract of systems: one table that every built-in system joins, whatever it learns."""

import io
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maml_rl.core.tree import map_tree
from maml_rl.rl.environments import vector
from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.online.actor_critic import CriticConfig
from maml_rl.rl.online.hyperparameters import HyperparameterConfig
from maml_rl.rl.policies import PolicyConfig
from maml_rl.rl.recurrent.gru_policy import RecurrentConfig
from maml_rl.run.checkpoint import fitted
from maml_rl.systems.compared_trainings import ComparisonOptions
from maml_rl.systems.evaluation import EvaluationOptions
from maml_rl.systems.inner import InnerConfig
from maml_rl.systems.learned_optimiser_config import MetaConfig, OptimiserConfig
from maml_rl.systems.optimiser_search_config import ChildConfig, ControllerConfig
from maml_rl.systems.registry import BUILT_IN, registered
from maml_rl.systems.synaptic_rule_config import TasksConfig
from maml_rl.systems.system import RunConfig, State
from tests.systems.test_maml import SMALL as SUPERVISED

ENVIRONMENT = EnvironmentConfig(arguments={"horizon": 6}, held_out={"goal_range": 0.2})
POLICIES: dict[str, Any] = {"environment": ENVIRONMENT, "tasks": 2, "precision": "float64"}
ADAPTING: dict[str, Any] = {**POLICIES, "policy": PolicyConfig([8]), "episodes": 3}
VALUES: dict[str, dict[str, Any]] = {
    "learned_optimiser": {
        "precision": "float64",
        "optimiser": OptimiserConfig(units=[3]),
        "problems": ["bowl", "softmax"],
        "lifetimes": 2,
        "length": 6,
        "meta": MetaConfig(unroll=3),
        "traced": False,
    },
    "maml": {**SUPERVISED, "inner": InnerConfig(learned_rates=True)},
    "maml_trpo": ADAPTING,
    "meta_gradient": {
        "environment": ENVIRONMENT,
        "precision": "float64",
        "seeds": 2,
        "rollout": 4,
        "policy": PolicyConfig([4]),
        "critic": CriticConfig([4]),
        "gamma": HyperparameterConfig(0.9, "one"),
        "traced": False,
    },
    "optimiser_search": {
        "precision": "float64",
        "child": ChildConfig("bowl", 4, [0.01, 0.1], 2),
        "controller": ControllerConfig(units=4),
        "batch": 4,
        "memory": 50,
    },
    "promp": ADAPTING,
    "reptile": ADAPTING,
    "rl2": {**POLICIES, "policy": RecurrentConfig(4, [])},
    "synaptic_rule": {
        "precision": "float64",
        "tasks": TasksConfig(inputs=2, held_out=3),
        "presentations": 10,
        "lifetimes": 2,
        "traced": False,
    },
}
IN_ENVIRONMENTS = {"maml_trpo", "meta_gradient", "promp", "reptile", "rl2"}
FILMED, EXPORTED = {"maml_trpo", "promp", "reptile", "rl2"}, {"maml_trpo", "promp", "reptile"}


@pytest.fixture(params=BUILT_IN)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def system(name: str) -> Iterator[Any]:
    known = registered(name)
    made = known.make(known.config(**VALUES[name]))
    yield made
    made.close()


def _options(system: Any) -> Any:
    small: dict[str, Any] = {
        name: 2 for name in ("episodes", "updates") if name in {field.name for field in fields(system.Options)}
    }
    if isinstance(system.resolve(system.Options()), ComparisonOptions):
        small = {"problems": ["bowl"], "horizon": 20}
    return system.resolve(system.Options(steps=2, tasks=3, **small))


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_same(first[key], second[key]) for key in first)
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    return bool(first == second)


def _numbers(metrics: dict[str, float]) -> dict[str, float]:
    """What does not depend on the clock."""
    return {key: value for key, value in metrics.items() if not key.endswith("_s")}


def test_every_built_in_system_is_in_the_table() -> None:
    assert VALUES.keys() == set(BUILT_IN)


def test_configuration_and_options_are_dataclasses_of_the_contract(name: str, system: Any) -> None:
    known = registered(name)
    assert is_dataclass(known.config)
    assert issubclass(known.config, RunConfig)
    assert known.options is system.Options
    assert is_dataclass(known.options)
    assert issubclass(known.options, EvaluationOptions)
    assert system.config == known.config(**VALUES[name])
    assert known.options.least().keys() <= {field.name for field in fields(known.options)}
    known.options()  # every option has a default


def test_a_state_goes_through_a_file_and_goes_on_alike(system: Any) -> None:
    for state in (system.initial_state(), system.iterate(system.initial_state(), 0)[0]):
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        loaded = fitted(torch.load(file, weights_only=True), system.state_template(), Path("run"))
        assert _same(loaded, state)
        (after, metrics), (expected, wanted) = system.iterate(loaded, 1), system.iterate(state, 1)
        assert _same(after, expected)
        assert _numbers(metrics) == _numbers(wanted)


def test_nothing_that_a_system_does_changes_a_state(system: Any) -> None:
    state, _ = system.iterate(system.initial_state(), 0)
    kept = map_tree(torch.clone, state)
    after, _ = system.iterate(state, 1)
    assert not _same(after["meta"], kept["meta"])
    system.validate(state, 1)
    system.evaluate([state], _options(system))
    if system.renderer() is not None:
        system.renderer().scenes(state, [0, 1], 2, 1, 3)
    assert _same(state, kept)


def test_an_evaluation_has_a_value_for_each_step_and_task(system: Any) -> None:
    state, options, calls = system.initial_state(), _options(system), list[tuple[int, int]]()
    first = system.evaluate([state], options, lambda done, total: calls.append((done, total)))
    again = system.evaluate([state], options)
    assert first.values.shape[:2] == (3, 3)
    assert first.values.dtype == np.float64
    assert len(first.tasks) == 3
    assert first.measure == system.measure
    assert all(values.shape == (3, 3) for values in first.also.values())
    assert calls[-1][0] == calls[-1][1]
    np.testing.assert_array_equal(first.values, again.values)
    assert first.tasks == again.tasks
    other = system.evaluate([state], replace(options, seed=options.seed + 1))
    assert not np.array_equal(other.values, first.values)


def test_options_are_resolved_once_and_for_all(system: Any) -> None:
    resolved = system.resolve(system.Options())
    assert resolved.steps is not None
    assert resolved.tasks is not None
    assert system.resolve(resolved) == resolved
    given = system.resolve(system.Options(steps=1, tasks=7, seed=9))
    assert (given.steps, given.tasks, given.seed) == (1, 7, 9)


def test_roles_name_metrics_that_are_reported(system: Any) -> None:
    state, metrics = system.iterate(system.initial_state(), 0)
    epoch = getattr(system.config, "epoch", 1)
    validated = [system.validate(state, iteration) for iteration in (0, 1, epoch)]
    assert all(each.keys() == validated[0].keys() for each in validated)
    assert all(key.startswith("validation_") for key in validated[0])
    assert not metrics.keys() & validated[0].keys()
    reported, roles = {**system.row(metrics, state), **validated[-1]}, system.roles
    chosen_by = () if roles.selection is None else (roles.selection,)
    wanted = {*chosen_by, roles.learning_curve, *roles.totals, *(roles.gain or ())}
    assert wanted <= reported.keys()
    assert all(np.isfinite(reported[key]) for key in wanted)
    assert all(isinstance(value, float) for value in reported.values())
    told = system.summary(reported)
    assert told
    assert "\n" not in told


def test_only_policies_are_filmed_and_only_memoryless_ones_exported(name: str, system: Any) -> None:
    state, renderer = system.initial_state(), system.renderer()
    assert (renderer is not None) == (name in FILMED)
    if renderer is not None:
        scenes = renderer.scenes(state, [0, 2], 2, 1, 3)
        assert len(scenes) == 2
        assert all({0, 2} <= {steps for steps, _ in scene.players} for scene in scenes)
        assert renderer.environment.arguments["goal_range"] == 0.2
        (given,) = renderer.scenes(state, [1], [scenes[0].task], 1, 3)
        assert given.task == scenes[0].task
    if name not in EXPORTED:
        with pytest.raises(ValueError, match=r"no policy to export|policies are recurrent"):
            system.exporter()
    else:
        assert system.exporter().environment == renderer.environment
        assert system.exporter().default_steps == 1


def test_a_system_that_is_only_used_makes_no_training_environments(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[EnvironmentConfig] = []
    make_vector = vector.make_vector

    def counting(config: EnvironmentConfig, count: int) -> Any:
        made.append(config)
        return make_vector(config, count)

    monkeypatch.setattr("maml_rl.rl.sampling.stepping.make_vector", counting)
    known = registered(name)
    system: Any = known.make(known.config(**VALUES[name]))
    state: State = system.state_template()
    assert made == []
    system.evaluate([state], _options(system))
    if name in FILMED:
        system.renderer().scenes(state, [0, 1], 1, 1, 3)
    if name in IN_ENVIRONMENTS:
        assert {config.arguments.get("goal_range") for config in made} == {0.2}  # the held-out one
        assert ENVIRONMENT not in made
    system.close()
    system = known.make(known.config(**VALUES[name]))
    system.prepare()
    assert (ENVIRONMENT in made) == (name in IN_ENVIRONMENTS)
    system.close()


def test_what_tells_data_apart_is_text(system: Any) -> None:
    identity = system.data_identity()
    assert all(isinstance(word, str) for pair in identity.items() for word in pair)
    assert system.data_identity() == identity
