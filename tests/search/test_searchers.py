"""What searchers find where the best program is known, and how regularised evolution lives and dies."""

import math

import pytest
import torch

from maml_rl.core.rules.language import Language
from maml_rl.search import evolution, uniform
from maml_rl.search.evolution import mutated
from tests.search.planted import BATCH, LANGUAGE, SEARCHERS, tried_until_found

SEEDS, TENTH = range(5), (LANGUAGE.size + 1) // 20
"""Exhaustive search tries (N + 1) / 2 programs in the mean over orders until it has the planted one."""


@pytest.mark.parametrize("name", ["reinforce", "ppo", "evolution"])
def test_a_planted_program_is_found_within_a_tenth_of_what_exhaustive_search_needs(name: str) -> None:
    tried = [tried_until_found(SEARCHERS[name], seed, 2 * TENTH) for seed in SEEDS]
    assert sum(tried) / len(tried) < TENTH
    assert max(tried) < 2 * TENTH


def test_random_search_does_not_find_it() -> None:
    tried = [tried_until_found(SEARCHERS["random"], seed, 2 * TENTH) for seed in SEEDS]
    assert sum(tried) / len(tried) > TENTH


def test_random_search_draws_every_program_alike() -> None:
    small = Language(1, ("g", "m"), ("{}", "sign({})"), ("({} + {})",))
    searcher = uniform(small, 4000)
    programs = searcher.propose({}, torch.Generator().manual_seed(1))
    _, counts = programs.flatten(1).unique(dim=0, return_counts=True)
    assert len(counts) == small.size == 16
    assert (counts - 250).abs().max() < 4 * math.sqrt(250)
    state, told = searcher.learn({}, programs, torch.zeros(4000))
    assert state == {}
    assert told == {"entropy": pytest.approx(math.log(16))}


def test_a_mutation_replaces_one_word_by_another_one_of_its_place() -> None:
    language = Language(2, ("g", "m", "1"), ("{}",), ("({} + {})", "{}"))
    programs = language.drawn(500, torch.Generator().manual_seed(1))
    children = mutated(language, programs, torch.Generator().manual_seed(2))
    changed = (children != programs).flatten(1)
    assert (changed.sum(1) == 1).all()
    assert changed.any(0).tolist() == [True, True, False, False, True] * 2
    words = torch.tensor([language.choices(operation) for operation in range(2)])
    assert ((children >= 0) & (children < words)).all()
    assert (children[:, 1, 0] == 3).any()


def test_the_oldest_dies_and_the_best_of_a_tournament_has_children() -> None:
    searcher, generator = evolution(LANGUAGE, BATCH, 4, 64), torch.Generator().manual_seed(1)
    state = searcher.initial(generator)
    first, second = LANGUAGE.drawn(3, generator), LANGUAGE.drawn(3, generator)
    state, _ = searcher.learn(state, first, torch.tensor([0.9, 0.1, 0.2], dtype=torch.float64))
    before = searcher.propose(state, generator)
    assert len(before.flatten(1).unique(dim=0)) > BATCH // 2  # at random, until the population is full
    after, _ = searcher.learn(state, second, torch.tensor([0.3, 0.4, 0.8], dtype=torch.float64))
    assert after["scores"].tolist() == [0.4, 0.8, 0.2, 0.3]
    assert state["scores"].tolist() == [0.9, 0.1, 0.2, -torch.inf]
    assert torch.equal(after["programs"][1], second[2])
    changed = (searcher.propose(after, generator) != second[2]).sum((1, 2)).double()
    assert changed.min() == 1
    assert changed.mean() < 2


def test_evolution_has_no_child_that_lives_already_nor_twins() -> None:
    generator = torch.Generator().manual_seed(1)
    language = Language(2, ("g", "m", "v", "c"), ("{}",), ("({} + {})", "{}"))
    searcher = evolution(language, 8, 8, 8)
    programs = language.drawn(8, generator)
    state, _ = searcher.learn(searcher.initial(generator), programs, torch.arange(8).double())
    living = {language.formula(program) for program in programs}
    for _ in range(10):
        born = [language.formula(child) for child in searcher.propose(state, generator)]
        assert not living & set(born)
        assert len(set(born)) == 8


def test_evolution_ends_where_every_formula_lives() -> None:
    generator = torch.Generator().manual_seed(1)
    language = Language(1, ("g", "m"), ("{}",), ("{}",))
    searcher = evolution(language, 8, 8, 2)
    state, _ = searcher.learn(searcher.initial(generator), language.drawn(8, generator), torch.zeros(8).double())
    assert len(searcher.propose(state, generator)) == 8


def test_a_language_of_one_program_cannot_evolve() -> None:
    with pytest.raises(ValueError, match="at least two programs"):
        evolution(Language(1, ("g",), ("{}",), ("{}",)), 4, 4, 2)
