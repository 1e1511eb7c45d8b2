"""A system of one's own that anneals discounts: one of all states, one of each, and what is not always known."""

import math
from dataclasses import dataclass

from maml_rl.systems.system import MetricRoles, Metrics, State
from tests.run import counter


@dataclass(frozen=True)
class Config(counter.Config):
    """The discounts.

    Attributes:
        states: that have discounts of their own.
        target: of the discounts.
        known_from: the iteration from which on the learning rate is a number.
    """

    states: int = 10
    target: float = 0.99
    known_from: int = 0


class System(counter.System):
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        of_states = tuple(f"discount_{state}" for state in range(config.states))
        schedules = {
            "discount": ("discount",),
            "discount of each state": of_states,
            "rates of learning": ("learning_rate", "lambda_rate"),
        }
        self.roles = MetricRoles("return_after", "return_after", ("env_steps",), schedules=schedules)

    def iterate(self, state: State, iteration: int) -> tuple[State, Metrics]:
        following, metrics = super().iterate(state, iteration)
        known = iteration >= self.config.known_from
        more = {
            "return_after_interval95": 0.5,
            "discount": discount(iteration, self.config.target),
            "discount_interval95": 0.2 / (1 + iteration),
            "learning_rate": 1e-3 / (1 + iteration) if known else math.nan,
            "lambda_rate": 2e-4 if known else math.nan,
        }
        for place in range(self.config.states):
            more[f"discount_{place}"] = discount(iteration / (1 + place), self.config.target)
            more[f"discount_{place}_interval95"] = 0.01
        return following, {**metrics, **more}


def discount(iteration: float, target: float) -> float:
    """Approaches the target from a half by a tenth of the way each iteration."""
    return target - (target - 0.5) * 0.9**iteration
