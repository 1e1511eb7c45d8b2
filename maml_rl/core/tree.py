"""Parameter trees: dictionaries of tensors seen as one flat vector, and mapped leaf by leaf."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree  # the registry torch.func itself walks; torch has no public one

from maml_rl.core.types import Params

__all__ = ["detach", "expand", "flatten", "map_tree", "take", "unflatten"]

Tree = TypeVar("Tree")


def map_tree(function: Callable[[Tensor], Any], tree: Tree) -> Tree:
    """Applies `function` to every tensor of a nesting of tuples, lists and dictionaries; other leaves stay."""
    return _pytree.tree_map_only(Tensor, function, tree)  # type: ignore[no-any-return]


def detach(tree: Tree) -> Tree:
    """The same tree, cut from every derivative."""
    return map_tree(Tensor.detach, tree)


def take(tree: Tree, start: int, stop: int) -> Tree:
    """Entries `start` to `stop` along the leading dimension of every tensor."""
    return map_tree(lambda leaf: leaf[start:stop], tree)


def expand(params: Params, count: int) -> Params:
    """One copy per task, [N, ...], that shares memory with `params`."""
    return {name: leaf.expand(count, *leaf.shape) for name, leaf in params.items()}


def flatten(params: Params) -> Tensor:
    """All parameters in one vector, [P], in the order of the dictionary."""
    return torch.cat([leaf.reshape(-1) for leaf in params.values()])


def unflatten(vector: Tensor, like: Params) -> Params:
    """The inverse of `flatten`: names and shapes are taken from `like`.

    Raises:
        ValueError: the vector's length is not the number of scalars in `like`.
    """
    sizes = [leaf.numel() for leaf in like.values()]
    if vector.shape != (sum(sizes),):
        raise ValueError(f"`vector` must be [P] = ({sum(sizes)},), got {tuple(vector.shape)}.")
    pieces = torch.split(vector, sizes)
    return {name: piece.view(leaf.shape) for (name, leaf), piece in zip(like.items(), pieces, strict=True)}
