"""The decayed trace: its recursion step by step, what it equals at the ends of decay, and where it is exact."""

import pytest
import torch
from torch import Tensor
from torch.autograd.functional import jacobian
from torch.utils._pytree import tree_leaves as leaves_of

from maml_rl.core.estimators import Carry, Lifetimes, Problem, decayed_trace, full_unroll, truncated_unroll
from maml_rl.core.tree import expand, flatten, map_tree, unflatten
from maml_rl.core.types import Meta
from tests.core.lifetime_problems import DESCENT, SIZE, descent_data, descent_theta, seeded

COUNT, UNROLL = 3, 4
NUMBERS = 2 * SIZE + 1
decays = pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])


def _joined(carry: Carry) -> Tensor:
    return torch.cat([carry["x"], carry["velocity"]])


def _by_hand(seed: Tensor, data: dict[str, Tensor], length: int, decay: float) -> tuple[Tensor, Tensor, Tensor]:
    """One lifetime of `DESCENT`: each step's d loss / d theta [T, P], and the last trace [2 SIZE, P] and carry."""
    theta = flatten(descent_theta())

    def begin(vector: Tensor) -> Tensor:
        return _joined(DESCENT.begin(unflatten(vector, descent_theta()), seed))

    def step(vector: Tensor, carry: Tensor, k: int) -> tuple[Tensor, Tensor]:
        tree = {"x": carry[:SIZE], "velocity": carry[SIZE:], "seed": seed}
        datum = {name: leaf[k] for name, leaf in data.items()}
        following, loss = DESCENT.step(unflatten(vector, descent_theta()), tree, datum, torch.tensor(k))
        return _joined(following), loss

    carry, z, slopes = begin(theta), jacobian(begin, theta), []
    for k in range(length):
        by_theta = jacobian(lambda vector: step(vector, carry, k), theta)  # noqa: B023
        by_carry = jacobian(lambda place: step(theta, place, k)[1], carry)  # noqa: B023
        slopes.append(by_theta[1] + by_carry @ z)
        z, carry = decay * z + by_theta[0], step(theta, carry, k)[0]
    return torch.stack(slopes), z, carry


