"""Scores of programs side by side: those of a plain loop, whatever the block, untouched by others that diverge."""

import pytest
import torch
from torch import Tensor

from maml_rl.core.rules.language import Language
from maml_rl.optim import Programmed
from maml_rl.problems import TrainingProblem, in_precision, problem_of
from maml_rl.problems.children import FLOOR, Child, children

LANGUAGE = Language(2)
PROGRAMS = torch.stack(
    [
        LANGUAGE.program(("adam", "linear", "{}", "{}", "({} * {})"), ("#1", "1e-2 w", "{}", "{}", "({} + {})")),
        LANGUAGE.program(("sign(g)", "sign(m)", "{}", "{}", "({} * {})"), ("#1", "g", "exp({})", "{}", "({} * {})")),
        LANGUAGE.program(("c", "v", "{}", "sqrt|{}|", "({} / ({} + 1e-8))"), ("#1", "cosine", "{}", "{}", "({} * {})")),
        LANGUAGE.program(("g", "noise", "drop({}, 0.3)", "{}", "({} + {})"), ("#1", "g", "drop({}, 0.1)", "{}", "{}")),
        LANGUAGE.program(("m", "g", "-{}", "{}", "{}"), ("#1", "restart", "{}", "{}", "({} * {})")),
    ]
)
DIVERGING = LANGUAGE.program(("1", "1", "{}", "{}", "({} - {})"), ("#1", "1", "log|{}|", "{}", "({} * {})"))
RATES, STEPS = [1e-3, 1e-2], 6


def _child(name: str, seeds: list[int], block: int = 32, rates: list[float] = RATES) -> Child:
    return Child(in_precision(problem_of(name), torch.float64), rates, torch.tensor(seeds), STEPS, block)


def _alone(problem: TrainingProblem, program: Tensor, rate: float, seed: Tensor) -> float:
    """The score of one training by a loop as anybody would write it."""
    params = {name: torch.nn.Parameter(leaf) for name, leaf in problem.initial(seed).items()}
    first = problem.held_out(params, seed, torch.tensor(0)).item()
    optimiser = Programmed(params.values(), LANGUAGE, program, lr=rate, horizon=STEPS)
    for k in range(STEPS):
        optimiser.zero_grad()
        problem.loss(params, seed, torch.tensor(k)).backward()
        optimiser.step()
    end = torch.tensor(STEPS)
    if problem.accuracy is not None:
        return problem.accuracy(params, seed, end).item()
    return 1 / (1 + problem.held_out(params, seed, end).item() / first)


@pytest.mark.parametrize("name", ["softmax", "sine-32-32", "digits-16-validation"])
def test_scores_equal_those_of_a_plain_loop(name: str) -> None:
    """With seed 0, by which the optimiser of PyTorch draws its noise."""
    child = _child(name, [0])
    scored = children(child, LANGUAGE)(PROGRAMS)
    expected = [[_alone(child.problem, one, rate, child.seeds[0]) for rate in RATES] for one in PROGRAMS]
    torch.testing.assert_close(scored.each[..., 0], torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12)
    assert len(scored.scores.unique()) == len(PROGRAMS)
    assert scored.finite.all()


def test_the_best_rate_of_the_mean_over_seeds_counts() -> None:
    scored = children(_child("softmax", [3, 4, 5]), LANGUAGE)(PROGRAMS)
    means = scored.each.mean(-1)
    assert torch.equal(scored.scores, means.max(1).values)
    assert scored.rates.tolist() == [RATES[best] for best in means.argmax(1)]
    assert len(scored.each.flatten().unique()) == 5 * 2 * 3


def test_the_size_of_blocks_does_not_matter() -> None:
    whole = children(_child("softmax", [3, 4]), LANGUAGE)(PROGRAMS)
    parts = children(_child("softmax", [3, 4], 3), LANGUAGE)(PROGRAMS)
    torch.testing.assert_close(parts.each, whole.each, rtol=1e-12, atol=1e-12)


def test_a_program_that_diverges_has_the_floor_and_touches_no_other() -> None:
    score = children(_child("softmax", [3], rates=[1e-2, 1e4]), LANGUAGE)
    expected = score(PROGRAMS[:4])
    mixed = score(torch.stack([PROGRAMS[0], DIVERGING, PROGRAMS[2], PROGRAMS[3]]))
    assert mixed.each[1].tolist() == [[FLOOR], [FLOOR]]
    assert not mixed.finite[1].any()
    assert mixed.scores[1] == FLOOR
    others = [0, 2, 3]
    assert torch.equal(mixed.each[others], expected.each[others])
    assert (expected.each[:, 0] > 0.1).all()


def test_there_may_be_no_programs() -> None:
    scored = children(_child("softmax", [3]), LANGUAGE)(PROGRAMS[:0])
    assert scored.scores.shape == (0,)
    assert scored.each.shape == (0, 2, 1)


def test_accuracies_are_those_of_images_that_are_neither_trained_nor_tested_on() -> None:
    validation, test = problem_of("digits-32-validation"), problem_of("digits-32")
    seed, k = torch.tensor(3), torch.tensor(0)
    params = validation.initial(seed)
    assert validation.accuracy is not None
    assert test.accuracy is not None
    assert torch.equal(validation.loss(params, seed, k), test.loss(params, seed, k))
    assert float(validation.accuracy(params, seed, k)) * 360 == pytest.approx(
        round(float(validation.accuracy(params, seed, k)) * 360), abs=1e-4
    )
    assert float(validation.held_out(params, seed, k)) != float(test.held_out(params, seed, k))
