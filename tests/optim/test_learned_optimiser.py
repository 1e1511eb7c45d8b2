"""Learned optimisers as optimisers of PyTorch: the inner rule, multiplied steps, schedulers, weights from files."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from maml_rl.core.rules.hierarchical import Units, hierarchical, initial_hierarchical
from maml_rl.core.rules.per_parameter import OPTIMISER, initial_per_parameter, per_parameter
from maml_rl.core.types import InnerState, Params, Rule
from maml_rl.optim import LearnedOptimiser, pretrained_weights

GENERATOR = torch.Generator().manual_seed(1)
INPUTS = torch.randn(32, 3, generator=GENERATOR, dtype=torch.float64)
KINDS: dict[str, tuple[Params, Rule]] = {
    "per_parameter": (initial_per_parameter([4], GENERATOR, torch.float64), per_parameter(6)),
    "hierarchical": (initial_hierarchical(Units(3, 4, 2), GENERATOR, torch.float64), hierarchical()),
}
each_kind = pytest.mark.parametrize(("weights", "rule"), KINDS.values(), ids=KINDS)


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double()


def _step(model: nn.Module, optimiser: torch.optim.Optimizer) -> list[Tensor]:
    optimiser.zero_grad()
    loss = (model(INPUTS)[:, 0] - INPUTS.sin().sum(1)).square().mean()
    loss.backward()
    optimiser.step()
    return [leaf.detach().clone() for leaf in model.parameters()]


@each_kind
def test_it_is_the_inner_rule(weights: Params, rule: Rule) -> None:
    model = _model()
    optimiser = LearnedOptimiser(model.parameters(), weights, horizon=6)
    params = {str(index): leaf.detach().clone() for index, leaf in enumerate(model.parameters())}
    meta = {OPTIMISER: weights}
    state = InnerState(params, rule.start(params, meta))
    for step in range(4):
        moved = _step(model, optimiser)
        slopes = {str(index): leaf.grad for index, leaf in enumerate(model.parameters())}
        state = rule.move(slopes, state, meta, step)
        for index, leaf in enumerate(moved):
            torch.testing.assert_close(leaf, state.params[str(index)], rtol=1e-12, atol=1e-14)


@each_kind
def test_the_learning_rate_multiplies_steps_and_schedulers_change_it(weights: Params, rule: Rule) -> None:
    moves = []
    for lr in (1.0, 0.5):
        model = _model()
        before = [leaf.detach().clone() for leaf in model.parameters()]
        optimiser = LearnedOptimiser(model.parameters(), weights, 6, lr)
        scheduler = torch.optim.lr_scheduler.StepLR(optimiser, 1, 0.0)
        after = _step(model, optimiser)
        scheduler.step()
        assert all(map(torch.equal, _step(model, optimiser), after))  # the rate is 0 now
        moves.append([two - one for one, two in zip(before, after, strict=True)])
    for whole, half in zip(*moves, strict=True):
        torch.testing.assert_close(half, whole / 2, rtol=1e-9, atol=1e-15)


@each_kind
def test_what_is_saved_goes_on_to_the_bit(weights: Params, rule: Rule, tmp_path: Path) -> None:
    model = _model()
    optimiser = LearnedOptimiser(model.parameters(), weights, 6)
    _step(model, optimiser)
    torch.save([model.state_dict(), optimiser.state_dict()], tmp_path / "saved.pt")
    whole = [_step(model, optimiser) for _ in range(2)][-1]
    parameters, memory = torch.load(tmp_path / "saved.pt", weights_only=True)
    other = _model()
    other.load_state_dict(parameters)
    following = LearnedOptimiser(other.parameters(), weights, 99)
    following.load_state_dict(memory)
    assert following.param_groups[0]["horizon"] == 6
    assert all(map(torch.equal, [_step(other, following) for _ in range(2)][-1], whole))


def test_weights_that_come_with_the_package_train_a_network() -> None:
    """A regression that is none of the meta-training's problems: ahead of Adam at its default rate."""
    ends = []
    for learned in (True, False):
        model = _model().float()
        leaves = list(model.parameters())
        optimiser = LearnedOptimiser.from_pretrained(leaves, horizon=200) if learned else torch.optim.Adam(leaves)
        for _ in range(200):
            optimiser.zero_grad()
            loss = (model(INPUTS.float())[:, 0] - INPUTS.float().sin().sum(1)).square().mean()
            loss.backward()
            optimiser.step()
        ends.append(loss.item())
    assert ends[0] < 0.2 * ends[1]


@each_kind
def test_weights_come_from_checkpoints_too(weights: Params, rule: Rule, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    torch.save({"format": "maml_rl checkpoint 2", "state": {"meta": {OPTIMISER: weights}}}, path)
    loaded = pretrained_weights(path)
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], weights[name]) for name in weights)
    model = _model()
    assert len(_step(model, LearnedOptimiser.from_pretrained(model.parameters(), 6, path))) == 4


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    leaves = list(_model().parameters())
    weights: Any = KINDS["per_parameter"][0]
    with pytest.raises(ValueError, match="`horizon` must be at least 1, got 0"):
        LearnedOptimiser(leaves, weights, 0)
    with pytest.raises(ValueError, match="not the weights of a learned optimiser: a"):
        LearnedOptimiser(leaves, {"a": torch.zeros(2)}, 5)
    with pytest.raises(ValueError, match="there are no weights 'smaller'; there are small"):
        pretrained_weights("smaller")
    for name, content in {"text": "no checkpoint", "policy": {"state": {"meta": {"policy": {}}}}}.items():
        torch.save(content, tmp_path / f"{name}.pt")
        with pytest.raises(ValueError, match="has no weights of a learned optimiser"):
            pretrained_weights(tmp_path / f"{name}.pt")
    (tmp_path / "damaged.pt").write_bytes(b"PK")
    with pytest.raises(ValueError, match="has no weights of a learned optimiser"):
        pretrained_weights(tmp_path / "damaged.pt")
