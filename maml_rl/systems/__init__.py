"""Systems by name: each module is one paper's configuration and wiring."""

from typing import Any

from maml_rl.systems import maml, maml_config, maml_trpo, promp, reptile, rl2

__all__ = ["SYSTEMS"]

SYSTEMS: dict[str, tuple[type, Any]] = {
    "maml": (maml_config.Config, maml.MAML),
    "maml_trpo": (maml_trpo.Config, maml_trpo.MAMLTRPO),
    "promp": (promp.Config, promp.ProMP),
    "reptile": (reptile.Config, reptile.Reptile),
    "rl2": (rl2.Config, rl2.RL2),
}
"""name -> (configuration dataclass, constructor that takes one)."""
