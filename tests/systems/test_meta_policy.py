"""Systems of meta-reinforcement learning beside MAML-TRPO, and the values that all of them share."""

import dataclasses
from typing import Any

import pytest
import torch

from maml_rl.core.tree import flatten
from maml_rl.rl.advantages import discounted_returns
from maml_rl.rl.baselines import features
from maml_rl.rl.collect import Collected, EstimatorConfig, collect, pooled_baseline, prepare, sampling_credits
from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.policies import PolicyConfig
from maml_rl.rl.sampler import drawing_seed, task_seeds
from maml_rl.systems import SYSTEMS, maml_trpo, promp, reptile
from maml_rl.systems.meta_policy import MetaPolicySystem
from maml_rl.systems.meta_policy_config import InnerConfig

SMALL: dict[str, Any] = {
    "environment": EnvironmentConfig(arguments={"horizon": 8}),
    "policy": PolicyConfig([8]),
    "tasks": 3,
    "episodes": 5,
    "iterations": 3,
    "precision": "float64",
}
CONTEXT = {"policy": PolicyConfig([8], context=2), "inner": InnerConfig(adapts="context", rate=1.0)}
VALUES: dict[str, tuple[str, dict[str, Any]]] = {
    "likelihood ratio": ("maml_trpo", {"inner": InnerConfig(loss="likelihood_ratio")}),
    "DiCE": ("maml_trpo", {"inner": InnerConfig(loss="dice"), "outer": maml_trpo.OuterConfig(curvature_share=0.5)}),
    "E-MAML": ("maml_trpo", {"outer": maml_trpo.OuterConfig(sampling_credit=1.0)}),
    "ANIL": ("maml_trpo", {"inner": InnerConfig(steps=2, adapts="head")}),
    "CAVIA": ("maml_trpo", CONTEXT),
    "Meta-SGD": ("maml_trpo", {"inner": InnerConfig(learned_rates="per_scalar")}),
    "rates per tensor": ("maml_trpo", {"inner": InnerConfig(steps=2, learned_rates=True)}),
    "MAML++'s objective": (
        "maml_trpo",
        {"inner": InnerConfig(steps=2), "outer": maml_trpo.OuterConfig("annealed", annealing_iterations=2)},
    ),
    "learned baseline": ("maml_trpo", {"estimator": EstimatorConfig(baseline="learned")}),
    "no baseline": ("maml_trpo", {"estimator": EstimatorConfig(baseline="none")}),
    "preconditioner": ("maml_trpo", {"outer": maml_trpo.OuterConfig(preconditioner_probes=2)}),
    "oracle": (
        "maml_trpo",
        {"environment": EnvironmentConfig(arguments={"horizon": 8}, show_task=True), "inner": InnerConfig(steps=0)},
    ),
    "ProMP": ("promp", {"outer": promp.OuterConfig(kl_target=0.01)}),
    "plain gradient": ("promp", {"outer": promp.OuterConfig(epochs=1, clip=None, kl_penalty=0.0)}),
    "PPO on all tasks": ("promp", {"inner": InnerConfig(steps=0)}),
    "ProMP with context": ("promp", CONTEXT),
    "Reptile": ("reptile", {"inner": InnerConfig(steps=2)}),
}


def _made(system: str, **values: Any) -> MetaPolicySystem:
    config, constructor = SYSTEMS[system]
    return constructor(config(**{**SMALL, **values}))  # type: ignore[no-any-return]


def _collected(system: MetaPolicySystem, state: dict[str, Any]) -> Collected:
    """What iteration 0 gathers."""
    config = system.config
    tasks = system.sampler.sample_tasks(drawing_seed(config.seed, 0, 0))
    seeds = lambda step: task_seeds(config.seed, 0, 0, step, config.tasks)  # noqa: E731
    return collect(system.sampler, system.learner, state["params"], tasks, seeds, config.inner.steps, config.estimator)


