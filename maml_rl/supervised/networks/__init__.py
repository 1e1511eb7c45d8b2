"""Networks as pure functions of explicit parameters, one a file; `torch.func.vmap` maps them over tasks."""

from maml_rl.supervised.networks.architectures import architecture_of, network_for
from maml_rl.supervised.networks.conv4 import conv4
from maml_rl.supervised.networks.mlp import mlp
from maml_rl.supervised.networks.module import from_module
from maml_rl.supervised.networks.network import Adaptation, Architecture, Network, NetworkConfig

__all__ = [
    "Adaptation",
    "Architecture",
    "Network",
    "NetworkConfig",
    "architecture_of",
    "conv4",
    "from_module",
    "mlp",
    "network_for",
]
