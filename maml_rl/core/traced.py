"""Recording the operations of a function once, and replaying them: for functions that are made of many small ones."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree

__all__ = ["recorded", "require_compiler", "traced"]

Result = TypeVar("Result")

_SAME = (torch.ops.aten.detach.default, torch.ops.aten.alias.default)
_TRANSPOSE, _PERMUTE = torch.ops.aten.transpose.int, torch.ops.aten.permute.default
_TIMES = torch.ops.aten.mul.Tensor
_DIRECT: dict[str, Callable[..., Any]] = {
    "aten.add.Tensor": torch.add,
    "aten.bmm.default": torch.bmm,
    "aten.exp.default": torch.exp,
    "aten.expand.default": Tensor.expand,
    "aten.mul.Tensor": torch.mul,
    "aten.neg.default": torch.neg,
    "aten.relu.default": torch.relu,
    "aten.select.int": torch.select,
    "aten.squeeze.dims": torch.squeeze,
    "aten.sub.Tensor": torch.sub,
    "aten.sum.dim_IntList": torch.sum,
    "aten.transpose.int": torch.transpose,
    "aten.unsqueeze.default": torch.unsqueeze,
    "aten.view.default": Tensor.view,
    "aten.where.self": torch.where,
}
_SHAPED = ("aten.view.default", "aten._unsafe_view.default", "aten.expand.default")


def traced(function: Callable[..., Result], compiled: bool = False) -> Callable[..., Result]:
    """The same function, whose derivatives and maps are worked out at its first call and replayed at later ones.

    The record has the plain operations of tensors that `torch.func.grad` and `torch.func.vmap` come down to, each of
    them once: what is computed twice, as the forward pass of two losses, is replayed once. The bits are the same, and
    where tensors are small it takes less time. Recording takes about a millisecond for each operation. There
    is one record for each structure, shape, type and device of the arguments, which are laid out in memory row by row.

    Args:
        function: of trees of tensors. What it does must not depend on the numbers in them, it must not write into them,
            and no derivative passes through the result. Recording runs it once more, so what draws random numbers draws
            some in vain at the first call.
        compiled: whether records are compiled (see `recorded`).
    """
    records: dict[Any, tuple[Callable[..., Any], Any]] = {}

    def replayed(*arguments: Any) -> Result:
        leaves, structure = _pytree.tree_flatten(arguments)
        leaves = [leaf.contiguous() for leaf in leaves]  # a record holds for one layout in memory
        key = (structure, *((leaf.shape, leaf.dtype, leaf.device) for leaf in leaves))
        if key not in records:
            records[key] = recorded(function, leaves, structure, compiled)
        record, form = records[key]
        with torch.inference_mode():  # nothing is kept for a derivative: less to do for each operation
            results = record(*leaves)
        return _pytree.tree_unflatten([_ordinary(result) for result in results], form)  # type: ignore[no-any-return]

    return replayed


def _ordinary(result: Any) -> Any:
    """A copy that may take part in derivatives, unlike what inference mode makes."""
    return result.clone() if isinstance(result, Tensor) else result


@torch.no_grad()
def recorded(
    function: Callable[..., Any], leaves: Sequence[Tensor], structure: Any, compiled: bool = False
) -> tuple[Callable[..., list[Any]], Any]:
    """The record of a function at these arguments, and the structure of its result.

    Args:
        function: see `traced`.
        leaves: the arguments' tensors.
        structure: the arguments' structure, of torch's `_pytree`.
        compiled: whether TorchInductor compiles the record, which takes a C++ compiler and some seconds. Where tensors
            are small it takes much less time then. Fused operations may round otherwise.

    Returns:
        ``record(*leaves)``, the leaves of the result, for arguments of the same shapes, types and devices.
    """
    forms: list[Any] = []

    def flat(*tensors: Tensor) -> list[Any]:
        results, form = _pytree.tree_flatten(function(*_pytree.tree_unflatten(list(tensors), structure)))
        forms.append(form)
        return results

    # One tensor may stand in several places now and not later: recording tells them apart as objects.
    apart: list[Any] = [leaf.detach() for leaf in leaves]
    record = _without_repetition(make_fx(torch.func.functionalize(flat))(*apart))
    if compiled:
        from torch._inductor import compile as by_inductor  # seconds to import

        return by_inductor(record, apart), forms[-1]
    return _called_directly(record).forward, forms[-1]


def require_compiler(device: torch.device) -> None:
    """Raises `ValueError` unless records can be compiled for this device."""
    one = [torch.zeros(2, device=device)]
    try:
        record, _ = recorded(torch.neg, one, _pytree.tree_structure((one[0],)), compiled=True)
        record(*one)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        needed = "a C++ compiler that torch can use, such as g++" if device.type == "cpu" else "Triton"
        raise ValueError(f"`compiled` needs {needed}: {reason}") from error


def _called_directly(record: GraphModule) -> GraphModule:
    """The record with torch's own functions where they are the same operation, which are called in less time."""
    for node in record.graph.nodes:
        direct = _DIRECT.get(str(node.target)) if node.op == "call_function" and not node.kwargs else None
        if direct is not None:
            node.target = direct
    record.recompile()
    return record


def _without_repetition(record: GraphModule) -> GraphModule:
    """The record with each operation once, without those that do nothing; as it is where one writes into a tensor."""
    operations = [node for node in record.graph.nodes if node.op == "call_function"]
    if any(_writes_or_draws(node.target) for node in operations):
        return record
    seen: dict[Any, Node] = {}
    for node in operations:
        earlier = _unchanged(node) or seen.setdefault(_key(node), node)
        if earlier is not node:
            node.replace_all_uses_with(earlier)  # type: ignore[arg-type]
            record.graph.erase_node(node)
    record.graph.eliminate_dead_code()
    record.recompile()
    return record


def _writes_or_draws(target: Any) -> bool:
    """Whether an operation, such as `aten.mul_.Tensor`, writes into its arguments or draws random numbers."""
    name = (*str(target).split("."), "")[1]
    writes = name.endswith("_") and not name.endswith("__")
    return writes or torch.Tag.nondeterministic_seeded in getattr(target, "tags", ())


def _unchanged(node: Node) -> Node | None:
    """What an operation that changes nothing was applied to; None for any other."""
    before: Any = node.args[0] if node.args else None
    if node.target in _SAME or (node.target is _PERMUTE and list(node.args[1]) == sorted(node.args[1])):  # type: ignore[arg-type,call-overload]
        return before
    if str(node.target) in _SHAPED:
        old, new = (each.meta.get("tensor_meta") for each in (before, node))
        return before if old is not None and new is not None and old.shape == new.shape else None
    if node.target is _TIMES and node.args[1] == 1:  # the layout is to stay too: the order of later sums depends on it
        old, new = (each.meta.get("tensor_meta") for each in (before, node))
        same = old is not None and new is not None and _form(old) == _form(new)
        return before if same else None
    if node.target is _TRANSPOSE and before.target is _TRANSPOSE and before.args[1:] == node.args[1:]:
        return before.args[0]
    return None


def _form(known: Any) -> tuple[Any, ...]:
    return known.dtype, known.shape, known.stride


def _key(node: Node) -> Any:
    """What an operation is: equal for two that give the same result."""
    return (node.target, _frozen(node.args), _frozen(node.kwargs))


def _frozen(argument: Any) -> Any:
    if isinstance(argument, dict):
        return tuple((name, _frozen(value)) for name, value in sorted(argument.items()))
    if isinstance(argument, (list, tuple)):
        return tuple(_frozen(value) for value in argument)
    return argument if isinstance(argument, Node) else (type(argument), repr(argument))
