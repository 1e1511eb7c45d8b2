"""Systems of meta-reinforcement learning beside MAML-TRPO, and the values that all of them share."""

import dataclasses
from typing import Any

import pytest
import torch

from maml_rl.core.rules import RATES
from maml_rl.core.tree import flatten, map_tree
from maml_rl.rl.advantages import discounted_returns
from maml_rl.rl.baselines import features
from maml_rl.rl.collect import Collected, collect
from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.estimation import EstimatorConfig, pooled_baseline, prepare, sampling_credits
from maml_rl.rl.policies import PolicyConfig
from maml_rl.rl.policy_learner import POLICY
from maml_rl.rl.sampling.seeds import drawing_seed, task_seeds
from maml_rl.systems import maml_trpo, promp, reptile
from maml_rl.systems.inner import InnerConfig
from maml_rl.systems.meta_policy import meta_surrogate
from maml_rl.systems.registry import registered
from maml_rl.systems.system import State

SMALL: dict[str, Any] = {
    "environment": EnvironmentConfig(arguments={"horizon": 8}),
    "policy": PolicyConfig([8]),
    "tasks": 3,
    "episodes": 5,
    "iterations": 3,
    "precision": "float64",
}
CONTEXT = {"policy": PolicyConfig([8], context=2), "inner": InnerConfig(learning_rate=1.0, adapts="context")}
VALUES: dict[str, tuple[str, dict[str, Any]]] = {
    "likelihood ratio": ("maml_trpo", {"estimator": EstimatorConfig(loss="likelihood_ratio")}),
    "DiCE": (
        "maml_trpo",
        {"estimator": EstimatorConfig(loss="dice"), "outer": maml_trpo.OuterConfig(curvature_share=0.5)},
    ),
    "momentum": ("maml_trpo", {"inner": InnerConfig(steps=2, learning_rate=0.1, rule="momentum")}),
    "adam": ("promp", {"inner": InnerConfig(steps=2, rule="adam")}),
    "proximal": ("maml_trpo", {"inner": InnerConfig(steps=2, learning_rate=0.1, proximal=2.0)}),
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


def made(name: str, **values: Any) -> Any:
    system = registered(name)
    return system.make(system.config(**{**SMALL, **values}))


def _collected(system: Any, state: State) -> Collected:
    """What iteration 0 gathers."""
    config = system.config
    tasks = system.sampler.stepper.draw_tasks(drawing_seed(config.seed, 0, 0))
    seeds = lambda step: task_seeds(config.seed, 0, 0, step, config.tasks)  # noqa: E731
    return collect(system.sampler, system.learner, state["meta"], tasks, seeds, config.inner.steps, config.estimator)


@pytest.mark.parametrize(("name", "values"), VALUES.values(), ids=VALUES)
def test_every_value_iterates_alike_twice_evaluates_and_keeps_the_shape_of_its_state(
    name: str, values: dict[str, Any]
) -> None:
    system = made(name, **values)
    ends = []
    for _ in range(2):
        state = system.initial_state()
        for iteration in range(2):
            before = map_tree(torch.clone, state)
            after, _ = system.iterate(state, iteration)
            assert torch.equal(flatten(before), flatten(state))
            assert after.keys() == state.keys()
            state = after
        ends.append(flatten(state["meta"]))
    assert torch.equal(*ends)
    assert torch.isfinite(ends[0]).all()
    assert not torch.equal(ends[0], flatten(system.initial_state()["meta"]))
    assert system.evaluate([state], system.Options(steps=3, tasks=2, seed=9, episodes=4)).values.shape == (4, 2, 4)
    _, collected = system.adapt_held_out(state, 1, 9, 2, 4, rates=[0.0])
    assert all(torch.equal(leaf, collected.params(1)[name]) for name, leaf in collected.params(0).items())
    system.close()


def test_reptile_with_one_step_is_the_gradient_of_joint_training() -> None:
    system = made("reptile", inner=InnerConfig(learning_rate=0.1))
    state = system.initial_state()
    collected = _collected(system, state)
    batch = collected.batches[0]
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in state["meta"][POLICY].items()}
    log_probs = system.policy.act(leaves, batch.observations.flatten(0, 1)).log_prob(batch.actions.flatten(0, 1))
    joint = -(batch.weights * batch.advantages).flatten() @ log_probs / SMALL["tasks"]
    gradient = torch.autograd.grad(joint, list(leaves.values()))
    after, _ = system.iterate(state, 0)
    for (name, leaf), slope in zip(state["meta"][POLICY].items(), gradient, strict=True):
        torch.testing.assert_close(after["meta"][POLICY][name], leaf - 0.1 * slope, rtol=1e-9, atol=1e-12)
    system.close()


def test_reptiles_rate_falls_linearly() -> None:
    system = made("reptile", outer=reptile.OuterConfig(1.0, final_learning_rate=0.0))
    state, rates = system.initial_state(), []
    for iteration in range(3):
        after, metrics = system.iterate(state, iteration)
        rates.append(metrics["meta_learning_rate"])
    assert rates == [1.0, 0.5, 0.0]
    assert torch.equal(flatten(after["meta"]), flatten(state["meta"]))
    system.close()


