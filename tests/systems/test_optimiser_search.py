"""The search for update rules as a system: it finds better ones, goes on after a break, and keeps to its budget."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from maml_rl.core.tree import flatten, map_tree
from maml_rl.search import ControllerConfig, best_of, nothing_found, remembered
from maml_rl.systems.optimiser_search import Config, System
from maml_rl.systems.optimiser_search_config import ChildConfig, EvolutionConfig, LanguageConfig
from maml_rl.systems.optimiser_search_evaluation import found_in
from tests.systems.living import lived

CONFIG = Config(
    precision="float64",
    language=LanguageConfig(1, ["g", "m", "adam", "noise", "1"], ["{}", "-{}", "sqrt|{}|"], ["({} + {})", "({} ^ {})"]),
    child=ChildConfig("bowl", 8, [0.1, 1.0], 1),
    controller=ControllerConfig(units=8, learning_rate=0.02),
    evolution=EvolutionConfig(16, 8),
    batch=8,
    best=5,
    memory=2000,
)
SEARCHERS: dict[str, dict[str, Any]] = {
    "reinforce": {"searcher": "controller"},
    "ppo": {"searcher": "controller", "controller": ControllerConfig("ppo", units=8, learning_rate=0.005)},
    "evolution": {"searcher": "evolution"},
    "random": {"searcher": "random"},
}

_lived = partial(lived, System)


@pytest.mark.parametrize("name", SEARCHERS)
def test_another_process_goes_on_in_the_middle_of_a_search(name: str) -> None:
    config = replace(CONFIG, **SEARCHERS[name])
    rows, state = _lived(config, 5)
    early, middle = _lived(config, 2)
    late, end = _lived(config, 5, middle, 2)
    np.testing.assert_equal(early + late, rows)
    assert torch.equal(*(flatten(map_tree(torch.Tensor.double, each)) for each in (state, end)))
    assert not torch.equal(flatten(state["meta"]), flatten(middle["meta"]))


def test_scores_are_those_of_the_children_and_are_found_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every formula is tried out in the first iteration that has it; the table has the best of all."""
    system, tried = System(replace(CONFIG, **SEARCHERS["random"])), list[str]()
    score = system.children

    def counting(programs: torch.Tensor) -> Any:
        tried.extend(map(system.language.formula, programs))
        return score(programs)

    monkeypatch.setitem(vars(system), "children", counting)
    state, rows = system.initial_state(), []
    for iteration in range(6):
        state, metrics = system.iterate(state, iteration)
        rows.append(metrics)
    assert len(tried) == len(set(tried)) == sum(row["children"] for row in rows) == int(state["memory"]["count"])
    assert sum(row["proposals"] for row in rows) == 48 > len(tried)
    assert max(remembered(state["memory"]).values()) == state["meta"]["scores"][0] == rows[-1]["best_score"]
    best = score(state["meta"]["programs"])
    assert torch.equal(best.rates, state["meta"]["rates"])
    torch.testing.assert_close(best.scores, state["meta"]["scores"])
    assert [row["best_score"] for row in rows] == sorted(row["best_score"] for row in rows)
    assert 0 < np.mean([row["diverged"] for row in rows]) < 1  # powers of negative numbers
    assert all(row["mean_score"] > 0 for row in rows)


def test_the_budget_is_never_exceeded_and_then_nothing_happens() -> None:
    rows, state = _lived(replace(CONFIG, budget=20, **SEARCHERS["random"]), 12)
    assert 8 < sum(row["children"] for row in rows) <= 20
    assert int(state["memory"]["count"]) == sum(row["children"] for row in rows)
    idle = [row for row in rows if row["proposals"] == 0]
    assert idle
    assert all(row["best_score"] == rows[-1]["best_score"] for row in idle)
    assert all(row.keys() == rows[0].keys() for row in rows)
    before, _ = _lived(replace(CONFIG, **SEARCHERS["random"]), 1)
    assert before[0] == rows[0]


@pytest.mark.parametrize("name", ["reinforce", "ppo", "evolution"])
def test_searches_come_to_propose_better_programs(name: str) -> None:
    rows, _ = _lived(replace(CONFIG, **SEARCHERS[name]), 40)
    blind, _ = _lived(replace(CONFIG, **SEARCHERS["random"]), 10)
    late, chance = (np.mean([row["mean_score"] for row in part]) for part in (rows[-20:], blind))
    assert late > chance + 0.1


