"""What a searcher is: it proposes programs and learns from their scores. The simplest one draws them at random."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from maml_rl.core.rules.language import Language, Program

__all__ = ["Searcher", "SearcherState", "uniform"]

SearcherState: TypeAlias = dict[str, Any]
"""What a searcher knows: nested dictionaries of tensors whose shapes never change."""


class Searcher(NamedTuple):
    """A way to search, as pure functions.

    Attributes:
        name: how messages call it.
        initial: ``initial(generator)`` is what it knows before the first batch.
        propose: ``propose(state, generator)`` are programs to be scored, [B, G, 5].
        learn: ``learn(state, programs, scores)`` is what it knows after finite scores [B], float64, the higher the
            better, and numbers that it has to say. The state that came in is left as it is.
    """

    name: str
    initial: Callable[[torch.Generator], SearcherState]
    propose: Callable[[SearcherState, torch.Generator], Program]
    learn: Callable[[SearcherState, Program, Tensor], tuple[SearcherState, dict[str, float]]]


def uniform(language: Language, batch: int) -> Searcher:
    """Random search: every word of a place is equally likely, whatever the scores were.

    Args:
        language: of the programs.
        batch: B, programs of a proposal.
    """

    def learn(state: SearcherState, programs: Program, scores: Tensor) -> tuple[SearcherState, dict[str, float]]:
        return state, {"entropy": math.log(language.size)}

    return Searcher("random", lambda generator: {}, lambda state, generator: language.drawn(batch, generator), learn)
