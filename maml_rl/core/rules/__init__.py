"""Inner update rules, one a file."""

from maml_rl.core.rules.adam import adam
from maml_rl.core.rules.learned_rates import RATES, initial_rates, learned_rates
from maml_rl.core.rules.momentum import momentum
from maml_rl.core.rules.partial import only
from maml_rl.core.rules.proximal import proximal_sgd
from maml_rl.core.rules.sgd import sgd

__all__ = ["RATES", "adam", "initial_rates", "learned_rates", "momentum", "only", "proximal_sgd", "sgd"]
