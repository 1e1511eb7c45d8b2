"""Any `torch.nn.Module` as a network."""

import importlib
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor, nn

from maml_rl.core.types import Params
from maml_rl.supervised.networks.network import Architecture, Network, NetworkConfig

__all__ = ["MODULE", "from_module"]


def from_module(make: Callable[[], nn.Module]) -> Network:
    """Any module without buffers, called with explicit parameters by `torch.func.functional_call`.

    Args:
        make: makes the module with its initial weights, drawn from torch's global generator.

    Raises:
        ValueError: the module keeps buffers, which adaptation would have to change in place, or is none.
    """

    def made(seed: int) -> nn.Module:
        # Modules draw from the CPU's global generator; it is lent to them and put back.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return make()

    template = made(0)
    if not isinstance(template, nn.Module):
        raise ValueError(f"a network must be a torch.nn.Module, got {type(template).__name__}.")
    buffers = [name for name, _ in template.named_buffers()]
    if buffers:
        raise ValueError(f"a network must keep its state in parameters, this module has buffers: {', '.join(buffers)}.")

    def initial(generator: Generator, dtype: torch.dtype) -> Params:
        module = made(int(torch.randint(2**62, (), generator=generator)))
        return {name: leaf.detach().to(dtype).clone() for name, leaf in module.named_parameters()}

    def apply(params: Params, inputs: Tensor, step: int, running: Params | None) -> tuple[Tensor, Params]:
        return torch.func.functional_call(template, params, (inputs,)), {}

    last = [name for name, _ in template.named_parameters()][-1:]
    return Network(initial, apply, lambda dtype: {}, head=last[0].rpartition(".")[0] + "." if last else "")


def _build(config: NetworkConfig, input_shape: Sequence[int], outputs: int) -> Network:
    path, _, name = config.id.partition(":")
    try:
        make = getattr(importlib.import_module(path), name)
        return from_module(lambda: make(tuple(input_shape), outputs, **config.arguments))
    except Exception as error:  # whatever a function of somebody else's may raise
        raise ValueError(f"network {config.id!r} cannot be made: {error}") from error


MODULE = Architecture(("arguments",), _build)
