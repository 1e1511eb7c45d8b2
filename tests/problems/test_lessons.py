"""Boolean functions and experiments of conditioning as tasks of a rule, and how their trials are drawn."""

import numpy as np
import pytest
import torch

from maml_rl.problems.boolean import boolean_functions, function_of, patterns
from maml_rl.problems.conditioning import EXPERIMENTS, conditioning_lessons
from maml_rl.problems.lessons import boolean_lesson, coded_patterns, drawn_lessons
from maml_rl.problems.plastic_network import UNITS


@pytest.mark.parametrize(("inputs", "every", "separable"), [(2, 16, 14), (3, 256, 104)])
def test_counts_of_separable_functions(inputs: int, every: int, separable: int) -> None:
    functions = boolean_functions(inputs)
    assert len({function.values for function in functions}) == len({function.name for function in functions}) == every
    assert sum(function.separable for function in functions) == separable


@pytest.mark.parametrize("inputs", [2, 3])
def test_separability_is_what_linear_programming_says(inputs: int) -> None:
    """Some weights and threshold have every pattern at least 1 on its right side."""
    optimize = pytest.importorskip("scipy.optimize")
    rows = np.array([(*row, 1) for row in patterns(inputs)], dtype=float)
    for function in boolean_functions(inputs):
        signs = np.where(function.values, 1.0, -1.0)
        solved = optimize.linprog(
            np.zeros(inputs + 1), A_ub=-signs[:, None] * rows, b_ub=-np.ones(len(rows)), bounds=(None, None)
        )
        assert solved.success == function.separable, function.name


def test_functions_have_names() -> None:
    assert function_of("xor", 2).values == (False, True, True, False)
    assert function_of("f01101001", 3).separable is False
    with pytest.raises(ValueError, match="there is no Boolean function 'xro' of 2 inputs"):
        function_of("xro", 2)
    with pytest.raises(ValueError, match="`inputs` must be 2 or 3, got 4"):
        boolean_functions(4)


def test_each_round_shows_every_pattern_once() -> None:
    lesson = boolean_lesson(function_of("or", 2))
    unit = UNITS["tanh"]
    coded = coded_patterns(2, unit, torch.float64)
    drawn = drawn_lessons([lesson] * 3, coded, unit, 10, torch.Generator().manual_seed(0))
    assert drawn.pattern.shape == (3, 10, 2)
    for life in range(3):
        for start in (0, 4):
            shown = {tuple(row) for row in drawn.pattern[life, start : start + 4].tolist()}
            assert shown == {(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)}
    torch.testing.assert_close(drawn.target, torch.where(drawn.pattern.amax(-1) > 0, 1.0, -1.0).double())
    assert drawn.wanted[1, 4].tolist() == [-1.0, 1.0, 1.0, 1.0]
    assert (drawn.counted == 0.25).all()
    assert not torch.equal(drawn.pattern[0], drawn.pattern[1])


def test_blocking_teaches_the_compound_and_asks_for_its_parts() -> None:
    lessons = {lesson.name: lesson for lesson in conditioning_lessons()}
    assert len(lessons) == 2 * len(EXPERIMENTS)
    drawn = drawn_lessons(
        [lessons["blocking"], lessons["blocking (swapped)"]],
        coded_patterns(2, UNITS["sigmoid"], torch.float64),
        UNITS["sigmoid"],
        20,
        torch.Generator().manual_seed(0),
    )
    early, late = drawn.pattern[0, :10].unique(dim=0), drawn.pattern[0, 10:].unique(dim=0)
    assert early.tolist() == [[0, 0], [1, 0]]
    assert late.tolist() == [[0, 0], [1, 1]]
    asked = drawn.counted[0, -1] > 0
    assert asked.tolist() == [True, True, True, True]
    assert drawn.wanted[0, -1].tolist() == [0, 0, 1, 1]
    assert drawn.wanted[1, -1].tolist() == [0, 1, 0, 1]
    assert (drawn.counted.sum(-1) - 1).abs().max() < 1e-12
    assert drawn.counted[0, 0].tolist() == [0.5, 0, 0.5, 0]