@pytest.mark.parametrize(("kind", "values"), VALUES.values(), ids=VALUES)
def test_every_value_iterates_alike_twice_evaluates_and_keeps_the_shape_of_its_state(
    kind: str, values: dict[str, Any]
) -> None:
    system = _made(kind, **values)
    found = []
    for _ in range(2):
        state = system.initial_state()
        for iteration in range(2):
            before = {name: leaf.clone() for name, leaf in state["params"].items()}
            after, metrics = system.iterate(state, iteration)
            assert all(torch.equal(before[name], state["params"][name]) for name in before)
            assert after.keys() == state.keys()
            state = after
        found.append((flatten(state["params"]), metrics))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.isfinite(found[0][0]).all()
    assert not torch.equal(found[0][0], flatten(system.initial_state()["params"]))
    tasks, collected = system.evaluate(state, 3, 9, 2, 4)
    assert len(collected.trajectories) == 4
    assert len(tasks) == 2
    _, other = system.evaluate(state, 1, 9, 2, 4, rates=[0.0])
    assert all(torch.equal(leaf, other.path[1][name]) for name, leaf in other.path[0].items())
    system.close()


def test_reptile_with_one_step_is_the_gradient_of_joint_training() -> None:
    system = _made("reptile", inner=InnerConfig(steps=1, rate=0.1))
    state = system.initial_state()
    collected = _collected(system, state)
    batch = collected.batches[0]
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in state["params"].items()}
    log_probs = system.policy.act(leaves, batch.observations.flatten(0, 1)).log_prob(batch.actions.flatten(0, 1))
    joint = -(batch.weights * batch.advantages).flatten() @ log_probs / SMALL["tasks"]
    gradient = torch.autograd.grad(joint, list(leaves.values()))
    after, _ = system.iterate(state, 0)
    for (name, leaf), slope in zip(state["params"].items(), gradient, strict=True):
        torch.testing.assert_close(after["params"][name], leaf - 0.1 * slope, rtol=1e-9, atol=1e-12)
    system.close()


def test_reptiles_rate_falls_linearly() -> None:
    system = _made("reptile", outer=reptile.OuterConfig(1.0, final_rate=0.0))
    state, rates = system.initial_state(), []
    for iteration in range(3):
        after, metrics = system.iterate(state, iteration)
        rates.append(metrics["meta_rate"])
    assert rates == [1.0, 0.5, 0.0]
    assert all(torch.equal(after["params"][name], leaf) for name, leaf in state["params"].items())
    system.close()


def test_the_plain_meta_policy_gradient_is_adam_on_the_surrogates_gradient() -> None:
    values = {"inner": InnerConfig(), "outer": promp.OuterConfig(rate=1e-2, epochs=1, clip=None, kl_penalty=0.0)}
    system = _made("promp", **values)
    state = system.initial_state()
    problem = system.problem(state["params"], _collected(system, state), 0)
    problem.linearise(flatten(state["params"]))
    expected = flatten(state["params"]) - 1e-2 * problem.gradient().sign()  # Adam's first step
    after, _ = system.iterate(state, 0)
    torch.testing.assert_close(flatten(after["params"]), expected, rtol=1e-5, atol=1e-5)
    system.close()


