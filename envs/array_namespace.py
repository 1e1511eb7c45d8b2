"""Functions of arrays written once for numpy and torch: which of the two an array belongs to, and its numbers' type."""

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ArrayT", "cast", "looked_up", "namespace_of"]

ArrayT = TypeVar("ArrayT", NDArray[Any], "Tensor")
"""numpy's arrays or torch's tensors: a function takes either and returns the same."""


def namespace_of(array: ArrayT) -> Any:
    """`numpy` for its arrays and numbers, `torch` for tensors, also those that `torch.func.vmap` maps over."""
    if isinstance(array, (np.ndarray, np.generic)):
        return np
    import torch

    return torch


def cast(array: ArrayT, dtype: Any) -> ArrayT:
    """The array with numbers of another type, one of its own namespace."""
    return array.astype(dtype) if isinstance(array, (np.ndarray, np.generic)) else array.to(dtype)


def looked_up(table: NDArray[Any], rows: ArrayT) -> ArrayT:
    """The rows [..., *row] of a table [n, *row] at whole numbers [...], in the numbers' namespace."""
    if isinstance(rows, (np.ndarray, np.generic)):
        return table.take(rows.astype(np.intp), 0)
    return namespace_of(rows).as_tensor(table, device=rows.device)[rows.long()]
