"""Learned optimisers as a system: they learn, what their objective counts, how they are held against others."""

from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from maml_rl.core.estimators import seeded_normal
from maml_rl.core.tree import flatten, map_tree
from maml_rl.core.types import Params
from maml_rl.problems import TrainingProblem
from maml_rl.problems.comparison import BASELINES
from maml_rl.systems.compared_trainings import ComparedTrainings, ComparisonOptions
from maml_rl.systems.learned_optimiser import Config, System
from maml_rl.systems.learned_optimiser_config import MetaConfig, OptimiserConfig
from maml_rl.systems.learned_optimiser_evaluation import comparison_table
from tests.systems.living import lived

Array = NDArray[np.float64]

CONFIG = Config(
    precision="float64",
    optimiser=OptimiserConfig(units=[8]),
    problems=["bowl", "softmax"],
    lifetimes=4,
    length=20,
    meta=MetaConfig(estimator="truncated", unroll=10, learning_rate=0.01),
    traced=False,
)
KINDS = {
    "per_parameter": OptimiserConfig(units=[8]),
    "hierarchical": OptimiserConfig("hierarchical", [4, 5, 6], [0.02, 0.1]),
}

_lived = partial(lived, System)


@pytest.mark.parametrize("kind", KINDS)
def test_meta_training_makes_trainings_faster(kind: str) -> None:
    rows, _ = _lived(replace(CONFIG, optimiser=KINDS[kind], problems=["bowl"]), 24)
    early, late = (np.mean([row["meta_loss"] for row in part]) for part in (rows[2:6], rows[-4:]))
    assert late < early - 0.3
    assert sum(row["diverged bowl"] for row in rows) == 0
    assert rows[0]["training_steps"] == 4 * 10


def test_what_is_recorded_changes_no_bit() -> None:
    config = replace(CONFIG, problems=["softmax"], optimiser=OptimiserConfig(units=[2]))
    plain, recorded = (_lived(replace(config, traced=traced), 2) for traced in (False, True))
    assert plain[0] == recorded[0]
    assert torch.equal(*(flatten(map_tree(torch.Tensor.double, each[1])) for each in (plain, recorded)))


@pytest.mark.parametrize("estimator", ["truncated", "evolution", "persistent"])
def test_another_process_goes_on_in_the_middle_of_a_training(estimator: str) -> None:
    config = replace(CONFIG, meta=replace(CONFIG.meta, estimator=estimator), augmentation=3.0)
    rows, state = _lived(config, 5)
    early, middle = _lived(config, 3)
    late, end = _lived(config, 5, middle, 3)
    assert early + late == rows
    assert torch.equal(*(flatten(map_tree(torch.Tensor.double, each)) for each in (state, end)))


def test_the_objective_says_which_steps_count() -> None:
    """Unrolls of whole trainings: the last tenth alone, all alike, or the one after the other."""
    whole = replace(CONFIG, length=10, problems=["bowl"])
    losses = {}
    for objective in ("uniform", "final", "annealed"):
        meta = replace(CONFIG.meta, objective=objective, annealing=2, learning_rate=0.0)
        losses[objective] = [row["meta_loss"] for row in _lived(replace(whole, meta=meta), 3)[0]]
    assert losses["annealed"][0] == losses["uniform"][0]
    assert losses["annealed"][1] == pytest.approx((losses["uniform"][1] + losses["final"][1]) / 2)
    assert losses["annealed"][2] == losses["final"][2]
    assert losses["final"][1] < losses["uniform"][1]  # losses fall


def solved() -> TrainingProblem:
    """A training whose loss is 0 from its second step on."""

    def loss(params: Params, seed: Tensor, k: Tensor) -> Tensor:
        return params["x"].square().sum() * (k == 0)

    return TrainingProblem("solved", lambda seed: {"x": seeded_normal(seed, 2).double()}, loss, loss)


@pytest.mark.parametrize("objective", ["uniform", "final"])
def test_a_problem_that_is_solved_has_not_diverged(objective: Literal["uniform", "final"]) -> None:
    meta = replace(CONFIG.meta, objective=objective)
    rows, _ = _lived(replace(CONFIG, problems=[f"{__name__}:solved"], meta=meta), 2)
    assert [row[f"diverged {__name__}:solved"] for row in rows] == [0, 0]
    assert rows[1]["meta_loss"] < -6


def test_no_problem_outweighs_the_others() -> None:
    """The meta-gradient of each is cut to `max_norm` before the mean, which Adam remembers a tenth of."""
    state = _lived(replace(CONFIG, meta=replace(CONFIG.meta, max_norm=1e-4)), 1)[1]
    loose = _lived(replace(CONFIG, meta=replace(CONFIG.meta, max_norm=1e9)), 1)[1]
    cut, free = (flatten(each["optimiser"]["mean"]).norm().item() for each in (state, loose))
    assert cut <= 0.1 * 1e-4 * (1 + 1e-9)
    assert free > 10 * cut


