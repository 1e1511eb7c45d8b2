"""Inner update rules, one a file."""

from maml_rl.core.rules.sgd import constant, halved_after_first, listed, sgd

__all__ = ["constant", "halved_after_first", "listed", "sgd"]
