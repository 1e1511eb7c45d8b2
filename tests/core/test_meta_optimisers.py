"""Meta-optimisers against PyTorch's and by hand; clipping; what is refused."""

from typing import Any

import pytest
import torch
from torch import Tensor

from maml_rl.core import constant, descent, listed
from maml_rl.core.meta_optimisers import GradientProblem, adam, clip_norm, clip_value, require_finite_gradient
from maml_rl.core.tree import map_tree
from maml_rl.core.types import Meta
from tests.core.problems import draw


def _meta(seed: int = 0) -> Meta:
    normal = draw(seed)
    return {"network": {"a": normal(3, 2), "b": normal(4)}, "rates": {"a": normal(2)}}


def _leaves(meta: Meta) -> list[Tensor]:
    return [leaf for params in meta.values() for leaf in params.values()]


def _given(gradient: Meta, aux: Any = ()) -> GradientProblem:
    return lambda meta: (gradient, aux)


@pytest.mark.parametrize("clip", [None, 0.5])
def test_adam_is_pytorchs(clip: float | None) -> None:
    meta, rates = _meta(), [1e-2, 1e-3, 5e-3]
    before, theirs = map_tree(Tensor.clone, meta), [leaf.clone().requires_grad_() for leaf in _leaves(meta)]
    optimiser, ours = torch.optim.Adam(theirs), adam(listed(rates), clip)
    moved, memory = meta, ours.init(meta)
    for iteration, rate in enumerate(rates):
        gradient = _meta(iteration + 1)
        for leaf, slope in zip(theirs, _leaves(gradient), strict=True):
            leaf.grad = slope.clone() if clip is None else slope.clamp(-clip, clip)
        optimiser.param_groups[0]["lr"] = rate
        optimiser.step()
        update = ours.update(moved, memory, _given(gradient, "measured"), iteration)
        moved, memory = update.meta, update.memory
        assert update.metrics == {"meta_learning_rate": rate}
        assert update.aux == "measured"
    for leaf, other in zip(_leaves(moved), theirs, strict=True):
        assert torch.equal(leaf, other.detach())
    assert all(torch.equal(*pair) for pair in zip(_leaves(meta), _leaves(before), strict=True))


def test_adam_leaves_its_memory_as_it_was() -> None:
    meta, optimiser = _meta(), adam(constant(0.1))
    memory = optimiser.init(meta)
    update = optimiser.update(meta, memory, _given(_meta(1)), 0)
    assert all(not bool(leaf.any()) for part in memory.values() for leaf in part.values())
    assert all(bool(leaf.any()) for part in update.memory.values() for leaf in part.values())


def test_descent_is_a_step_down_the_gradient() -> None:
    meta, gradient, optimiser = _meta(), _meta(1), descent(listed([0.5, 0.25]))
    first = optimiser.update(meta, optimiser.init(meta), _given(gradient, 7), 0)
    second = optimiser.update(first.meta, first.memory, _given(gradient), 1)
    for leaf, slope, moved in zip(*map(_leaves, (meta, gradient, second.meta)), strict=True):
        torch.testing.assert_close(moved, leaf - 0.75 * slope, rtol=1e-14, atol=1e-15)
    assert (first.aux, first.metrics["meta_learning_rate"], second.metrics["meta_learning_rate"]) == (7, 0.5, 0.25)
    length = torch.cat([slope.flatten() for slope in _leaves(gradient)]).norm()
    assert first.metrics["gradient_norm"] == pytest.approx(float(length), rel=1e-14)


def test_a_full_step_down_a_displacement_is_the_mean_of_what_was_reached() -> None:
    meta, reached = _meta(), [_meta(seed) for seed in (1, 2)]
    mean = map_tree(lambda *leaves: sum(leaves) / 2, *reached)
    displacement = map_tree(lambda leaf, goal: leaf - goal, meta, mean)
    update = descent(constant(1.0)).update(meta, {}, _given(displacement), 0)
    for moved, goal in zip(_leaves(update.meta), _leaves(mean), strict=True):
        torch.testing.assert_close(moved, goal, rtol=1e-14, atol=1e-15)


def test_the_problem_is_asked_at_the_parameters_that_move() -> None:
    """Descent on |theta|^2 / 2, whose gradient is theta: each step keeps 1 - a of it."""
    meta = _meta()
    update = descent(constant(0.25)).update(meta, {}, lambda point: (point, ()), 0)
    for leaf, moved in zip(_leaves(meta), _leaves(update.meta), strict=True):
        torch.testing.assert_close(moved, 0.75 * leaf, rtol=1e-15, atol=0.0)


def test_clipping_by_value_cuts_each_entry_on_both_sides() -> None:
    clipped = clip_value({"x": {"a": torch.tensor([-2.0, -0.1, 0.3, 5.0])}}, 0.25)
    assert clipped["x"]["a"].tolist() == [-0.25, pytest.approx(-0.1), 0.25, 0.25]


def test_clipping_by_norm_keeps_the_direction() -> None:
    gradient = {"x": {"a": torch.tensor([3.0, 0.0])}, "y": {"b": torch.tensor([[0.0, 4.0]])}}
    short, norm = clip_norm(gradient, 1.0)
    assert float(norm) == 5.0
    assert short["x"]["a"].tolist() == pytest.approx([0.6, 0.0])
    assert short["y"]["b"].flatten().tolist() == pytest.approx([0.0, 0.8])
    same, _ = clip_norm(gradient, 6.0)
    assert all(torch.equal(*pair) for pair in zip(_leaves(same), _leaves(gradient), strict=True))
    zero, norm = clip_norm({"x": {"a": torch.zeros(2)}}, 1.0)
    assert float(norm) == 0.0
    assert not bool(zero["x"]["a"].any())


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("optimiser", [adam(constant(0.1), 1.0), descent(constant(0.1))], ids=["adam", "descent"])
def test_a_gradient_that_is_not_finite_is_refused_by_the_parameters_name(optimiser: Any, wrong: float) -> None:
    meta, gradient = _meta(), _meta(1)
    gradient["network"]["b"][2] = wrong
    with pytest.raises(FloatingPointError, match="meta-gradient of network/b is not finite"):
        optimiser.update(meta, optimiser.init(meta), _given(gradient), 0)


def test_of_many_wrong_parameters_the_first_five_are_named() -> None:
    gradient = {"network": {str(index): torch.tensor(float("nan")) for index in range(7)}}
    with pytest.raises(FloatingPointError, match=r"network/3, network/4, \.\.\. is not finite"):
        require_finite_gradient(gradient)
