"""Regularised evolution: the oldest of a population dies, however good it is (Real et al., 2019)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from maml_rl.core.rules.language import Language, Program
from maml_rl.search.searcher import Searcher, SearcherState

__all__ = ["evolution", "mutated"]

_ROUNDS = 20  # of mutations at most, until a formula is a new one


def evolution(language: Language, batch: int, population: int, tournament: int) -> Searcher:
    """Children of the best of a few members drawn at random, with one word replaced by another one.

    The population is the last `population` programs that were scored. Until it is full, programs are drawn at random.
    A child that has the formula of a living member, or of a sibling, has another word replaced, up to 20 times: many
    words do not show in the formula, and a population of copies would not find anything.

    Args:
        language: of the programs.
        batch: B, children of a proposal; all of them have parents in the same population.
        population: members.
        tournament: members that a parent is the best of, drawn with replacement.

    Raises:
        ValueError: no place of the language has a choice.
    """
    if language.size == 1:
        raise ValueError("evolution needs a language of at least two programs, got one of a single program.")

    def initial(generator: torch.Generator) -> SearcherState:
        return {
            "programs": torch.zeros(population, language.operations, 5, dtype=torch.int64),
            "scores": torch.full((population,), -torch.inf, dtype=torch.float64),
            "scored": torch.zeros((), dtype=torch.int64),
        }

    def propose(state: SearcherState, generator: torch.Generator) -> Program:
        if int(state["scored"]) < population:
            return language.drawn(batch, generator)
        drawn = torch.randint(population, (batch, tournament), generator=generator)
        winners = drawn.gather(1, state["scores"][drawn].argmax(1, keepdim=True))[:, 0]
        children = mutated(language, state["programs"][winners], generator)
        living = {language.formula(program) for program in state["programs"]}
        for _ in range(_ROUNDS):
            copies = _copies([language.formula(child) for child in children], living)
            if not copies:
                break
            children[copies] = mutated(language, children[copies], generator)
        return children

    def learn(state: SearcherState, programs: Program, scores: Tensor) -> tuple[SearcherState, dict[str, float]]:
        members, levels = state["programs"].clone(), state["scores"].clone()
        for index, (program, score) in enumerate(zip(programs, scores, strict=True)):
            oldest = (int(state["scored"]) + index) % population
            members[oldest], levels[oldest] = program, score
        return {"programs": members, "scores": levels, "scored": state["scored"] + len(programs)}, {}

    return Searcher("evolution", initial, propose, learn)


def _copies(formulas: Sequence[str], living: set[str]) -> list[int]:
    """Where a formula stands that lives already, or that stood before."""
    return [place for place, each in enumerate(formulas) if each in living or each in formulas[:place]]


def mutated(language: Language, programs: Program, generator: torch.Generator) -> Program:
    """Programs [B, G, 5] with one word each replaced by another one of its place; places without a choice stay."""
    choices = torch.tensor([language.choices(operation) for operation in range(language.operations)]).flatten()
    flat, rows = programs.flatten(1).clone(), torch.arange(len(programs))
    places = torch.multinomial((choices > 1).double(), len(programs), replacement=True, generator=generator)
    others = choices[places] - 1
    shift = 1 + (torch.rand(len(programs), generator=generator, dtype=torch.float64) * others).long()
    flat[rows, places] = (flat[rows, places] + shift) % choices[places]
    return flat.view_as(programs)
