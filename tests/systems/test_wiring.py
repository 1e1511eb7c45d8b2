"""What a configuration says reaches the mathematics: iterations against the same ones written out by hand."""

import math
from typing import Any, NamedTuple

import pytest
import torch

from maml_rl.core.modes import Mode, first_order, unrolled
from maml_rl.core.objectives import Objective, final, uniform
from maml_rl.core.optimisers import adam_start
from maml_rl.core.rules import constant, halved_after_first, only, sgd
from maml_rl.core.tree import flatten
from maml_rl.core.trust_region import TrustRegion
from maml_rl.core.types import Rule
from maml_rl.rl.collect import Collected, EstimatorConfig, collect, sampling_credits
from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.losses import INNER_LOSSES
from maml_rl.rl.policies import PolicyConfig
from maml_rl.rl.policy_learner import PolicyLearner
from maml_rl.rl.sampler import drawing_seed, task_seeds
from maml_rl.rl.updates.clipped_surrogate import ClippedSettings, clipped_step
from maml_rl.rl.updates.meta_surrogate import MetaProblem
from maml_rl.rl.updates.trpo import meta_step
from maml_rl.systems import SYSTEMS, maml_trpo, promp, reptile
from maml_rl.systems.meta_policy import MetaPolicySystem
from maml_rl.systems.meta_policy_config import InnerConfig

TASKS, EPISODES, CHUNK, DISCOUNT, SEED = 3, 6, 2, 0.9, 4


class Wanted(NamedTuple):
    """An iteration, in the words of the core."""

    rule: Rule = sgd(halved_after_first(0.1))
    mode: Mode = unrolled()
    loss: str = "log_probability"
    steps: int = 1
    objective: Objective = final()
    credit: float = 0.0
    share: float = 1.0
    region: TrustRegion = TrustRegion(0.01, 10, 1e-5, 15, 0.8)
    probes: int = 0
    baseline: bool = False


def _made(name: str, **values: Any) -> MetaPolicySystem:
    config, constructor = SYSTEMS[name]
    sizes: dict[str, Any] = {
        "environment": EnvironmentConfig(arguments={"horizon": 8}),
        "policy": PolicyConfig([8], "tanh"),
        "estimator": EstimatorConfig(discount=DISCOUNT),
        "tasks": TASKS,
        "episodes": EPISODES,
        "seed": SEED,
        "precision": "float64",
    }
    return constructor(config(**{**sizes, **values}))  # type: ignore[no-any-return]


def _outer(kind: Any, **values: Any) -> Any:
    return kind(chunk=CHUNK, **values)


def _collected(system: MetaPolicySystem, learner: PolicyLearner, state: Any, at: int, wanted: Wanted) -> Collected:
    tasks = system.sampler.sample_tasks(drawing_seed(SEED, 0, at))
    seeds = lambda step: task_seeds(SEED, 0, at, step, TASKS)  # noqa: E731
    baseline = state["baseline"] if wanted.baseline else None
    return collect(
        system.sampler, learner, state["params"], tasks, seeds, wanted.steps, system.config.estimator, baseline
    )


def _problem(
    system: MetaPolicySystem, state: dict[str, Any], at: int, wanted: Wanted, **options: Any
) -> tuple[MetaProblem, Collected]:
    learner = PolicyLearner(system.policy, wanted.rule, wanted.mode, INNER_LOSSES[wanted.loss])
    collected = _collected(system, learner, state, at, wanted)
    credits = None
    if wanted.credit:
        credits = wanted.credit * sampling_credits(collected.trajectories[-1], collected.batches[-1], DISCOUNT)
    problem = MetaProblem(
        learner, state["params"], collected.batches, wanted.objective, CHUNK, credits=credits, **options
    )
    return problem, collected


def _trust_region(system: MetaPolicySystem, state: dict[str, Any], at: int, wanted: Wanted) -> torch.Tensor:
    problem, _ = _problem(system, state, at, wanted, curvature_share=wanted.share)
    probes = system.probes(state["params"], wanted.probes, at) if wanted.probes else None
    return flatten(meta_step(problem, state["params"], wanted.region, probes)[0])


TRUST_REGION: dict[str, tuple[dict[str, Any], Wanted]] = {
    "nothing": ({}, Wanted()),
    "inner.loss": ({"inner": InnerConfig(loss="dice")}, Wanted(loss="dice")),
    "inner.mode": ({"inner": InnerConfig(mode="first_order")}, Wanted(mode=first_order())),
    "inner.rate": ({"inner": InnerConfig(rate=0.3)}, Wanted(rule=sgd(halved_after_first(0.3)))),
    "inner.adapts": (
        {"inner": InnerConfig(adapts="head")},
        Wanted(rule=only(sgd(halved_after_first(0.1)), lambda name: not name.startswith("layer0"))),
    ),
    "inner.steps": ({"inner": InnerConfig(steps=2)}, Wanted(steps=2)),
    "outer.objective": (
        {"inner": InnerConfig(steps=2, rate=[0.2]), "outer": _outer(maml_trpo.OuterConfig, objective="uniform")},
        Wanted(steps=2, rule=sgd(constant(0.2)), objective=uniform()),
    ),
    "outer.sampling_credit": (
        {"outer": _outer(maml_trpo.OuterConfig, sampling_credit=0.5)},
        Wanted(credit=0.5),
    ),
    "outer.max_kl": ({"outer": _outer(maml_trpo.OuterConfig, max_kl=1e-3)}, Wanted(region=TrustRegion(1e-3))),
    "outer.cg_iterations": (
        {"outer": _outer(maml_trpo.OuterConfig, cg_iterations=2)},
        Wanted(region=TrustRegion(cg_iterations=2)),
    ),
    "outer.damping": ({"outer": _outer(maml_trpo.OuterConfig, damping=1.0)}, Wanted(region=TrustRegion(damping=1.0))),
    "outer.curvature_share": ({"outer": _outer(maml_trpo.OuterConfig, curvature_share=0.5)}, Wanted(share=0.5)),
    "outer.preconditioner_probes": (
        {"outer": _outer(maml_trpo.OuterConfig, preconditioner_probes=2, cg_iterations=3)},
        Wanted(probes=2, region=TrustRegion(cg_iterations=3)),
    ),
    "estimator.baseline": (
        {"estimator": EstimatorConfig(discount=DISCOUNT, baseline="learned")},
        Wanted(baseline=True),
    ),
}