def test_a_learned_baseline_is_the_least_squares_fit_of_the_iteration_before() -> None:
    system = _made("maml_trpo", estimator=EstimatorConfig(baseline="learned"))
    state = system.initial_state()
    assert float(state["baseline"].abs().sum()) == 0.0
    collected = _collected(system, state)
    after, _ = system.iterate(state, 0)
    for step, trajectories in enumerate(collected.trajectories):
        times = torch.arange(trajectories.rewards.shape[-1])
        inputs = features(trajectories.observations, times).flatten(0, 2)
        targets = discounted_returns(trajectories.rewards, 0.99).flatten()
        ridge = 1e-5 * torch.eye(inputs.shape[-1], dtype=torch.float64)
        expected = torch.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ targets)
        torch.testing.assert_close(after["baseline"][step], expected, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(
            pooled_baseline(trajectories, system.config.estimator), expected, rtol=1e-6, atol=1e-8
        )
        batch = prepare(trajectories, system.config.estimator, expected)
        raw = targets.view(SMALL["tasks"], -1) - (inputs @ expected).view(SMALL["tasks"], -1)
        again = (raw - raw.mean(-1, keepdim=True)) / raw.std(-1, correction=0, keepdim=True)
        torch.testing.assert_close(batch.advantages, again, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(batch.scale, raw.std(-1, correction=0), rtol=1e-6, atol=1e-7)
    system.close()


def test_credits_compare_each_task_with_the_others() -> None:
    system = _made("maml_trpo")
    collected = _collected(system, system.initial_state())
    last, batch = collected.trajectories[-1], collected.batches[-1]
    found = sampling_credits(last, batch, 0.99)
    returns = [float(sum(0.99**t * reward for t, reward in enumerate(task.mean(0).tolist()))) for task in last.rewards]
    for task, own in enumerate(returns):
        others = [value for other, value in enumerate(returns) if other != task]
        units = float(last.mask.sum(-1).mean() * batch.scale.mean())
        assert float(found[task]) == pytest.approx((own - sum(others) / len(others)) / units, rel=1e-9)
    system.close()


def test_a_task_whose_returns_do_not_vary_gets_no_outsized_credit() -> None:
    system = _made("maml_trpo")
    collected = _collected(system, system.initial_state())
    last = collected.trajectories[-1]
    rewards = last.rewards.clone()
    rewards[1] = 0.0
    flat = dataclasses.replace(last, rewards=rewards)
    plain = sampling_credits(last, collected.batches[-1], 0.99)
    found = sampling_credits(flat, prepare(flat, system.config.estimator), 0.99)
    assert float(found.abs().max()) < 10 * float(plain.abs().max())
    system.close()


def test_credit_and_surrogate_have_one_scale() -> None:
    """Over all tasks' samples the credit's mean is what the surrogate's own unit makes of a difference of returns."""
    system = _made("maml_trpo", estimator=EstimatorConfig(baseline="none", discount=1.0, normalise=False))
    collected = _collected(system, system.initial_state())
    last, batch = collected.trajectories[-1], collected.batches[-1]
    assert torch.equal(batch.scale, torch.ones(3, dtype=torch.float64))
    first_steps = batch.advantages.view(3, 5, -1)[:, :, 0]
    torch.testing.assert_close(first_steps, last.returns.double())  # advantages are rewards to go as they are
    returns = first_steps.mean(-1)
    expected = (returns - (returns.sum() - returns) / 2) / batch.lengths.mean()
    torch.testing.assert_close(sampling_credits(last, batch, 1.0), expected)
    system.close()


def test_an_objective_without_the_last_point_is_no_fault_of_promps() -> None:
    system = _made("promp", inner=InnerConfig(steps=2), outer=promp.OuterConfig([0.5, 0.5, 0.0]))
    _, metrics = system.iterate(system.initial_state(), 0)
    assert metrics["kl_after"] > 0
    system.close()


def test_a_share_below_one_sample_takes_one() -> None:
    system = _made("maml_trpo", outer=maml_trpo.OuterConfig(curvature_share=1e-3))
    _, metrics = system.iterate(system.initial_state(), 0)
    assert metrics["line_search_steps"] >= 1
    system.close()


def test_the_annealed_objective_ends_as_the_final_one() -> None:
    values = {"inner": InnerConfig(steps=2)}
    annealed = _made("maml_trpo", outer=maml_trpo.OuterConfig("annealed", annealing_iterations=2), **values)
    final = _made("maml_trpo", **values)
    state = final.initial_state()
    after = [
        flatten(system.iterate(state, iteration)[0]["params"]) for system in (annealed, final) for iteration in (0, 2)
    ]
    assert not torch.equal(after[0], after[2])
    assert torch.equal(after[1], after[3])
    annealed.close()
    final.close()


def test_learned_rates_are_learned_and_reported_as_such() -> None:
    system = _made("maml_trpo", inner=InnerConfig(learned_rates="per_scalar", rate=0.1))
    state, _ = system.iterate(system.initial_state(), 0)
    rates = torch.cat([leaf.flatten() for name, leaf in state["params"].items() if name.startswith("rates.")])
    assert float(rates.std()) > 0
    assert system.rates(3) == "learned"
    assert system.rates(2, [0.3]) == [0.3, 0.3]
    system.close()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _config("maml_trpo", inner=InnerConfig(adapts="context")), "set `policy.context`"),
        (
            lambda: _config("maml_trpo", inner=InnerConfig(steps=0), outer=maml_trpo.OuterConfig(sampling_credit=1.0)),
            "`outer.sampling_credit` is for the samples of inner steps",
        ),
        (lambda: _config("promp", tasks=1, outer=promp.OuterConfig(sampling_credit=1.0)), "needs at least 2"),
        (
            lambda: _config(
                "maml_trpo",
                inner=InnerConfig(loss="dice"),
                outer=maml_trpo.OuterConfig(curvature_share=0.1),
                episodes=5,
            ),
            "of 5 episodes leaves none",
        ),
        (lambda: promp.OuterConfig(kl_penalty=0.0, kl_target=0.01), "`outer.kl_target` moves `outer.kl_penalty`"),
        (lambda: promp.OuterConfig(clip=0.0), "`outer.clip`"),
        (lambda: promp.OuterConfig(sampling_credit=-1.0), "`outer.sampling_credit`"),
        (lambda: promp.OuterConfig(epochs=0), "`outer.epochs`"),
        (lambda: maml_trpo.OuterConfig(preconditioner_probes=-1), "`outer.preconditioner_probes`"),
        (lambda: _config("reptile", inner=InnerConfig(steps=0)), "at least 1, got 0"),
        (lambda: _config("reptile", inner=InnerConfig(learned_rates=True)), "no derivative"),
        (lambda: _config("reptile", **CONTEXT), "context begins at zero"),
        (
            lambda: _config("reptile", policy=PolicyConfig(context=2), inner=InnerConfig(adapts=["context"])),
            "context begins at zero",
        ),
        (
            lambda: _config("maml_trpo", outer=maml_trpo.OuterConfig([1.0, 0.0], sampling_credit=1.0)),
            "`outer.objective` must be 'final'",
        ),
        (lambda: reptile.OuterConfig(0.5, final_rate=0.7), "`outer.final_rate`"),
        (lambda: EstimatorConfig(baseline="none", gae_lambda=0.9), "predicts nothing"),
        (lambda: _made("maml_trpo", inner=InnerConfig(adapts=["encoder"])), "names none of layer0.weight"),
        (
            lambda: _config("maml_trpo", inner=InnerConfig(steps=0), outer=maml_trpo.OuterConfig("annealed")),
            "at least one, got 0",
        ),
    ],
)
def test_impossible_combinations_are_refused_by_name(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def _config(system: str, **values: Any) -> Any:
    return SYSTEMS[system][0](**values)


def test_values_without_effect_are_remarked() -> None:
    first_order = _config("maml_trpo", inner=InnerConfig(mode="first_order", loss="dice"))
    assert any("inner.loss" in remark for remark in first_order.remarks())
    assert any(
        "annealing_iterations" in remark
        for remark in _config("promp", outer=promp.OuterConfig(annealing_iterations=7)).remarks()
    )
    idle = _config("maml_trpo", policy=PolicyConfig(context=3), inner=InnerConfig(adapts="head"))
    assert any("`policy.context` 3 has no effect" in remark for remark in idle.remarks())
    assert not any("context" in remark for remark in _config("maml_trpo", **CONTEXT).remarks())
    rounded = _config("maml_trpo", outer=maml_trpo.OuterConfig(curvature_share=0.7))
    assert any("takes all samples" in remark for remark in rounded.remarks())
    unrolled = dataclasses.replace(_config("reptile"), inner=InnerConfig(steps=2))
    assert any("does not differentiate" in remark for remark in unrolled.remarks())