def test_evaluations_hold_the_best_programs_against_tuned_optimisers() -> None:
    system = System(CONFIG)
    language, state = system.language, system.initial_state()
    programs = torch.stack(
        [
            language.program(("adam", "m", "{}", "{}", "({} + {})")),
            language.program(("1", "1", "{}", "-{}", "({} + {})")),
            language.program(("g", "noise", "sqrt|{}|", "-{}", "({} + {})")),
        ]
    )
    scores = torch.tensor([0.9, 0.8, 0.7], dtype=torch.float64)
    state["meta"] = best_of(language, state["meta"], programs, scores, torch.ones(3, dtype=torch.float64))
    options = system.resolve(system.Options(steps=2, tasks=2, problems=["beale"], horizon=20, programs=2))
    evaluation = system.evaluate([state], options)
    assert evaluation.values.shape == (3, 2)
    assert set(evaluation.also) == {"found_2", "adam", "adam_cosine", "momentum", "rmsprop", "power_sign", "add_sign"}
    assert "found: (adam + m), score 0.9 at rate 1" in evaluation.protocol
    assert evaluation.numbers["adam_final_ratio"] == [1]
    (moving,), (still,) = (evaluation.numbers[f"{name}_final_ratio"] for name in ("found", "found_2"))
    assert moving > still > 0
    assert f"mean of the middle half {moving:>11.3g} {still:>11.3g}" in evaluation.protocol
    assert (evaluation.values[-1] < 0).all()
    assert evaluation.tasks[0]["problem"] == "beale"
    assert evaluation.tasks[0]["found_rate"] in np.float64(10) ** np.linspace(-5, 1.5, 14)
    assert [each["formula"] for each in evaluation.settings["programs"]] == ["(adam + m)", "(1 + -1)"]


def test_a_program_that_diverges_at_every_rate_costs_its_own_curve_only() -> None:
    language = LanguageConfig(2, ["1", "m"], ["{}", "log|{}|"], ["({} - {})", "{}"])
    system = System(replace(CONFIG, language=language))
    words = system.language.program(("1", "1", "{}", "{}", "({} - {})"), ("#1", "m", "log|{}|", "{}", "({} - {})"))
    table = nothing_found(system.language, 1)
    state = {"meta": best_of(system.language, table, words[None], torch.zeros(1).double(), torch.ones(1).double())}
    options = system.resolve(system.Options(steps=2, tasks=1, problems=["bowl"], horizon=20))
    evaluation = system.evaluate([state], options)
    assert np.isnan(evaluation.values[1:]).all()
    assert np.isfinite(evaluation.also["adam"]).all()
    assert evaluation.numbers["found_final_ratio"] == [0]


def test_before_anything_is_found_the_first_program_stands_in() -> None:
    (one,) = found_in(System(CONFIG).language, nothing_found(System(CONFIG).language, 5), 3)
    assert (one.name, one.formula) == ("found", "(g + g)")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: LanguageConfig(0), "`language`: `operations` must be at least 1"),
        (lambda: LanguageConfig(operands=["w"]), "`language`: `operands` has 'w'; there are g"),
        (lambda: LanguageConfig(1, ["g"], ["{}"], ["{}"]), "`language` must be at least two programs"),
        (lambda: ChildConfig(steps=0), "`child.steps` must be at least 1"),
        (lambda: ChildConfig(rates=[0.1, -1.0]), "`child.rates` must be positive numbers"),
        (lambda: ControllerConfig(units=0), "`controller.units` must be at least 1"),
        (lambda: ControllerConfig(baseline_decay=1.0), "`controller.baseline_decay` must be in"),
        (lambda: ControllerConfig(clip=0.0), "`controller.clip` must be between 0 and 1"),
        (lambda: EvolutionConfig(tournament=0), "`evolution.tournament` must be at least 1"),
        (lambda: replace(CONFIG, memory=4), "`memory` must be at least `batch` 8, got 4"),
        (lambda: replace(CONFIG, budget=0), "`budget` must be at least 1"),
        (lambda: System(replace(CONFIG, child=ChildConfig("bowel"))).prepare(), "there is no problem 'bowel'"),
        (lambda: System(CONFIG).resolve(System.Options(horizon=25, steps=30)), "`horizon` must be at least `steps` 30"),
        (lambda: System.Options(programs=0), "`programs` must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        wrong()  # type: ignore[operator]


def test_options_without_effect_are_remarked_on() -> None:
    assert Config().remarks() == []
    assert Config(searcher="random", controller=ControllerConfig(units=3)).remarks() == [
        "`controller.units` 3 has no effect with `searcher` 'random'."
    ]
    assert Config(controller=ControllerConfig(clip=0.3), evolution=EvolutionConfig(7)).remarks() == [
        "`controller.clip` 0.3 has no effect with `controller.learning` 'reinforce'.",
        "`evolution.population` 7 has no effect with `searcher` 'controller'.",
    ]
