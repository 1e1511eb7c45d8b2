"""The inner loop that every system shares: from meta-parameters to the path of an adapting learner."""

from collections.abc import Sequence

from maml_rl.core.modes import Mode, require_compatible, unrolled
from maml_rl.core.types import Batch, InnerState, Loss, Meta, Params, Rule, Step

__all__ = ["adapt"]


def adapt(
    start: Params | InnerState,
    batches: Sequence[Batch],
    loss: Loss,
    rule: Rule,
    meta: Meta | None = None,
    mode: Mode | None = None,
    first_step: int = 0,
    loss_groups: Sequence[str] = (),
) -> list[InnerState]:
    """phi_0 = start, phi_{k+1} = rule(phi_k, batches[k]): the adaptation path of one task.

    `torch.func.vmap` maps it over tasks. `start` is never changed.

    Args:
        start: the initial parameters, or a state of an earlier path to go on from.
        batches: the data of each inner step; K of them.
        loss: ``loss(params, batch, meta, step)``, a scalar and further results.
        rule: the inner update rule, such as `maml_rl.core.rules.sgd`.
        meta: the groups of meta-parameters that the loss and the rule read, if any.
        mode: how derivatives pass through the path; unrolled where nothing is said.
        first_step: the index of the first step, for going on from an earlier path.
        loss_groups: groups of `meta` that are learned and that nothing but the inner loss reads. A mode that cuts their
            derivative is refused.

    Returns:
        K + 1 states, the first of them the start; from the implicit mode only the start and the last.

    Raises:
        ValueError: the mode does not hold for the rule, or would teach `loss_groups` nothing.
    """
    mode, groups = mode or unrolled(), meta or {}
    require_compatible(mode, rule, loss_groups=loss_groups)
    state = start if isinstance(start, InnerState) else InnerState(start, rule.start(start, groups))
    step = Step(lambda state, batch, meta, index: rule.observe(loss, state, batch, meta, index), rule.move)
    return mode.walk(step, state, batches, groups, first_step)
