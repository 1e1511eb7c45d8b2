"""Architectures by name."""

from collections.abc import Sequence

from maml_rl.supervised.networks.conv4 import CONV4
from maml_rl.supervised.networks.mlp import MLP
from maml_rl.supervised.networks.module import MODULE
from maml_rl.supervised.networks.network import Architecture, Network, NetworkConfig

__all__ = ["architecture_of", "network_for"]

_BUILT_IN = {"mlp": MLP, "conv4": CONV4}


def architecture_of(name: str) -> Architecture:
    """The architecture of this name, or that of a module for "module:function".

    Raises:
        ValueError: there is none of this name.
    """
    module, colon, function = name.partition(":")
    if name not in _BUILT_IN and not (module and colon and function):
        raise ValueError(f"there is no network {name!r}; there are {', '.join(_BUILT_IN)}, or 'module:function'.")
    return _BUILT_IN.get(name, MODULE)


def network_for(config: NetworkConfig, input_shape: Sequence[int], outputs: int) -> Network:
    """The network of a configuration for inputs of this shape.

    Raises:
        ValueError: there is none of this name, or it does not take such inputs.
    """
    return architecture_of(config.id).build(config, input_shape, outputs)