def test_the_plain_meta_policy_gradient_is_adam_on_the_surrogates_gradient() -> None:
    outer = promp.OuterConfig(learning_rate=1e-2, epochs=1, clip=None, kl_penalty=0.0)
    system = made("promp", outer=outer)
    state = system.initial_state()
    theta, collected = flatten(state["meta"]), _collected(system, state)
    problem = meta_surrogate(system.config, system.learner, state["meta"], collected, 0)
    expected = theta - 1e-2 * problem.linearise(theta).gradient().sign()  # Adam's first step
    after, _ = system.iterate(state, 0)
    torch.testing.assert_close(flatten(after["meta"]), expected, rtol=1e-5, atol=1e-5)
    system.close()


def test_a_learned_baseline_is_the_least_squares_fit_of_the_iteration_before() -> None:
    system = made("maml_trpo", estimator=EstimatorConfig(baseline="learned"))
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
    system = made("maml_trpo")
    collected = _collected(system, system.initial_state())
    last, batch = collected.trajectories[-1], collected.batches[-1]
    credits = sampling_credits(last, batch, 0.99)
    returns = [float(sum(0.99**t * reward for t, reward in enumerate(task.mean(0).tolist()))) for task in last.rewards]
    for task, own in enumerate(returns):
        others = [value for other, value in enumerate(returns) if other != task]
        units = float(last.mask.sum(-1).mean() * batch.scale.mean())
        assert float(credits[task]) == pytest.approx((own - sum(others) / len(others)) / units, rel=1e-9)
    system.close()


def test_a_task_whose_returns_do_not_vary_gets_no_outsized_credit() -> None:
    system = made("maml_trpo")
    collected = _collected(system, system.initial_state())
    last = collected.trajectories[-1]
    rewards = last.rewards.clone()
    rewards[1] = 0.0
    flat = dataclasses.replace(last, rewards=rewards)
    plain = sampling_credits(last, collected.batches[-1], 0.99)
    credits = sampling_credits(flat, prepare(flat, system.config.estimator), 0.99)
    assert float(credits.abs().max()) < 10 * float(plain.abs().max())
    system.close()


def test_credit_and_surrogate_have_one_scale() -> None:
    """Over all tasks' samples the credit's mean is what the surrogate's own unit makes of a difference of returns."""
    system = made("maml_trpo", estimator=EstimatorConfig(baseline="none", discount=1.0, normalise=False))
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
    system = made("promp", inner=InnerConfig(steps=2), outer=promp.OuterConfig([0.5, 0.5, 0.0]))
    _, metrics = system.iterate(system.initial_state(), 0)
    assert metrics["kl_after"] > 0
    system.close()


def test_a_share_below_one_sample_takes_one() -> None:
    system = made("maml_trpo", outer=maml_trpo.OuterConfig(curvature_share=1e-3))
    _, metrics = system.iterate(system.initial_state(), 0)
    assert metrics["line_search_steps"] >= 1
    system.close()


def test_the_annealed_objective_ends_as_the_final_one() -> None:
    values = {"inner": InnerConfig(steps=2)}
    annealed = made("maml_trpo", outer=maml_trpo.OuterConfig("annealed", annealing_iterations=2), **values)
    final = made("maml_trpo", **values)
    state = final.initial_state()
    after = [
        flatten(system.iterate(state, iteration)[0]["meta"]) for system in (annealed, final) for iteration in (0, 2)
    ]
    assert not torch.equal(after[0], after[2])
    assert torch.equal(after[1], after[3])
    annealed.close()
    final.close()


def test_learned_rates_are_learned_and_reported_as_such() -> None:
    system = made("maml_trpo", inner=InnerConfig(learning_rate=0.1, learned_rates="per_scalar"))
    state, _ = system.iterate(system.initial_state(), 0)
    assert float(flatten(state["meta"][RATES]).std()) > 0
    options = system.Options(steps=2, tasks=1, episodes=1)
    assert system.evaluate([state], options).settings["learning_rates"] == "learned"
    given = dataclasses.replace(options, learning_rates=[0.3])
    assert system.evaluate([state], given).settings["learning_rates"] == [0.3, 0.3]
    system.close()


@pytest.mark.parametrize(("oracle", "steps"), [(True, 0), (False, 3)], ids=["oracle", "adapting"])
def test_options_take_what_is_missing_from_the_configuration(oracle: bool, steps: int) -> None:
    system = made("maml_trpo", **(VALUES["oracle"][1] if oracle else {}))
    options = system.resolve(system.Options())
    assert (options.steps, options.tasks, options.episodes) == (steps, 40, 20)
    with pytest.raises(ValueError, match="`learning_rates` has 2 entries, there are 1 gradient steps"):
        system.resolve(system.Options(steps=1, learning_rates=[0.1, 0.2]))
    with pytest.raises(ValueError, match=r"`learning_rates`.* must be one or more"):
        system.Options(learning_rates=[])
