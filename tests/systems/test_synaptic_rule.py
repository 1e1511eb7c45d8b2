"""The system that learns a synaptic rule: it learns one, by both optimisers, and its evaluation tells its worth."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from maml_rl.core import adapt
from maml_rl.core.estimators import Lifetimes, full_unroll
from maml_rl.core.rules.synaptic import COEFFICIENTS, RULE, rule_of, synaptic
from maml_rl.core.tree import expand, flatten
from maml_rl.core.types import Meta
from maml_rl.problems.boolean import function_of
from maml_rl.problems.lessons import Lessons, boolean_lesson, coded_patterns, drawn_lessons
from maml_rl.problems.plastic_lifetime import Curves, curves_of, plastic_lifetime, responses_wrong
from maml_rl.problems.plastic_network import PlasticNetwork
from maml_rl.systems.settings import generator_of
from maml_rl.systems.synaptic_rule import Config, System
from maml_rl.systems.synaptic_rule_config import MetaConfig, NetworkConfig, TasksConfig
from maml_rl.systems.synaptic_rule_evaluation import RuleOptions, evaluated
from maml_rl.systems.synaptic_rule_tasks import split_tasks
from maml_rl.systems.system import State
from tests.systems.living import lived

CONFIG = Config(
    precision="float64",
    tasks=TasksConfig(inputs=2, held_out=4),
    meta=MetaConfig(learning_rate=0.05),
    presentations=16,
    lifetimes=20,
    traced=False,
)
BY_CMA_ES = replace(CONFIG, meta=MetaConfig(optimiser="cma_es", population=6))


def _lived(
    config: Config, iterations: int, state: State | None = None, first: int = 0
) -> tuple[list[dict[str, float]], State]:
    if config.meta.optimiser == "cma_es":
        pytest.importorskip("cmaes")
    return lived(System, config, iterations, state, first)


def _leaves(state: State) -> Tensor:
    """All numbers of a state in one vector."""
    leaves = tree_leaves(state)
    return torch.cat([torch.as_tensor(leaf, dtype=torch.float64).flatten() for leaf in leaves])


def _shown(network: PlasticNetwork, names: list[str], count: int) -> Lessons:
    lessons = [boolean_lesson(function_of(name, network.inputs)) for name in names]
    coded = coded_patterns(network.inputs, network.kind, torch.float64)
    return drawn_lessons(lessons, coded, network.kind, count, torch.Generator().manual_seed(7))


def _curves(network: PlasticNetwork, theta: Meta, names: list[str], count: int) -> Curves:
    seeds = torch.arange(len(names)) + 40
    return curves_of(network, torch.float64, False)(expand(theta, len(names)), seeds, _shown(network, names, count))


@pytest.mark.parametrize("config", [CONFIG, BY_CMA_ES], ids=["gradient", "cma_es"])
def test_a_rule_is_learned_that_teaches_functions_it_was_not_learned_on(config: Config) -> None:
    rows, state = _lived(config, 16)
    early, late = (np.mean([row["meta_loss"] for row in part]) for part in (rows[:3], rows[-3:]))
    assert late < 0.6 * early
    system = System(config)
    evaluation = system.evaluate([state], system.resolve(system.Options(steps=4, weights=10)))
    assert evaluation.values[0].mean() > 0.35
    assert evaluation.values[-1].mean() < 0.1
    names = {lesson.name for lesson in system.split.training}
    assert not names & {task["task"] for task in evaluation.tasks}


@pytest.mark.parametrize("config", [CONFIG, BY_CMA_ES], ids=["gradient", "cma_es"])
def test_another_process_goes_on_to_the_bit(config: Config) -> None:
    rows, end = _lived(config, 5)
    early, middle = _lived(config, 2)
    late, other = _lived(config, 5, middle, 2)
    assert early + late == rows
    assert torch.equal(_leaves(end), _leaves(other))


@pytest.mark.parametrize("network", [PlasticNetwork(2), PlasticNetwork(2, 3, "tanh")], ids=["one layer", "two"])
def test_the_estimators_meta_gradient_is_that_of_finite_differences(network: PlasticNetwork) -> None:
    """Of whole lifetimes of 7 presentations with weights on the losses, each lifetime on a function of its own."""
    names = ["xor", "and", "or"]
    data = (_shown(network, names, 7), torch.linspace(0, 2, 7, dtype=torch.float64).expand(3, 7))
    lives = Lifetimes(3, 7, stepwise=True)
    estimator = full_unroll(plastic_lifetime(network, torch.float64), lives)

    def estimate(theta: Tensor) -> Any:
        meta = {RULE: {COEFFICIENTS: theta}}
        memory = estimator.init(meta, torch.Generator().manual_seed(1))
        return estimator.estimate(meta, memory, data, torch.Generator().manual_seed(1))

    theta = 0.1 * torch.randn(9, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    slope, step = estimate(theta).gradient[RULE][COEFFICIENTS], 1e-5
    for place, unit in enumerate(torch.eye(9, dtype=torch.float64)):
        up, down = (estimate(theta + sign * step * unit).metrics["meta_loss"] for sign in (1, -1))
        assert float(slope[place]) == pytest.approx((up - down) / (2 * step), rel=1e-5, abs=1e-8)


def test_lifetimes_side_by_side_are_those_of_a_plain_loop() -> None:
    network, names, count = PlasticNetwork(2, 3, "tanh", feedback="random"), ["xor", "or", "nor"], 9
    theta = {RULE: {COEFFICIENTS: 0.2 * torch.randn(9, generator=torch.Generator().manual_seed(2)).double()}}
    curves, lessons = _curves(network, theta, names, count), _shown(network, names, count)
    coded = coded_patterns(2, network.kind, torch.float64)
    for life in range(len(names)):
        seed = torch.tensor(40 + life)
        backward = network.feedback_weights(seed, torch.float64)
        shown = [(lessons.pattern[life, k], lessons.target[life, k], backward) for k in range(count)]
        path = adapt(network.initial(seed, torch.float64), shown, network.loss(), synaptic(), theta)
        for k, state in enumerate(path):
            wanted = lessons.wanted[life, 0]
            totals = network.output_input(state.params, coded)
            by_hand = [torch.log1p(torch.exp(-2 * want * total)) for want, total in zip(wanted, totals, strict=True)]
            assert float(curves.losses[life, k]) == pytest.approx(float(sum(by_hand)) / 4, rel=1e-9)
            wrong = [float(total * want) <= 0 for want, total in zip(wanted, totals, strict=True)]
            assert float(curves.errors[life, k]) == pytest.approx(sum(wrong) / 4)


@pytest.mark.parametrize(
    ("hidden", "feedback", "least", "most"),
    [(8, "transposed", 0.9, 1.0), (8, "random", 0.8, 1.0), (8, "global", 0.0, 0.4), (0, "transposed", 0.0, 0.0)],
)
def test_exclusive_or_needs_hidden_units_that_are_told_apart(
    hidden: int, feedback: Any, least: float, most: float
) -> None:
    """By the delta rule, which with hidden units is back-propagation; one layer never has all four right."""
    network = PlasticNetwork(2, hidden, "tanh", feedback=feedback)
    errors = _curves(network, rule_of({"x m": 0.5}, torch.float64), ["xor"] * 20, 160).errors
    assert least <= float((errors[:, -1] == 0).double().mean()) <= most
    assert hidden or (errors > 0).all()


def test_a_lifetime_that_diverges_costs_itself_only() -> None:
    """Weights that grow without bound are wrong answers, and no error of the run."""
    curves = _curves(PlasticNetwork(2), rule_of({"m w": 1e100, "x m": 1e100}, torch.float64), ["and"] * 4, 12)
    assert not curves.losses[:, -1].isfinite().all()
    assert ((curves.errors >= 0) & (curves.errors <= 1)).all()
    unlike, low = torch.tensor([torch.nan, torch.inf, -1.0]), torch.zeros(3)
    assert responses_wrong(PlasticNetwork(2), unlike, low).tolist() == [True, True, False]
    system = System(replace(CONFIG, meta=replace(CONFIG.meta, initial=1e30)))
    state, metrics = system.iterate(system.initial_state(), 0)
    assert metrics["diverged"] > 0
    assert flatten(state["meta"]).isfinite().all()


def test_the_objective_says_which_presentations_count() -> None:
    weights = {
        objective: System(replace(CONFIG, meta=replace(CONFIG.meta, objective=objective, annealing=4)))._weights(1)
        for objective in ("uniform", "final", "annealed")
    }
    assert weights["uniform"].tolist() == [1.0] * 16
    assert weights["final"].tolist() == [0.0] * 14 + [8.0] * 2
    torch.testing.assert_close(weights["annealed"], 0.75 * weights["uniform"] + 0.25 * weights["final"])
    estimates = [
        System(replace(CONFIG, meta=replace(CONFIG.meta, objective=objective))) for objective in ("uniform", "final")
    ]
    told = [system._gradient(system.initial_state()["meta"], system._lessons(0), 0)[1] for system in estimates]
    assert told[0]["meta_loss"] != told[1]["meta_loss"]


@pytest.mark.parametrize("logarithmic", [False, True])
def test_both_optimisers_have_the_same_objective(logarithmic: bool) -> None:
    """The score of a candidate is the meta-loss of the same rule, in the same lifetimes."""
    pytest.importorskip("cmaes")
    one, other = (
        System(replace(config, meta=replace(config.meta, logarithmic=logarithmic))) for config in (CONFIG, BY_CMA_ES)
    )
    meta = one.initial_state()["meta"]
    lessons = one._lessons(0)
    assert all(torch.equal(*leaves) for leaves in zip(lessons, other._lessons(0), strict=True))
    scores, _ = other._scores(expand(meta, 6), lessons, 0)
    assert float(scores[3]) == pytest.approx(one._gradient(meta, lessons, 0)[1]["meta_loss"], rel=1e-9)


def test_held_out_tasks_are_the_same_however_many_are_learned_on() -> None:
    generator = lambda: generator_of(1, 1)  # noqa: E731
    splits = [split_tasks(TasksConfig(training=count, held_out=40), generator()) for count in (1, 5, None)]
    assert len({split.held_out for split in splits}) == 1
    assert [len(split.training) for split in splits] == [1, 5, 64]
    assert splits[1].training[:1] == splits[0].training
    assert not set(splits[2].training) & set(splits[2].held_out)
    named = split_tasks(TasksConfig(["conditioning"], 2, None, ["blocking", "reversal (swapped)"]), generator())
    assert {lesson.name for lesson in named.held_out} == {"blocking", "blocking (swapped)", "reversal (swapped)"}


def test_evaluations_hold_a_rule_against_the_delta_rule() -> None:
    """The delta rule itself is as good as the delta rule."""
    network, lessons = PlasticNetwork(2, 0, "tanh"), [boolean_lesson(function_of(name, 2)) for name in ("and", "xor")]
    options = RuleOptions(steps=3, weights=4).resolved(30, 2)
    evaluation = evaluated(System.measure, network, rule_of({"x m": 1.0}), lessons, options, None, False)
    assert evaluation.values.shape == (4, 2, 4)
    assert evaluation.also["learned"][-1].tolist() == [1.0, 0.0]
    delta, hebb = (evaluation.also[f"error_rate {name}"][-1].mean() for name in ("delta rule", "Hebb"))
    assert delta <= evaluation.values[-1].mean() < hebb
    assert "all responses right at the end, inseparable, 1 tasks: learned 0.0%" in evaluation.protocol
    with pytest.raises(ValueError, match="`presentations` must be at least `steps` 5, got 3"):
        RuleOptions(steps=5, presentations=3).resolved(30, 2)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: NetworkConfig(hidden=-1), "`network.hidden` must be at least 0"),
        (lambda: TasksConfig(families=[]), "`tasks.families` must be names, each once"),
        (lambda: TasksConfig(inputs=4), "`tasks.inputs` must be 2 or 3"),
        (lambda: TasksConfig(["conditioning"]), "`tasks.inputs` must be 2 with `tasks.families` 'conditioning'"),
        (lambda: TasksConfig(held_out=0), "`tasks.held_out` must be at least 1, or names"),
        (lambda: TasksConfig(training=0), "`tasks.training` must be at least 1"),
        (lambda: MetaConfig(population=1), "`meta.population` must be at least 2"),
        (lambda: MetaConfig(sigma=0.0), "`meta.sigma` must be positive"),
        (lambda: Config(presentations=5), "`presentations` must be at least 10"),
        (
            lambda: Config(tasks=TasksConfig(["conditioning"], 2, None, 2)),
            "`network.unit` must be 'sigmoid' with `tasks.families` 'conditioning'",
        ),
        (lambda: System(Config(tasks=TasksConfig(training=65))).prepare(), "there are 104 tasks, and 64 left"),
        (lambda: System(Config(tasks=TasksConfig(held_out=104))).prepare(), "0 left for training"),
        (lambda: System(Config(tasks=TasksConfig(held_out=["parity"]))).prepare(), "there is no task 'parity'"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        wrong()


def test_options_without_effect_are_remarked() -> None:
    config = Config(network=NetworkConfig(feedback="random"), meta=MetaConfig(sigma=0.1, annealing=5))
    assert len(config.remarks()) == 3
    assert not CONFIG.remarks()
    assert Config(meta=MetaConfig(final_learning_rate=0.0)).schedule_end() == "meta.final_learning_rate"
