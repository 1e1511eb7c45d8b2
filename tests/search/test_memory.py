"""What is remembered of scored programs."""

import torch

from maml_rl.core.rules.language import Language
from maml_rl.search import best_of, key_of, no_memory, nothing_found, remembered, with_scores

LANGUAGE = Language(1, ("g", "m"), ("{}", "sign({})"), ("({} + {})", "{}"))


def test_scores_are_remembered_and_the_oldest_are_forgotten() -> None:
    memory = no_memory(3)
    assert remembered(memory) == {}
    early = with_scores(memory, {11: 0.1, 12: 0.2})
    late = with_scores(early, {13: 0.3, 14: 0.4})
    assert remembered(early) == {11: 0.1, 12: 0.2}
    assert remembered(late) == {14: 0.4, 12: 0.2, 13: 0.3}
    assert int(late["count"]) == 4
    assert remembered(memory) == {}


def test_keys_are_those_of_formulas() -> None:
    """Two programs that differ in what their result does not depend on have one key."""
    one, two, other = (LANGUAGE.formula([words]) for words in ([0, 0, 1, 0, 1], [0, 1, 1, 1, 1], [1, 0, 1, 0, 1]))
    assert key_of(one) == key_of(two) != key_of(other)
    assert 0 <= key_of(one) < 2**63


def test_the_table_has_each_formula_once_and_the_best_first() -> None:
    best = nothing_found(LANGUAGE, 3)
    programs = torch.tensor([[[0, 0, 1, 0, 1]], [[0, 1, 1, 1, 1]], [[1, 0, 0, 0, 1]]])
    scores, rates = torch.tensor([0.5, 0.4, 0.9], dtype=torch.float64), torch.tensor([1.0, 2.0, 3.0]).double()
    found = best_of(LANGUAGE, best, programs, scores, rates)
    assert found["scores"].tolist() == [0.9, 0.5, -torch.inf]
    assert found["rates"].tolist()[:2] == [3.0, 1.0]
    assert torch.equal(found["programs"][:2], programs[[2, 0]])
    more = LANGUAGE.program(("g", "m", "{}", "{}", "({} + {})")), LANGUAGE.program(("m", "m", "{}", "{}", "({} + {})"))
    found = best_of(LANGUAGE, found, torch.stack(more), torch.tensor([0.6, 0.1]).double(), torch.ones(2).double())
    assert found["scores"].tolist() == [0.9, torch.tensor(0.6).item(), 0.5]
    assert best["scores"].isinf().all()
