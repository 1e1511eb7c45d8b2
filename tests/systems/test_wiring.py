"""What a configuration says reaches the mathematics: iterations against the same ones written out by hand."""

import math
from typing import Any, NamedTuple

import pytest
import torch

from maml_rl.core import (
    Mode,
    Objective,
    Rule,
    TrustRegion,
    constant,
    final,
    first_order,
    halved_after_first,
    only,
    sgd,
    trust_region,
    uniform,
    unrolled,
)
from maml_rl.core.rules import adam, momentum
from maml_rl.core.tree import flatten
from maml_rl.rl.collect import Collected, collect
from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.estimation import EstimatorConfig, sampling_credits
from maml_rl.rl.losses import INNER_LOSSES
from maml_rl.rl.policies import PolicyConfig
from maml_rl.rl.policy_learner import POLICY, PolicyLearner
from maml_rl.rl.sampling.seeds import drawing_seed, task_seeds
from maml_rl.rl.updates.clipped_surrogate import ClippedSettings, clipped_epochs
from maml_rl.rl.updates.meta_surrogate import MetaSurrogate
from maml_rl.systems import maml_trpo, promp, reptile
from maml_rl.systems.inner import FirstThen, InnerConfig
from maml_rl.systems.registry import registered
from maml_rl.systems.system import State

TASKS, EPISODES, CHUNK, DISCOUNT, SEED = 3, 6, 2, 0.9, 4
HALVED = FirstThen(0.1, 0.05)


class Expected(NamedTuple):
    """An iteration, in the words of the core."""

    rule: Rule = sgd(halved_after_first(0.1))
    mode: Mode = unrolled()
    loss: str = "log_probability"
    steps: int = 1
    objective: Objective = final()
    credit: float = 0.0
    share: float = 1.0
    region: TrustRegion = TrustRegion(0.01, 10, 1e-5, 15, 0.8)
    baseline: bool = False


def _made(name: str, **values: Any) -> Any:
    system = registered(name)
    sizes: dict[str, Any] = {
        "environment": EnvironmentConfig(arguments={"horizon": 8}),
        "policy": PolicyConfig([8], "tanh"),
        "estimator": EstimatorConfig(discount=DISCOUNT),
        "tasks": TASKS,
        "episodes": EPISODES,
        "seed": SEED,
        "precision": "float64",
    }
    return system.make(system.config(**{**sizes, **values}))


def _outer(config: Any, **values: Any) -> Any:
    return config(chunk=CHUNK, **values)


def _collected(system: Any, learner: PolicyLearner, state: State, at: int, expected: Expected) -> Collected:
    tasks = system.sampler.stepper.draw_tasks(drawing_seed(SEED, 0, at))
    seeds = lambda step: task_seeds(SEED, 0, at, step, TASKS)  # noqa: E731
    baseline = state["baseline"] if expected.baseline else None
    return collect(
        system.sampler, learner, state["meta"], tasks, seeds, expected.steps, system.config.estimator, baseline
    )


def _problem(system: Any, state: State, at: int, expected: Expected, **options: Any) -> tuple[MetaSurrogate, Collected]:
    learner = PolicyLearner(system.policy, expected.rule, expected.mode, INNER_LOSSES[expected.loss])
    collected = _collected(system, learner, state, at, expected)
    credits = None
    if expected.credit:
        credits = expected.credit * sampling_credits(collected.trajectories[-1], collected.batches[-1], DISCOUNT)
    problem = MetaSurrogate(
        learner, state["meta"], collected.batches, expected.objective, CHUNK, credits=credits, **options
    )
    return problem, collected


def _trust_region(system: Any, state: State, at: int, expected: Expected) -> torch.Tensor:
    problem, _ = _problem(system, state, at, expected, curvature_share=expected.share)
    return flatten(trust_region(expected.region).update(state["meta"], {}, problem, at).meta)


