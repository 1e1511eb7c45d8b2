"""Inner update rules, one a file."""

from maml_rl.core.rules.learned_rates import RATES, initial_rates, learned_rates, named_rates, without_rates
from maml_rl.core.rules.partial import only
from maml_rl.core.rules.proximal import proximal_sgd
from maml_rl.core.rules.sgd import constant, halved_after_first, listed, sgd

__all__ = [
    "RATES",
    "constant",
    "halved_after_first",
    "initial_rates",
    "learned_rates",
    "listed",
    "named_rates",
    "only",
    "proximal_sgd",
    "sgd",
    "without_rates",
]
