"""Records of functions: the same bits, each operation once, and no mistaking of one tensor for another."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from maml_rl.core.estimators import Lifetimes
from maml_rl.core.traced import require_compiler, traced
from maml_rl.core.tree import flatten, map_tree
from tests.compiler import needs_compiler
from tests.core.lifetime_problems import ESTIMATORS, descent_data, descent_theta, estimators, seeded


class _Counted(TorchDispatchMode):
    """Counts the operations that run inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[operation._schema.name.removeprefix("aten::")] += 1
        return operation(*args, **(kwargs or {}))


def _numbers(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def _counted(function: Callable[..., Any], *arguments: Any) -> Counter[str]:
    with _Counted() as mode:
        function(*arguments)
    return mode.calls


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimates_are_the_same_to_the_bit(name: str) -> None:
    """Over lifetimes that end, and one that diverges."""
    plain, recorded = (estimators(Lifetimes(6, 7, loss_limit=1e6, traced=on))[name] for on in (False, True))
    theta, memories = descent_theta(), [each.init(descent_theta(), seeded(0)) for each in (plain, recorded)]
    for call in range(4):
        data = descent_data(call, 6, 5)
        data["poison"][2, 1, 0] = float("nan") if call == 1 else 0.0
        results = [
            each.estimate(theta, memory, data, seeded(call))
            for each, memory in zip((plain, recorded), memories, strict=True)
        ]
        memories = [result.memory for result in results]
        vectors = [flatten(map_tree(Tensor.double, (each[0], each.memory, each.losses))) for each in results]
        assert torch.equal(*(vector.nan_to_num(7.25) for vector in vectors))
        assert results[0].metrics == results[1].metrics


def test_what_is_computed_twice_runs_once() -> None:
    def two_slopes(x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.func.grad(lambda y: y.sin().exp().sum())(x), torch.func.grad(lambda y: y.sin().square().sum())(x)

    x, function = _numbers(0, 4), traced(two_slopes)
    function(x)
    assert _counted(two_slopes, x)["sin"] == 2
    calls = _counted(function, x)
    assert (calls["sin"], calls["cos"], calls["exp"]) == (1, 1, 1)
    assert calls["detach"] == calls["alias"] == 0
    assert all(torch.equal(one, two) for one, two in zip(function(x), two_slopes(x), strict=True))


def test_operations_that_differ_in_a_number_stay_apart() -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        return x + 1, x + 1.0, x + 2, x.sum(0), x.sum(1), x.clamp(min=0.5), x.clamp(max=0.5), x * 0.0, x * -0.0

    x, replayed = _numbers(0, 3, 3), traced(function)
    for _ in range(2):
        for one, two in zip(replayed(x), function(x), strict=True):
            assert torch.equal(one.view(torch.int64), two.view(torch.int64))


def test_the_record_is_made_at_the_first_call_alone() -> None:
    calls = []

    def function(x: Tensor) -> Tensor:
        calls.append(x)
        return 2 * x

    replayed = traced(function)
    for seed in range(3):
        assert torch.equal(replayed(_numbers(seed, 3)), 2 * _numbers(seed, 3))
    assert len(calls) == 1


def test_other_shapes_types_and_structures_have_records_of_their_own() -> None:
    def function(tree: Any) -> Tensor:
        first = next(iter(tree.values())) if isinstance(tree, dict) else tree[0]
        scale = float(torch.finfo(first.dtype).bits) if first.is_floating_point() else -1.0
        return first * len(tree) * len(first) * (scale + ("b" in tree if isinstance(tree, dict) else 0.5))

    replayed, x = traced(function), _numbers(0, 4)
    inputs: list[Any] = [(x,), (x[:3],), (x.float(),), (x.long(),), (x, x), {"a": x}, {"b": x}, [x]]
    for tree in inputs + inputs:
        wanted = function(tree)
        assert replayed(tree).dtype == wanted.dtype
        assert torch.equal(replayed(tree), wanted)


def test_a_tensor_that_stands_in_several_places_at_first_may_be_several_later() -> None:
    """As zero biases do, which a record makes once."""

    def function(tree: dict[str, Tensor]) -> Tensor:
        return tree["a"] - 2 * tree["b"]

    def begin(seed: Tensor) -> dict[str, Tensor]:
        return {"a": torch.zeros(3) + seed, "b": torch.zeros(3) + seed}

    start, one, two = traced(begin)(torch.tensor(1.0)), torch.ones(3), torch.full((3,), 5.0)
    for first in ({"a": one, "b": one}, start, {"a": one, "b": one.view(3)}):
        replayed = traced(function)
        assert torch.equal(replayed(first), function(first))
        assert torch.equal(replayed({"a": one, "b": two}), one - 2 * two)
        assert torch.equal(replayed({"a": two, "b": two}), -two)


def test_arguments_may_lie_in_memory_in_any_way() -> None:
    replayed, x = traced(lambda x: x.reshape(-1) * 2), _numbers(0, 3, 4)
    for each in (x, _numbers(1, 4, 3).T, _numbers(2, 3, 1).expand(3, 4), _numbers(3, 3, 8)[:, ::2]):
        assert torch.equal(replayed(each), each.reshape(-1) * 2)


def test_draws_are_new_at_every_call_and_two_of_them_are_two() -> None:
    replayed = traced(lambda x: (x + torch.rand(5), x + torch.rand(5)))
    torch.manual_seed(3)
    results = [result for _ in range(3) for result in replayed(torch.zeros(5))]
    assert len({tuple(result.tolist()) for result in results}) == 6


def test_a_function_may_write_into_tensors_of_its_own() -> None:
    def function(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        one, other = torch.zeros(4, dtype=x.dtype), torch.zeros(4, dtype=x.dtype)
        before = one + 1
        one[1:3] = x[:2]
        one.mul_(3)
        other.view(2, 2)[0] += x[2:]
        return one, other, before * (one + 1)

    replayed = traced(function)
    for seed in range(3):
        x = _numbers(seed, 4)
        kept = x.clone()
        assert all(torch.equal(ours, wanted) for ours, wanted in zip(replayed(x), function(x), strict=True))
        assert torch.equal(x, kept)


def test_the_result_has_no_derivative() -> None:
    replayed = traced(lambda x: x * x)
    x = _numbers(0, 2).requires_grad_()
    assert not replayed(x).requires_grad
    assert not replayed(x).requires_grad


def test_the_result_may_take_part_in_derivatives_and_be_written_into() -> None:
    replayed, x = traced(lambda x: {"same": x, "part": x[1:], "twice": 2 * x}), _numbers(0, 4)
    for result in (replayed(x), replayed(x)):
        for leaf in result.values():
            weights = torch.ones_like(leaf).requires_grad_()
            (slope,) = torch.autograd.grad((weights * leaf).sum(), weights)
            assert torch.equal(slope, leaf)
            leaf.add_(1.0)
    assert torch.equal(x, _numbers(0, 4))


@needs_compiler
def test_what_is_compiled_is_the_same_up_to_rounding() -> None:
    def function(tree: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        loss = torch.func.grad(lambda x: (x @ tree["w"]).tanh().square().sum())(tree["x"])
        return loss, {"rows": torch.where(tree["x"] > 0, tree["x"].exp(), loss), "bits": tree["n"] >> 3}

    replayed = traced(function, compiled=True)
    for seed in range(3):
        tree = {"x": _numbers(seed, 5, 4), "w": _numbers(9, 4, 3), "n": torch.arange(seed, seed + 20)}
        torch.testing.assert_close(replayed(tree), function(tree), rtol=1e-13, atol=1e-13)


@needs_compiler
def test_lifetimes_may_be_compiled() -> None:
    def decayed(theta: dict[str, Tensor], carry: Tensor) -> Tensor:
        return torch.func.grad(lambda rate: (carry * rate.exp()).sin().sum())(theta["rate"])

    theta, carry = {"rate": torch.tensor(-0.5, dtype=torch.float64)}, _numbers(0, 6, 4)
    plain, compiled = (Lifetimes(6, 9, compiled=on).mapped(decayed)(theta, carry) for on in (False, True))
    torch.testing.assert_close(compiled, plain, rtol=1e-13, atol=1e-13)


def test_where_nothing_can_be_compiled_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> Any:
        raise RuntimeError("No working C++ compiler\nfound")

    monkeypatch.setattr("torch._inductor.compile", broken)
    with pytest.raises(ValueError, match=r"needs a C\+\+ compiler .*: No working C\+\+ compiler found"):
        require_compiler(torch.device("cpu"))


def test_shifts_of_whole_numbers_are_no_writes() -> None:
    def shifted(x: Tensor) -> Tensor:
        return (x >> 1) + (x >> 1)

    numbers = torch.arange(5)
    recorded = traced(shifted)
    assert torch.equal(recorded(numbers), shifted(numbers))
    assert _counted(recorded, numbers)["__rshift__"] == 1
