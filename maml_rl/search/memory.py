"""What has been scored: a memory of scores, so that no program is tried twice, and the table of the best programs."""

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from maml_rl.core.rules.language import Language, Program

__all__ = ["best_of", "key_of", "no_memory", "nothing_found", "remembered", "with_scores"]

Memory = dict[str, Tensor]
"""``keys`` int64 [C] and ``scores`` float64 [C] of the last C formulas, and how many there were, ``count``."""

Best = dict[str, Tensor]
"""``programs`` [K, G, 5], ``scores`` float64 [K] and ``rates`` float64 [K], the best first; scores are -inf where there
is none yet, and the programs there are made of the first word of each place."""


def key_of(formula: str) -> int:
    """63 bits that tell a formula from others."""
    return int.from_bytes(hashlib.sha256(formula.encode()).digest()[:8], "big") >> 1


def no_memory(capacity: int) -> Memory:
    """The memory before anything is scored."""
    return {
        "keys": torch.full((capacity,), -1, dtype=torch.int64),
        "scores": torch.zeros(capacity, dtype=torch.float64),
        "count": torch.zeros((), dtype=torch.int64),
    }


def remembered(memory: Memory) -> dict[int, float]:
    """Scores by the keys of formulas."""
    known = min(int(memory["count"]), len(memory["keys"]))
    return dict(zip(memory["keys"][:known].tolist(), memory["scores"][:known].tolist(), strict=True))


def with_scores(memory: Memory, scores: Mapping[int, float]) -> Memory:
    """The memory with more scores; where it is full they take the places of the oldest."""
    keys, values, count = memory["keys"].clone(), memory["scores"].clone(), int(memory["count"])
    for index, (key, score) in enumerate(scores.items()):
        place = (count + index) % len(keys)
        keys[place], values[place] = key, score
    return {"keys": keys, "scores": values, "count": memory["count"] + len(scores)}


def nothing_found(language: Language, places: int) -> Best:
    """The table before anything is scored."""
    return {
        "programs": torch.zeros(places, language.operations, 5, dtype=torch.int64),
        "scores": torch.full((places,), -torch.inf, dtype=torch.float64),
        "rates": torch.zeros(places, dtype=torch.float64),
    }


def best_of(language: Language, best: Best, programs: Program, scores: Tensor, rates: Tensor) -> Best:
    """The table after more programs [B, G, 5], with scores and rates [B]; a formula has one place in it."""
    together = {
        "programs": torch.cat([best["programs"], programs]),
        "scores": torch.cat([best["scores"], scores]),
        "rates": torch.cat([best["rates"], rates]),
    }
    order = together["scores"].argsort(descending=True, stable=True).tolist()
    found = [index for index in order if together["scores"][index] > -torch.inf]
    firsts = _firsts([language.formula(together["programs"][index]) for index in found])
    empty = [index for index in order if index not in found]
    chosen = ([found[place] for place in firsts] + empty)[: len(best["scores"])]
    return {name: part[chosen] for name, part in together.items()}


def _firsts(words: Sequence[str]) -> list[int]:
    """Where each word stands for the first time."""
    firsts: dict[str, int] = {}
    for place, word in enumerate(words):
        firsts.setdefault(word, place)
    return list(firsts.values())
