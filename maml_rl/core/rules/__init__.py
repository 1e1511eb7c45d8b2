"""Inner update rules, one a file."""

from maml_rl.core.rules.learned_rates import initial_rates, learned_rates
from maml_rl.core.rules.proximal import proximal_sgd
from maml_rl.core.rules.sgd import constant, halved_after_first, listed, sgd

__all__ = ["constant", "halved_after_first", "initial_rates", "learned_rates", "listed", "proximal_sgd", "sgd"]
