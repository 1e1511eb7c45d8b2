"""Experiments of classical conditioning with two stimuli: what is paired with the reinforcer, and what is learned."""

from maml_rl.problems.lessons import Lesson, Phase

__all__ = ["EXPERIMENTS", "conditioning_lessons"]

_NOTHING, _SECOND, _FIRST, _BOTH = range(4)  # the patterns of two inputs
_SWAPPED = {_NOTHING: _NOTHING, _SECOND: _FIRST, _FIRST: _SECOND, _BOTH: _BOTH}
_LETTERS = {"0": _NOTHING, "A": _FIRST, "B": _SECOND, "AB": _BOTH}

EXPERIMENTS: dict[str, tuple[tuple[str, str], ...]] = {
    "acquisition": (("A+ 0-", "A+ 0-"),),
    "summation": (("A+ B+ 0-", "A+ B+ AB+ 0-"),),
    "discrimination": (("A+ B- 0-", "A+ B- 0-"),),
    "extinction": (("A+ 0-", "A+ 0-"), ("A- 0-", "A- 0-")),
    "reacquisition": (("A+ 0-", "A+ 0-"), ("A- 0-", "A- 0-"), ("A+ 0-", "A+ 0-")),
    "inhibition": (("A+ 0-", "A+ 0-"), ("A+ AB- 0-", "A+ AB- 0-")),
    "blocking": (("A+ 0-", "A+ 0-"), ("AB+ 0-", "A+ AB+ B- 0-")),
    "reversal": (("A+ B- 0-", "A+ B- 0-"), ("A- B+ 0-", "A- B+ 0-")),
}
"""Phases by experiment: trials, and the responses that an animal has learned at their end. A and B are the stimuli, AB
both of them, 0 neither; + is with the reinforcer, or a response, and - without. In blocking, B is shown together with
an A that foretells the reinforcer already, and is not learned (Kamin, 1969; Rescorla and Wagner, 1972)."""


def conditioning_lessons() -> list[Lesson]:
    """Every experiment, and again with A and B in each other's place, which has " (swapped)" behind its name."""
    lessons = []
    for name, phases in EXPERIMENTS.items():
        made = tuple(Phase(_pairs(trials), _pairs(wanted)) for trials, wanted in phases)
        lessons.append(Lesson(name, "conditioning", made))
        swapped = tuple(Phase(_swapped(phase.trials), _swapped(phase.wanted)) for phase in made)
        lessons.append(Lesson(f"{name} (swapped)", "conditioning", swapped))
    return lessons


def _pairs(words: str) -> tuple[tuple[int, bool], ...]:
    return tuple((_LETTERS[word[:-1]], word[-1] == "+") for word in words.split())


def _swapped(pairs: tuple[tuple[int, bool], ...]) -> tuple[tuple[int, bool], ...]:
    return tuple((_SWAPPED[pattern], value) for pattern, value in pairs)
