"""Products with one in a record: left out where they change neither numbers, type nor layout."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from maml_rl.core.traced import traced


class _Products(TorchDispatchMode):
    """Counts the products that run inside it."""

    count = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += operation is torch.ops.aten.mul.Tensor
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("function", "given", "products"),
    [
        (lambda x: (1.0 * x).sin(), torch.randn(3, 4), 0),
        (lambda x: (x * 1).mT.sin(), torch.randn(3, 4), 0),
        (lambda x: x * 1.5, torch.randn(3, 4), 1),
        (lambda x: x * 1.0 / 2, torch.arange(3), 1),  # whole numbers become others
        (lambda x: (x.expand(5, 3) * 1.0).view(15), torch.randn(3), 1),  # a view takes the product's layout alone
    ],
)
def test_products_with_one(function: Callable[[Tensor], Tensor], given: Tensor, products: int) -> None:
    replayed = traced(function)
    replayed(given)
    with _Products() as mode:
        result = replayed(given)
    assert mode.count == products
    assert result.dtype == function(given).dtype
    assert torch.equal(result, function(given))
