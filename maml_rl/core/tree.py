"""Trees of tensors (nestings of tuples, lists and dictionaries) seen as one flat vector, and mapped leaf by leaf."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree  # the registry torch.func itself walks; torch has no public one

__all__ = [
    "detach",
    "expand",
    "flatten",
    "floats",
    "map_tree",
    "place",
    "select",
    "take",
    "unflatten",
    "with_floats",
]

Tree = TypeVar("Tree")


def map_tree(function: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """Applies `function` to every tensor of a tree, and to the tensors of `others` at the same places."""
    if others:
        return _pytree.tree_map(function, tree, *others)  # type: ignore[no-any-return]
    return _pytree.tree_map_only(Tensor, function, tree)  # type: ignore[no-any-return]


def detach(tree: Tree) -> Tree:
    """The same tree, cut from every derivative."""
    return map_tree(Tensor.detach, tree)


def place(tree: Tree, device: torch.device) -> Tree:
    """The same tree on a device."""
    return map_tree(lambda leaf: leaf.to(device), tree)


def take(tree: Tree, start: int, stop: int) -> Tree:
    """Entries `start` to `stop` along the leading dimension of every tensor."""
    return map_tree(lambda leaf: leaf[start:stop], tree)


def expand(tree: Tree, count: int) -> Tree:
    """One copy per task, [N, ...], that shares memory with `tree`."""
    return map_tree(lambda leaf: leaf.expand(count, *leaf.shape), tree)


def select(mask: Tensor, chosen: Tree, other: Tree) -> Tree:
    """`chosen` where the mask is true, `other` elsewhere, leaf by leaf; the mask's dimensions lead those of leaves."""

    def leaf_by_leaf(one: Tensor, two: Tensor) -> Tensor:
        return torch.where(mask.reshape((*mask.shape, *[1] * (one.dim() - mask.dim()))), one, two)

    return map_tree(leaf_by_leaf, chosen, other)


def flatten(tree: Any) -> Tensor:
    """All tensors of a tree in one vector, [P], in the tree's order."""
    return torch.cat([leaf.reshape(-1) for leaf in _pytree.tree_leaves(tree)])


def unflatten(vector: Tensor, like: Tree) -> Tree:
    """The inverse of `flatten`: structure and shapes are taken from `like`.

    Raises:
        ValueError: the vector's length is not the number of scalars in `like`.
    """
    leaves, structure = _pytree.tree_flatten(like)
    sizes = [leaf.numel() for leaf in leaves]
    if vector.shape != (sum(sizes),):
        raise ValueError(f"`vector` must be [P] = ({sum(sizes)},), got {tuple(vector.shape)}.")
    pieces = torch.split(vector, sizes)
    shaped = [piece.view(leaf.shape) for leaf, piece in zip(leaves, pieces, strict=True)]
    return _pytree.tree_unflatten(shaped, structure)  # type: ignore[no-any-return]


def floats(tree: Any) -> list[Tensor]:
    """The leaves that have derivatives: those of floating point."""
    return [leaf for leaf in _pytree.tree_leaves(tree) if leaf.is_floating_point()]


def with_floats(tree: Tree, leaves: Sequence[Tensor]) -> Tree:
    """The tree with other tensors in place of those that have derivatives, in the order of `floats`."""
    all_leaves, structure = _pytree.tree_flatten(tree)
    others = iter(leaves)
    chosen = [next(others) if leaf.is_floating_point() else leaf for leaf in all_leaves]
    return _pytree.tree_unflatten(chosen, structure)  # type: ignore[no-any-return]
