"""Ways to look for good programs of a language, told nothing but scores."""

from maml_rl.search.controller import initial_controller, log_probabilities, sampled
from maml_rl.search.controller_searcher import ControllerConfig, controller
from maml_rl.search.evolution import evolution
from maml_rl.search.memory import best_of, key_of, no_memory, nothing_found, remembered, with_scores
from maml_rl.search.searcher import Searcher, SearcherState, uniform

__all__ = [
    "ControllerConfig",
    "Searcher",
    "SearcherState",
    "best_of",
    "controller",
    "evolution",
    "initial_controller",
    "key_of",
    "log_probabilities",
    "no_memory",
    "nothing_found",
    "remembered",
    "sampled",
    "uniform",
    "with_scores",
]