@decays
def test_the_trace_follows_its_recursion_over_estimates(decay: float) -> None:
    """Lifetimes of 4, 7 and 10 steps in three estimates of 4: they end with an estimate and in the middle of others."""
    estimator = decayed_trace(DESCENT, Lifetimes(COUNT, 10, apart=True), UNROLL, decay)
    theta, data = expand(descent_theta(), COUNT), descent_data(1, COUNT, 3 * UNROLL)
    memory = estimator.init(theta, seeded(0))
    lengths, results = memory["end"].tolist(), []
    assert lengths == [4, 7, 10]
    seeds = memory["seed"]
    for start in range(0, 3 * UNROLL, UNROLL):
        part = map_tree(lambda leaf, start=start: leaf[:, start : start + UNROLL], data)
        results.append(estimator.estimate(theta, memory, part, seeded(start)))
        memory = results[-1].memory
    for n, length in enumerate(lengths):
        slopes, z, carry = _by_hand(seeds[n], {name: leaf[n] for name, leaf in data.items()}, length, decay)
        for call in range(-(-length // UNROLL)):
            own = torch.cat([leaf[n].reshape(-1) for leaf in leaves_of(results[call].gradient)])
            wanted = slopes[call * UNROLL : (call + 1) * UNROLL].sum(0) / UNROLL
            torch.testing.assert_close(own, wanted, rtol=1e-10, atol=1e-12)
        trace = torch.cat([leaf[n].T for leaf in results[call].memory["trace"]])
        torch.testing.assert_close(trace, z, rtol=1e-10, atol=1e-12)
        reached = map_tree(lambda leaf, n=n: leaf[n], results[call].memory["carry"])
        torch.testing.assert_close(_joined(reached), carry, rtol=1e-10, atol=1e-12)


@decays
def test_a_lifetime_begins_with_what_theta_does_to_its_beginning(decay: float) -> None:
    """`DESCENT` starts at theta's x: the trace of the first step is the identity there, and zero elsewhere."""
    estimator = decayed_trace(DESCENT, Lifetimes(COUNT, 100, staggered=False), 1, decay)
    theta, data = descent_theta(), descent_data(1, COUNT, 1)
    memory = estimator.init(theta, seeded(0))
    spoilt = {**memory, "trace": [torch.full_like(leaf, torch.nan) for leaf in memory["trace"]]}
    result = estimator.estimate(theta, spoilt, data, seeded(1))
    assert result.metrics["diverged"] == 0
    slopes = [_by_hand(memory["seed"][n], {name: leaf[n] for name, leaf in data.items()}, 1, decay) for n in range(3)]
    wanted = torch.stack([each[0][0] for each in slopes]).mean(0)
    torch.testing.assert_close(flatten(result.gradient), wanted, rtol=1e-11, atol=1e-13)


MU = 0.8


def _leak(theta: Meta, carry: Carry, data: Tensor, k: Tensor) -> tuple[Carry, Tensor]:
    """c' = mu c + tanh(w d) + w^2, whose derivative in c is mu I; a loss that is not linear in c or theta."""
    w = theta["rule"]["w"]
    moved = MU * carry + torch.tanh(w * data) + w.square()
    return moved, (carry - data).square().sum() * (1 + w.sum().square()) + (w * carry).sin().sum()


LEAKING = Problem(lambda theta, seed: theta["rule"]["w"].exp(), _leak)


def test_it_is_exact_where_a_step_shrinks_the_carry_by_the_decay_and_truncation_is_not() -> None:
    length, unroll = 12, 3
    theta = {"rule": {"w": torch.tensor([0.4, -0.7, 0.2], dtype=torch.float64)}}
    data = torch.randn(2, length, 3, generator=seeded(2), dtype=torch.float64)
    lifetimes = Lifetimes(2, length, staggered=False)
    whole = full_unroll(LEAKING, lifetimes)
    exact = flatten(whole.estimate(theta, whole.init(theta, seeded(0)), data, seeded(0)).gradient)
    means = {}
    for name, estimator in {
        "trace": decayed_trace(LEAKING, lifetimes, unroll, MU),
        "another decay": decayed_trace(LEAKING, lifetimes, unroll, 0.5),
        "truncated": truncated_unroll(LEAKING, lifetimes, unroll),
    }.items():
        memory, gradients = estimator.init(theta, seeded(0)), []
        for start in range(0, length, unroll):
            result = estimator.estimate(theta, memory, data[:, start : start + unroll], seeded(start))
            memory = result.memory
            gradients.append(flatten(result.gradient))
        means[name] = torch.stack(gradients).mean(0)
    torch.testing.assert_close(means["trace"], exact, rtol=1e-12, atol=1e-13)
    for other in ("another decay", "truncated"):
        assert float((means[other] - exact).abs().max()) > 0.05 * float(exact.abs().max())


@decays
def test_losses_and_carries_are_those_of_an_unroll(decay: float) -> None:
    lifetimes, theta = Lifetimes(COUNT, 7), descent_theta()
    pair = decayed_trace(DESCENT, lifetimes, UNROLL, decay), truncated_unroll(DESCENT, lifetimes, UNROLL)
    memories = [each.init(theta, seeded(0)) for each in pair]
    for call in range(4):
        data = descent_data(call, COUNT, UNROLL)
        one, other = (
            each.estimate(theta, memory, data, seeded(call)) for each, memory in zip(pair, memories, strict=True)
        )
        memories = [one.memory, other.memory]
        torch.testing.assert_close(one.losses, other.losses, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close({**one.memory, "trace": 0}, {**other.memory, "trace": 0}, rtol=1e-12, atol=1e-12)


def test_groups_that_are_not_learned_have_no_directions_and_change_nothing_else() -> None:
    lifetimes, theta = Lifetimes(COUNT, 7), descent_theta()
    pair = decayed_trace(DESCENT, lifetimes, UNROLL, 0.7), decayed_trace(DESCENT, lifetimes, UNROLL, 0.7, ("start",))
    memories = [each.init(theta, seeded(0)) for each in pair]
    assert [len(memory["trace"][0][0]) for memory in memories] == [7, 4]
    for call in range(3):
        data = descent_data(call, COUNT, UNROLL)
        whole, part = (
            each.estimate(theta, memory, data, seeded(call)) for each, memory in zip(pair, memories, strict=True)
        )
        memories = [whole.memory, part.memory]
        assert list(part.gradient) == ["rule"]
        torch.testing.assert_close(part.gradient["rule"], whole.gradient["rule"], rtol=1e-12, atol=1e-14)


def test_impossible_numbers_are_refused_by_name() -> None:
    for decay in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"`decay` must be in \[0, 1\], got"):
            decayed_trace(DESCENT, Lifetimes(2, 10), UNROLL, decay)
    with pytest.raises(ValueError, match="`unroll` must be positive"):
        decayed_trace(DESCENT, Lifetimes(2, 10), 0, 0.5)
