"""Gradient descent that is held to its start (Rajeswaran et al., 2019, equation 3)."""

from maml_rl.core.rules.sgd import gradient
from maml_rl.core.schedules import Schedule
from maml_rl.core.types import InnerState, Meta, Params, Rule

__all__ = ["proximal_sgd"]


def proximal_sgd(schedule: Schedule, strength: float) -> Rule:
    """phi_{k+1} = phi_k - a_k (grad loss(phi_k, batch_k) + lam (phi_k - theta)), theta = phi_0, lam = `strength`.

    It descends loss(phi) + lam/2 |phi - theta|^2. The start is the rule's memory.

    Raises:
        ValueError: `strength` is not positive and finite.
    """
    if not 0 < strength < float("inf"):
        raise ValueError(f"the proximal strength must be positive and finite, got {strength}.")

    def move(signal: Params, state: InnerState, meta: Meta, step: int) -> InnerState:
        rate, start = schedule(step), state.memory
        moved = {
            name: leaf - rate * (signal[name] + strength * (leaf - start[name])) for name, leaf in state.params.items()
        }
        return InnerState(moved, start)

    return Rule("proximal_sgd", lambda params, meta: params, gradient, move)
