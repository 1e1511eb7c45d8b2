"""The children section of the benchmark: trainings by many update rules against plain loops over them."""

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from maml_rl.core.rules.language import Language, Program
from maml_rl.core.rules.programmed import programmed
from maml_rl.core.tree import flatten
from maml_rl.core.types import InnerState
from maml_rl.optim import Programmed
from maml_rl.problems import in_precision, problem_of
from maml_rl.problems.children import Child, children
from maml_rl.problems.problem import TrainingProblem, inner_loss

__all__ = ["children_speed", "looped", "mapped", "require_agreement", "side_by_side"]

PROBLEM, PROGRAMS, STEPS, LOOPED = "digits-16-validation", 32, 80, 2
RATES = (1e-3, 1e-2, 1e-1, 1.0)
SEED = 0
LANGUAGE = Language(2)

Way = Callable[[TrainingProblem, Program, int], Tensor]
"""``way(problem, programs, steps)`` are the held-out losses of every program at every rate, [B, R]."""


def children_speed(device: str, repetitions: int) -> dict[str, float]:
    """Children/s of 32 programs at 4 learning rates and one seed, 80 steps each of a network with 16 hidden units.

    A child is one training. `maml_rl` is how a search scores programs; `mapped` is the rule `programmed` with the
    programs mapped by `torch.func.vmap`, which computes all words for each of them; `loop` trains one child after the
    other by `maml_rl.optim.Programmed`, as one would in PyTorch, for the first 2 programs only. All three have the same
    data, noise and results, which is checked first. The median of the repetitions counts; the first run of each, which
    records what is replayed later, does not.

    Args:
        device: "cpu"; the images stay there.
        repetitions: of each measurement.
    """
    problem, programs = problem_of(PROBLEM), LANGUAGE.drawn(PROGRAMS, torch.Generator().manual_seed(1))
    require_agreement(in_precision(problem, torch.float64), programs)
    score = children(Child(problem, RATES, torch.tensor([SEED], device=device), STEPS, PROGRAMS), LANGUAGE)
    few = programs[:LOOPED]
    seconds = {
        "maml_rl": _median(lambda: score(programs), repetitions) / len(programs),
        "mapped": _median(lambda: mapped(problem, programs, STEPS), max(repetitions // 3, 1)) / len(programs),
        "loop": _median(lambda: looped(problem, few, STEPS), repetitions) / len(few),
    }
    rates = {name: len(RATES) / each for name, each in seconds.items()}
    return {
        **rates,
        "maml_rl_per_loop": rates["maml_rl"] / rates["loop"],
        "maml_rl_per_mapped": rates["maml_rl"] / rates["mapped"],
    }


def require_agreement(problem: TrainingProblem, programs: Program, steps: int = 3) -> None:
    """Raises `AssertionError` unless all ways come to the same scores of the first programs in float64."""
    few = programs[:3]
    expected = looped(problem, few, steps)
    for way in (side_by_side, mapped):
        torch.testing.assert_close(way(problem, few, steps), expected, rtol=1e-8, atol=1e-10, equal_nan=True)


def side_by_side(problem: TrainingProblem, programs: Program, steps: int) -> Tensor:
    """As a search does: 1 / (1 + L_T / L_0), which tells more than an accuracy; the floor of 0 is nan here."""
    unclassified = problem._replace(accuracy=None)
    scored = children(Child(unclassified, RATES, torch.tensor([SEED]), steps), LANGUAGE)(programs)
    return torch.where(scored.finite, scored.each, torch.nan)[..., 0]


def mapped(problem: TrainingProblem, programs: Program, steps: int) -> Tensor:
    """By `torch.func.vmap` over programs and rates; see `Way`."""
    value, seed = inner_loss(problem), torch.tensor(SEED)
    first = problem.initial(seed)

    def one(program: Program, rate: Tensor) -> Tensor:
        rule = programmed(LANGUAGE, program, rate, steps, seed)
        state = InnerState(first, rule.start(first, {}))
        for k in range(steps):
            at = torch.tensor(k)
            signal, _ = rule.observe(value, state, (seed, at), {}, k)
            state = rule.move(signal, state, {}, k)._replace(aux=())
        return _ending(problem, state.params, steps)

    rates = torch.tensor(RATES, dtype=flatten(first).dtype)
    with torch.no_grad():
        ends = torch.func.vmap(one)(programs.repeat_interleave(len(rates), 0), rates.repeat(len(programs)))
    return ends.view(len(programs), len(rates)).double()


def looped(problem: TrainingProblem, programs: Program, steps: int) -> Tensor:
    """One child after the other; see `Way`."""
    ends = [[_alone(problem, program, rate, steps) for rate in RATES] for program in programs]
    return torch.tensor(ends, dtype=torch.float64)


def _alone(problem: TrainingProblem, program: Program, rate: float, steps: int) -> float:
    seed = torch.tensor(SEED)
    params: dict[str, Tensor] = {name: torch.nn.Parameter(leaf) for name, leaf in problem.initial(seed).items()}
    optimiser = Programmed(params.values(), LANGUAGE, program, lr=rate, horizon=steps)
    for k in range(steps):
        optimiser.zero_grad()
        problem.loss(params, seed, torch.tensor(k)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        return _ending(problem, params, steps).item()


def _ending(problem: TrainingProblem, params: dict[str, Tensor], steps: int) -> Tensor:
    seed = torch.tensor(SEED)
    first = problem.held_out(problem.initial(seed), seed, torch.tensor(0))
    score = 1 / (1 + problem.held_out(params, seed, torch.tensor(steps)) / first)
    return torch.where(flatten(params).isfinite().all() & (score > 0), score, torch.nan)


def _median(run: Callable[[], object], repetitions: int) -> float:
    """Seconds of the median repetition after one that warms up."""
    run()
    seconds: Sequence[float] = [_timed(run) for _ in range(repetitions)]
    return sorted(seconds)[len(seconds) // 2]


def _timed(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
