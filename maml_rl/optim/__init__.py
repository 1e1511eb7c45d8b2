"""Update rules as optimisers of PyTorch, for any model."""

from maml_rl.optim.found_rules import AddSign, Lion, PowerSign, Programmed
from maml_rl.optim.learned_optimiser import LearnedOptimiser, pretrained_weights
from maml_rl.optim.rule_optimiser import RuleOptimiser

__all__ = ["AddSign", "LearnedOptimiser", "Lion", "PowerSign", "Programmed", "RuleOptimiser", "pretrained_weights"]