def _stairs(*levels: float) -> Array:
    """Two trainings of 80 steps, in equal parts at these losses: the last one is the end's, of four steps."""
    return np.repeat([levels], 2, 0).repeat(80 // len(levels), 1)


def test_comparisons_tell_which_is_better() -> None:
    mine, other = _stairs(8.0, 2.0, 1.0, 0.5), _stairs(8.0, 3.0, 2.5, 2.0)
    comparison = ComparedTrainings("bowl", {"learned": mine, "adam": other}, {"adam": 0.1})
    assert comparison.final_ratio("learned", "adam") == 4
    assert comparison.speed_up("learned", "adam") == 80 / 24  # the mean of the steps 21 to 24 is the first one at 2
    worse = ComparedTrainings("bowl", {"learned": other, "adam": mine}, {"adam": 0.1})
    assert (worse.final_ratio("learned", "adam"), worse.speed_up("learned", "adam")) == (0.25, 0)
    solved = ComparedTrainings("bowl", {"learned": mine, "adam": 0 * other}, {"adam": 0.1})
    assert 0 < solved.final_ratio("learned", "adam") < 1e-9


def test_what_diverges_is_told_and_never_ahead() -> None:
    lost, other = _stairs(8.0, 2.0, 1.0, 0.5), _stairs(8.0, 3.0, 2.5, 2.0)
    lost[1, 70:] = np.nan
    comparison = ComparedTrainings(
        "bowl", {"learned": lost, **dict.fromkeys(BASELINES, other)}, dict.fromkeys(BASELINES, 0.1)
    )
    assert (comparison.diverged("learned"), comparison.final_ratio("learned", "adam")) == (1, 0)
    assert comparison.speed_up("learned", "adam") == 80 / 24  # it had been there
    both = ComparedTrainings("bowl", {"learned": lost, "adam": lost}, {"adam": 0.1})
    assert both.final_ratio("learned", "adam") == 0
    table = comparison_table([comparison])
    assert "1 of its trainings diverged" in table
    assert table.count("0 of 1") == len(BASELINES)


def test_evaluations_hold_it_against_tuned_optimisers() -> None:
    system = System(CONFIG)
    options = system.resolve(system.Options(steps=2, tasks=3, problems=["bowl", "softmax"], horizon=40))
    evaluation = system.evaluate([system.initial_state()], options)
    assert evaluation.values.shape == (3, 3)
    assert (evaluation.values[0] == 0).all()
    assert [task["problem"] for task in evaluation.tasks] == ["bowl 20", "softmax of clusters", "bowl 20"]
    assert all((values[-1] < -0.01).all() for values in evaluation.also.values())
    assert set(evaluation.also) == {"adam", "adam_cosine", "momentum", "rmsprop"}
    assert "bowl 20 " in evaluation.protocol
    ratios = evaluation.numbers["rmsprop_final_ratio"]
    assert ratios == [evaluation.tasks[which]["rmsprop_final_ratio"] for which in (0, 1)]
    assert evaluation.numbers["rmsprop_final_ratio_middle"] == [pytest.approx(np.mean(ratios))]
    with pytest.raises(ValueError, match="`horizon` must be at least `steps` 30, got 25"):
        system.resolve(system.Options(horizon=25, steps=30))
    assert "omniglot-convolutions" not in (system.resolve(system.Options()).problems or [])
    there = System(replace(CONFIG, data="somewhere"))
    assert "omniglot-convolutions" in (there.resolve(there.Options()).problems or [])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: OptimiserConfig("hierarchical", [4, 5]), "`optimiser.units` must be three positive numbers"),
        (lambda: OptimiserConfig(rates=[0.1, 0.01]), "`optimiser.rates` must be two positive numbers"),
        (lambda: MetaConfig(unroll=0), "`meta.unroll` must be at least 1"),
        (lambda: MetaConfig(sigma=0.0), "`meta.sigma` must be positive"),
        (lambda: replace(CONFIG, length=5), "`meta.unroll` must be at most `length` 5"),
        (lambda: replace(CONFIG, problems=["bowl", "bowl"]), "`problems` must be names, each once"),
        (lambda: replace(CONFIG, augmentation=0.5), "`augmentation` must be finite and at least 1"),
        (lambda: System(replace(CONFIG, problems=["bowel"])).prepare(), "there is no problem 'bowel'"),
        (lambda: ComparisonOptions(problems=["bowl", "bowel"]), "there is no problem 'bowel'"),
        (lambda: System(replace(CONFIG, problems=["torch:zeros"])).prepare(), "problem 'torch:zeros': "),
        (lambda: System(replace(CONFIG, problems=["os:getcwd"])).prepare(), "must be a TrainingProblem, got str"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        wrong()  # type: ignore[operator]