TRUST_REGION: dict[str, tuple[dict[str, Any], Expected]] = {
    "nothing": ({}, Expected()),
    "estimator.loss": ({"estimator": EstimatorConfig(discount=DISCOUNT, loss="dice")}, Expected(loss="dice")),
    "inner.mode": ({"inner": InnerConfig(learning_rate=HALVED, mode="first_order")}, Expected(mode=first_order())),
    "inner.learning_rate": (
        {"inner": InnerConfig(learning_rate=FirstThen(0.3, 0.15))},
        Expected(rule=sgd(halved_after_first(0.3))),
    ),
    "inner.rule momentum": (
        {"inner": InnerConfig(steps=2, learning_rate=0.1, rule="momentum", momentum=0.5)},
        Expected(steps=2, rule=momentum(constant(0.1), 0.5)),
    ),
    "inner.rule adam": (
        {"inner": InnerConfig(steps=2, learning_rate=0.1, rule="adam")},
        Expected(steps=2, rule=adam(constant(0.1))),
    ),
    "inner.adapts": (
        {"inner": InnerConfig(learning_rate=HALVED, adapts="head")},
        Expected(rule=only(sgd(halved_after_first(0.1)), lambda name: not name.startswith("layer0"))),
    ),
    "inner.steps": ({"inner": InnerConfig(steps=2, learning_rate=HALVED)}, Expected(steps=2)),
    "outer.objective": (
        {
            "inner": InnerConfig(steps=2, learning_rate=[0.2]),
            "outer": _outer(maml_trpo.OuterConfig, objective="uniform"),
        },
        Expected(steps=2, rule=sgd(constant(0.2)), objective=uniform()),
    ),
    "outer.sampling_credit": (
        {"outer": _outer(maml_trpo.OuterConfig, sampling_credit=0.5)},
        Expected(credit=0.5),
    ),
    "outer.max_kl": ({"outer": _outer(maml_trpo.OuterConfig, max_kl=1e-3)}, Expected(region=TrustRegion(1e-3))),
    "outer.cg_iterations": (
        {"outer": _outer(maml_trpo.OuterConfig, cg_iterations=2)},
        Expected(region=TrustRegion(cg_iterations=2)),
    ),
    "outer.damping": ({"outer": _outer(maml_trpo.OuterConfig, damping=1.0)}, Expected(region=TrustRegion(damping=1.0))),
    "outer.curvature_share": ({"outer": _outer(maml_trpo.OuterConfig, curvature_share=0.5)}, Expected(share=0.5)),
    "estimator.baseline": (
        {"estimator": EstimatorConfig(discount=DISCOUNT, baseline="learned")},
        Expected(baseline=True),
    ),
}


@pytest.mark.parametrize("name", TRUST_REGION)
def test_an_iteration_of_maml_trpo_is_the_trust_region_step_by_hand(name: str) -> None:
    values, expected = TRUST_REGION[name]
    system = _made("maml_trpo", **{"outer": _outer(maml_trpo.OuterConfig), **values})
    state = system.initial_state()
    if expected.baseline:  # that of the first iteration is zero
        state, _ = system.iterate(state, 0)
    moved = flatten(system.iterate(state, 1)[0]["meta"])
    assert torch.equal(moved, _trust_region(system, state, 1, expected))
    if name != "nothing":  # or the option would not have to arrive
        assert not torch.allclose(moved, _trust_region(system, state, 1, Expected()), rtol=1e-6)
    system.close()


def test_the_first_iterations_are_of_first_order_where_it_is_asked_for() -> None:
    outer, inner = _outer(maml_trpo.OuterConfig), InnerConfig(learning_rate=HALVED, first_order_iterations=2)
    system = _made("maml_trpo", outer=outer, inner=inner)
    state = system.initial_state()
    for iteration, mode in ((1, first_order()), (2, unrolled())):
        moved = flatten(system.iterate(state, iteration)[0]["meta"])
        assert torch.equal(moved, _trust_region(system, state, iteration, Expected(mode=mode)))
    system.close()


class Clipped(NamedTuple):
    """Two iterations of ProMP, in the words of the core; the penalties are those of each iteration."""

    learning_rate: float = 1e-3
    epochs: int = 5
    clip: float = 0.3
    penalties: tuple[float, float] = (5e-4, 5e-4)