@pytest.mark.parametrize("name", TRUST_REGION)
def test_an_iteration_of_maml_trpo_is_the_trust_region_step_by_hand(name: str) -> None:
    values, wanted = TRUST_REGION[name]
    system = _made("maml_trpo", **{"outer": _outer(maml_trpo.OuterConfig), **values})
    state = system.initial_state()
    if wanted.baseline:  # that of the first iteration is zero
        state, _ = system.iterate(state, 0)
    found = flatten(system.iterate(state, 1)[0]["params"])
    assert torch.equal(found, _trust_region(system, state, 1, wanted))
    left_out = Wanted(probes=0, region=wanted.region) if wanted.probes else Wanted()
    if name != "nothing":  # or the option would not have to arrive
        assert not torch.allclose(found, _trust_region(system, state, 1, left_out), rtol=1e-6)
    system.close()


CLIPPED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {}),
    "rate": ({"rate": 0.01}, {"rate": 0.01}),
    "epochs": ({"epochs": 2}, {"epochs": 2}),
    "clip": ({"clip": 0.01, "rate": 0.01}, {"clip": 0.01, "rate": 0.01}),
    "no clip": ({"clip": None, "rate": 0.05}, {"clip": math.inf, "rate": 0.05}),
    "kl_penalty": ({"kl_penalty": 5.0, "rate": 0.01}, {"penalties": [5.0, 5.0], "rate": 0.01}),
    "kl_target above": (
        {"kl_penalty": 2.0, "kl_target": 1e-9, "rate": 0.01},
        {"penalties": [2.0, 4.0], "rate": 0.01},
    ),
    "kl_target below": (
        {"kl_penalty": 2.0, "kl_target": 1e3, "rate": 0.01},
        {"penalties": [2.0, 1.0], "rate": 0.01},
    ),
}


@pytest.mark.parametrize("name", CLIPPED)
def test_two_iterations_of_promp_are_adam_on_the_clipped_surrogate_by_hand(name: str) -> None:
    values, wanted = CLIPPED[name]
    rate = wanted.get("rate", 1e-3)
    settings = ClippedSettings(rate, wanted.get("epochs", 5), wanted.get("clip", 0.3))

    def by_hand(settings: ClippedSettings, penalties: list[float], memory: bool = True) -> torch.Tensor:
        state = system.initial_state()
        adam = adam_start(state["params"])
        for iteration in range(2):
            problem, _ = _problem(system, state, iteration, Wanted(loss="likelihood_ratio"), watch=True)
            eta = torch.tensor([penalties[iteration]], dtype=torch.float64)
            moments = adam if memory else adam_start(state["params"])
            params, adam, _ = clipped_step(problem, state["params"], moments, eta, settings)
            state = {"params": params}
        return flatten(state["params"])

    system = _made("promp", outer=_outer(promp.OuterConfig, **values))
    state = system.initial_state()
    for iteration in range(2):
        state, _ = system.iterate(state, iteration)
    found, etas = flatten(state["params"]), wanted.get("penalties", [5e-4, 5e-4])
    assert torch.equal(found, by_hand(settings, etas))
    assert not torch.allclose(found, by_hand(settings, etas, memory=False), rtol=1e-6)
    usual = ClippedSettings(rate if "clip" in values or "kl_penalty" in values else 1e-3, 5, 0.3)
    if name != "nothing":  # or the option would not have to arrive
        start = values.get("kl_penalty", 5e-4) if "kl_target" in values else 5e-4
        assert not torch.allclose(found, by_hand(usual, [start, start]), rtol=1e-6)
    system.close()


@pytest.mark.parametrize("rate", [1.0, 0.25])
def test_reptile_goes_towards_the_mean_of_the_paths_ends(rate: float) -> None:
    system = _made("reptile", inner=InnerConfig(steps=2, mode="first_order"), outer=reptile.OuterConfig(rate))
    state = system.initial_state()
    wanted = Wanted(steps=2, mode=first_order())
    learner = PolicyLearner(system.policy, wanted.rule, wanted.mode, INNER_LOSSES[wanted.loss])
    path = _collected(system, learner, state, 0, wanted).path
    after, _ = system.iterate(state, 0)
    for name, leaf in state["params"].items():
        torch.testing.assert_close(after["params"][name], leaf + rate * (path[2][name].mean(0) - leaf))
        assert not torch.allclose(path[1][name], path[2][name])
    system.close()


def test_the_learned_baseline_of_each_inner_step_is_used_at_that_step() -> None:
    system = _made("maml_trpo", estimator=EstimatorConfig(discount=DISCOUNT, baseline="learned"))
    state, _ = system.iterate(system.initial_state(), 0)
    swapped = {**state, "baseline": state["baseline"].flip(0)}

    def gathered(each: dict[str, Any]) -> torch.Tensor:
        return _problem(system, each, 1, Wanted(baseline=True))[1].batches[0].advantages

    assert not torch.allclose(gathered(state), gathered(swapped))
    system.close()
