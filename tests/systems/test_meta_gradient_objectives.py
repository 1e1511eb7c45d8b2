"""Which updates of a window the meta-gradient of a learner that never starts afresh counts."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from maml_rl.core.tree import flatten
from maml_rl.systems.meta_gradient_config import MetaConfig
from tests.systems.short_lifetimes import COLOURS, lived


def _first_gradient(rollouts: int, objective: str, annealing: int = 1000) -> Tensor:
    """A tenth of it, which Adam remembers."""
    meta = MetaConfig(rollouts=rollouts, objective=objective, annealing=annealing)  # type: ignore[arg-type]
    _, state = lived(replace(COLOURS, meta=meta), 1)
    return flatten(state["optimiser"]["mean"])


def test_the_final_objective_counts_the_last_update_alone() -> None:
    uniform, final = (_first_gradient(2, objective) for objective in ("uniform", "final"))
    assert uniform.abs().max() > 0
    torch.testing.assert_close(final, 2 * uniform)  # a mean over two rollouts, the first before any update


def test_the_annealed_objective_goes_from_all_updates_to_the_last_one() -> None:
    uniform, final, early = (_first_gradient(3, objective) for objective in ("uniform", "final", "annealed"))
    torch.testing.assert_close(early, 1.5 * uniform)  # a mean over two updates instead of three rollouts
    assert (early - final).abs().max() > 1e-3 * final.abs().max()
    meta = MetaConfig(rollouts=4, objective="annealed", annealing=2)
    assert meta.weights(0) == pytest.approx([0, 4 / 3, 4 / 3, 4 / 3])
    assert meta.weights(1) == pytest.approx([0, 2 / 3, 2 / 3, 8 / 3])
    assert meta.weights(2) == [0, 0, 0, 4]


def test_what_has_no_effect_is_remarked() -> None:
    told = MetaConfig("trace", objective="final", annealing=5).remarks()
    assert [remark.split()[0] for remark in told] == ["`meta.objective`", "`meta.annealing`"]
