"""Programs of the update-rule language against `torch.optim`, published formulas, and one another."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from maml_rl.core import adapt
from maml_rl.core.rules.language import BINARY, OPERANDS, UNARY, Language, Program, Words
from maml_rl.core.rules.programmed import programmed
from maml_rl.core.types import Params
from tests.core.problems import tanh_loss, tanh_problem

RATE, STEPS = 0.05, 6
SAME, TIMES, PLUS = "{}", "({} * {})", "({} + {})"
ONE, TWO, THREE = (Language(count) for count in (1, 2, 3))
PROBLEM = tanh_problem()
SIGNS = ("sign(g)", "sign(m)", SAME, SAME, TIMES)


def _kept(operand: str) -> Program:
    return ONE.program((operand, "1", SAME, SAME, SAME))


def _path(language: Language, program: Program, seed: int = 0, horizon: int = STEPS) -> list[Params]:
    params, batch = tanh_problem()
    rule = programmed(language, program, RATE, horizon, torch.tensor(seed))
    return [state.params for state in adapt(params, [batch] * STEPS, tanh_loss, rule)]


@pytest.mark.parametrize(
    ("operand", "theirs"),
    [
        ("g", lambda leaves: torch.optim.SGD(leaves, RATE)),
        ("adam", lambda leaves: torch.optim.Adam(leaves, RATE)),
        ("rmsprop", lambda leaves: torch.optim.RMSprop(leaves, RATE, alpha=0.999)),
    ],
)
def test_the_language_has_the_optimisers_of_torch(
    operand: str, theirs: Callable[[list[Tensor]], torch.optim.Optimizer]
) -> None:
    params, batch = tanh_problem()
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}
    optimiser = theirs(list(leaves.values()))
    for point in _path(ONE, _kept(operand))[1:]:
        optimiser.zero_grad()
        tanh_loss(leaves, batch, {}, 0)[0].backward()
        optimiser.step()
        for name, leaf in leaves.items():
            torch.testing.assert_close(point[name], leaf.detach(), rtol=1e-9, atol=1e-11)


def _by_hand(step: Callable[[Tensor, Tensor, int], Tensor]) -> list[Params]:
    """A path by ``step(g, m, k)``, m the running mean of gradients."""
    params, batch = tanh_problem()
    points, means = [params], {name: torch.zeros_like(leaf) for name, leaf in params.items()}
    for k in range(STEPS):
        slopes = torch.func.grad(lambda phi: tanh_loss(phi, batch, {}, 0)[0])(params)
        means = {name: 0.9 * means[name] + 0.1 * slopes[name] for name in means}
        params = {name: leaf - RATE * step(slopes[name], means[name], k) for name, leaf in params.items()}
        points.append(params)
    return points


@pytest.mark.parametrize(
    ("language", "program", "step"),
    [
        (ONE, _kept("m"), lambda g, m, k: m / (1 - 0.9 ** (k + 1))),
        (TWO, TWO.program(SIGNS, ("#1", "g", "exp({})", SAME, TIMES)), lambda g, m, k: (g.sign() * m.sign()).exp() * g),
        (
            THREE,
            THREE.program(SIGNS, ("1", "#1", SAME, SAME, PLUS), ("#2", "g", SAME, SAME, TIMES)),
            lambda g, m, k: (1 + g.sign() * m.sign()) * g,
        ),
        (
            THREE,
            THREE.program(SIGNS, ("linear", "#1", SAME, SAME, TIMES), ("#2", "g", "exp({})", SAME, TIMES)),
            lambda g, m, k: ((1 - k / (STEPS - 1)) * g.sign() * m.sign()).exp() * g,
        ),
        (
            ONE,
            ONE.program(("cosine", "g", SAME, "clip({}, 1e-3)", TIMES)),
            lambda g, m, k: 0.5 * (1 + math.cos(math.pi * k / (STEPS - 1))) * g.clamp(-1e-3, 1e-3),
        ),
    ],
    ids=["momentum", "PowerSign", "AddSign", "PowerSign with a linear decay", "clipped with a cosine"],
)
def test_formulas_are_what_they_say(
    language: Language, program: Program, step: Callable[[Tensor, Tensor, int], Tensor]
) -> None:
    for point, expected in zip(_path(language, program), _by_hand(step), strict=True):
        for name, leaf in expected.items():
            torch.testing.assert_close(point[name], leaf, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    ("word", "horizon", "decay"),
    [
        ("restart", 44, lambda k: 0.5 * (1 + math.cos(math.pi * (10 * k / 43 % 1)))),
        ("linear", 4, lambda k: max(1 - k / 3, 0.0)),
        ("cosine", 1, lambda k: 1.0 if k == 0 else 0.0),
    ],
    ids=["ten waves", "steps behind the last one", "a training of one step"],
)
def test_decays_go_by_the_horizon(word: str, horizon: int, decay: Callable[[int], float]) -> None:
    path = _path(ONE, ONE.program((word, "g", SAME, SAME, TIMES)), horizon=horizon)
    for point, expected in zip(path, _by_hand(lambda g, m, k: decay(k) * g), strict=True):
        torch.testing.assert_close(point["a"], expected["a"], rtol=1e-11, atol=1e-13)


def test_formulas_are_printed() -> None:
    program = THREE.program(SIGNS, ("g", "2", SAME, SAME, PLUS), ("#1", "g", "exp({})", SAME, TIMES))
    assert THREE.formula(program) == "(exp((sign(g) * sign(m))) * g)"  # without what nothing depends on
    assert ONE.formula(_kept("adam")) == "adam"


def _last(program: Program | Words, rate: Tensor, seed: Tensor) -> Params:
    params, batch = PROBLEM
    return adapt(params, [batch] * 3, tanh_loss, programmed(TWO, program, rate, 3, seed))[-1].params


def test_programs_rates_and_seeds_run_side_by_side() -> None:
    generator = torch.Generator().manual_seed(0)
    count = 300
    programs = TWO.drawn(count, generator)
    assert (programs[:, 1, 0] == len(OPERANDS)).any()  # the first operation's result
    rates = torch.rand(count, generator=generator, dtype=torch.float64)
    together = torch.func.vmap(_last)(programs, rates, torch.arange(count))
    finite = 0
    for index in range(count):
        alone = _last(programs[index], rates[index], torch.tensor(index))
        plain = _last(programs[index].tolist(), rates[index], torch.tensor(index))
        for name, leaf in alone.items():
            torch.testing.assert_close(together[name][index], leaf, rtol=1e-9, atol=1e-12, equal_nan=True)
            torch.testing.assert_close(plain[name], leaf, rtol=1e-9, atol=1e-12, equal_nan=True)
            finite += int(leaf.isfinite().all())
    assert 0 < finite < 2 * count  # some programs blow up, and nothing else does


def test_chance_is_the_seeds() -> None:
    noise, dropped = _kept("noise"), ONE.program(("1", "1", "drop({}, 0.3)", SAME, SAME))
    for program in (noise, dropped):
        one, again, other = (_path(ONE, program, seed=seed)[-1]["a"] for seed in (1, 1, 2))
        assert torch.equal(one, again)
        assert not torch.equal(one, other)
    params = {"w": torch.zeros(20_000, dtype=torch.float64)}
    for program, mean, std in ((noise, 0.0, 0.1), (dropped, 1.0, math.sqrt(0.3 / 0.7))):
        rule = programmed(ONE, program, 1.0, 2)
        steps = adapt(params, [()] * 2, lambda phi, *_: (phi["w"].sum(), ()), rule)
        moves = torch.stack([before.params["w"] - after.params["w"] for before, after in pairwise(steps)])
        assert moves.mean().item() == pytest.approx(mean, abs=4 * std / 200)
        assert moves.std().item() == pytest.approx(std, rel=0.02)
        assert torch.corrcoef(moves)[0, 1].abs() < 0.03


def test_the_size_of_a_language_is_the_number_of_its_programs() -> None:
    small = Language(2, ("g", "m"), (SAME, "sign({})"), (TIMES, SAME))
    assert small.size == (2 * 2 * 2 * 2 * 2) * (3 * 3 * 2 * 2 * 2)
    assert len({tuple(program.flatten().tolist()) for program in small.programs()}) == small.size
    assert Language(1).size == len(OPERANDS) ** 2 * len(UNARY) ** 2 * len(BINARY)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: Language(0), "`operations` must be at least 1"),
        (lambda: Language(1, ("h",)), "`operands` has 'h'; there are g, "),
        (lambda: Language(1, ("g", "g")), "`operands` must be words, each once"),
        (lambda: Language(1, ("g",), ()), "`unary` must be words"),
        (lambda: ONE.program(("g", "#1", SAME, SAME, SAME)), "operation 1 has '#1'"),
        (lambda: TWO.program(SIGNS), "have 2 operations, got 1"),
    ],
)
def test_what_is_no_language_is_refused(wrong: Callable[[], object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        wrong()
