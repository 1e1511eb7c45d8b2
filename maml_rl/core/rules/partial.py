"""Adaptation of a part of the parameters: the head alone (Raghu et al., 2020), or context (Zintgraf et al., 2019)."""

from collections.abc import Callable
from typing import Any

from maml_rl.core.types import Batch, InnerState, Loss, Meta, Params, Rule

__all__ = ["only"]


def only(rule: Rule, adapts: Callable[[str], bool]) -> Rule:
    """`rule` on the parameters whose names `adapts` accepts; the others stay, and no gradient is taken in them.

    Derivatives of the meta-objective reach all of them.

    Args:
        rule: the inner update rule.
        adapts: of a parameter's name.
    """

    def part(params: Params) -> Params:
        return {name: leaf for name, leaf in params.items() if adapts(name)}

    def observe(loss: Loss, state: InnerState, batch: Batch, meta: Meta, step: int) -> tuple[Any, Any]:
        return rule.observe(
            lambda moving, data, groups, index: loss({**state.params, **moving}, data, groups, index),
            state._replace(params=part(state.params)),
            batch,
            meta,
            step,
        )

    def move(signal: Any, state: InnerState, meta: Meta, step: int) -> InnerState:
        moved = rule.move(signal, state._replace(params=part(state.params)), meta, step)
        return moved._replace(params={**state.params, **moved.params})

    return Rule(f"{rule.name} of a part", lambda params, meta: rule.start(part(params), meta), observe, move)
