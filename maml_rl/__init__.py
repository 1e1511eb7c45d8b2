"""maml_rl: meta-reinforcement learning and fast adaptation on one bilevel core."""

__all__ = ["__version__"]
__version__ = "0.1.0"