CLIPPED: dict[str, tuple[dict[str, Any], Clipped]] = {
    "nothing": ({}, Clipped()),
    "learning_rate": ({"learning_rate": 0.01}, Clipped(0.01)),
    "epochs": ({"epochs": 2}, Clipped(epochs=2)),
    "clip": ({"clip": 0.01, "learning_rate": 0.01}, Clipped(0.01, clip=0.01)),
    "no clip": ({"clip": None, "learning_rate": 0.05}, Clipped(0.05, clip=math.inf)),
    "kl_penalty": ({"kl_penalty": 5.0, "learning_rate": 0.01}, Clipped(0.01, penalties=(5.0, 5.0))),
    "kl_target above": (
        {"kl_penalty": 2.0, "kl_target": 1e-9, "learning_rate": 0.01},
        Clipped(0.01, penalties=(2.0, 4.0)),
    ),
    "kl_target below": (
        {"kl_penalty": 2.0, "kl_target": 1e3, "learning_rate": 0.01},
        Clipped(0.01, penalties=(2.0, 1.0)),
    ),
}


def _clipped(system: Any, expected: Clipped, memory: bool = True) -> torch.Tensor:
    optimiser = clipped_epochs(constant(expected.learning_rate), ClippedSettings(expected.epochs, expected.clip), 1)
    state = system.initial_state()
    moments = optimiser.init(state["meta"])["adam"]
    for iteration, penalty in enumerate(expected.penalties):
        problem, _ = _problem(system, state, iteration, Expected(loss="likelihood_ratio"), watch=True)
        if not memory:
            moments = optimiser.init(state["meta"])["adam"]
        remembered = {"adam": moments, "penalties": torch.tensor([penalty], dtype=torch.float64)}
        update = optimiser.update(state["meta"], remembered, problem, iteration)
        state, moments = {"meta": update.meta}, update.memory["adam"]
    return flatten(state["meta"])


@pytest.mark.parametrize("name", CLIPPED)
def test_two_iterations_of_promp_are_adam_on_the_clipped_surrogate_by_hand(name: str) -> None:
    values, expected = CLIPPED[name]
    estimator = EstimatorConfig(discount=DISCOUNT, loss="likelihood_ratio")
    system = _made("promp", outer=_outer(promp.OuterConfig, **values), estimator=estimator)
    state = system.initial_state()
    for iteration in range(2):
        state, _ = system.iterate(state, iteration)
    moved = flatten(state["meta"])
    assert torch.equal(moved, _clipped(system, expected))
    assert not torch.allclose(moved, _clipped(system, expected, memory=False), rtol=1e-6)
    if name != "nothing":  # or the option would not have to arrive
        alone = name in ("learning_rate", "epochs")
        usual = Clipped() if alone else Clipped(expected.learning_rate)
        if "kl_target" in values:
            usual = usual._replace(penalties=(2.0, 2.0))
        assert not torch.allclose(moved, _clipped(system, usual), rtol=1e-6)
    system.close()


def test_promp_takes_the_low_variance_curvature_where_nothing_is_said() -> None:
    assert promp.Config().estimator == EstimatorConfig(loss="likelihood_ratio")


@pytest.mark.parametrize("rate", [1.0, 0.25])
def test_reptile_goes_towards_the_mean_of_the_paths_ends(rate: float) -> None:
    system = _made(
        "reptile", inner=InnerConfig(steps=2, learning_rate=HALVED, mode="first_order"), outer=reptile.OuterConfig(rate)
    )
    state = system.initial_state()
    expected = Expected(steps=2, mode=first_order())
    learner = PolicyLearner(system.policy, expected.rule, expected.mode, INNER_LOSSES[expected.loss])
    collected = _collected(system, learner, state, 0, expected)
    after, _ = system.iterate(state, 0)
    for name, leaf in state["meta"][POLICY].items():
        reached = collected.params(2)[name]
        torch.testing.assert_close(after["meta"][POLICY][name], leaf + rate * (reached.mean(0) - leaf))
        assert not torch.allclose(collected.params(1)[name], reached)
    system.close()


def test_the_learned_baseline_of_each_inner_step_is_used_at_that_step() -> None:
    system = _made("maml_trpo", estimator=EstimatorConfig(discount=DISCOUNT, baseline="learned"))
    state, _ = system.iterate(system.initial_state(), 0)
    swapped = {**state, "baseline": state["baseline"].flip(0)}

    def gathered(each: State) -> torch.Tensor:
        return _problem(system, each, 1, Expected(baseline=True))[1].batches[0].advantages

    assert not torch.allclose(gathered(state), gathered(swapped))
    system.close()
