"""Update rules as optimisers of PyTorch: its own optimisers, its schedulers, its ways of saving, on real modules."""

import math
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from maml_rl.core import constant
from maml_rl.core.rules import adam, momentum
from maml_rl.core.rules.language import Language
from maml_rl.core.types import Rule
from maml_rl.optim import AddSign, Lion, PowerSign, Programmed, RuleOptimiser

Make = Callable[[Iterable[Any]], torch.optim.Optimizer]
SAME, TIMES = "{}", "({} * {})"
TWO, THREE = Language(2), Language(3)
SIGNS = ("sign(g)", "sign(m)", SAME, SAME, TIMES)
POWER = TWO.program(SIGNS, ("#1", "g", "exp({})", SAME, TIMES))
ADD = THREE.program(SIGNS, ("1", "#1", SAME, SAME, "({} + {})"), ("#2", "g", SAME, SAME, TIMES))
DECAYING = THREE.program(SIGNS, ("cosine", "#1", SAME, SAME, TIMES), ("#2", "g", "exp({})", SAME, TIMES))
INPUTS = torch.randn(32, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _of(make: Callable[[float], Rule], lr: float = 0.05) -> Make:
    return lambda params: RuleOptimiser(params, lambda group: make(group["lr"]), {"lr": lr})


OURS: dict[str, Make] = {
    "Lion": lambda params: Lion(params, 0.01, weight_decay=0.1),
    "PowerSign": lambda params: PowerSign(params, 0.02, decay="linear", horizon=9),
    "AddSign": lambda params: AddSign(params, 0.02, 2.0, "restart", 9),
    "Programmed": lambda params: Programmed(params, TWO, POWER, 0.02),
    "Adam": _of(lambda lr: adam(constant(lr))),
}


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double()


def _trained(model: nn.Module, optimiser: torch.optim.Optimizer, steps: int, scheduler: Any = None) -> list[Tensor]:
    for _ in range(steps):
        optimiser.zero_grad()
        (model(INPUTS)[:, 0] - INPUTS.sin().sum(1)).square().mean().backward()
        optimiser.step()
        if scheduler is not None:
            scheduler.step()
    return [leaf.detach().clone() for leaf in model.parameters()]


def _require_equal(first: Make, second: Make, rtol: float = 1e-10) -> None:
    ends = []
    for make in (first, second):
        model = _model()
        optimiser = make(model.parameters())
        ends.append(_trained(model, optimiser, 8, torch.optim.lr_scheduler.ExponentialLR(optimiser, 0.9)))
    for one, two in zip(*ends, strict=True):
        torch.testing.assert_close(one, two, rtol=rtol, atol=1e-12)


def test_rules_move_modules_as_torchs_optimisers_do() -> None:
    _require_equal(OURS["Adam"], lambda params: torch.optim.Adam(params, 0.05), 1e-6)  # ours has 1e-16 under the root
    _require_equal(
        _of(lambda lr: momentum(constant(lr), 0.8, nesterov=True)),
        lambda params: torch.optim.SGD(params, 0.05, momentum=0.8, nesterov=True),
    )


def test_found_rules_are_programs_of_the_language() -> None:
    _require_equal(OURS["Programmed"], lambda params: PowerSign(params, 0.02))
    _require_equal(lambda params: Programmed(params, THREE, ADD, 0.02), lambda params: AddSign(params, 0.02))
    _require_equal(
        lambda params: Programmed(params, THREE, DECAYING, 0.02, 6),
        lambda params: PowerSign(params, 0.02, math.e, "cosine", 6),
    )
    assert Programmed(_model().parameters(), TWO, POWER, 0.02).formula == "(exp((sign(g) * sign(m))) * g)"


def test_lion_is_the_published_algorithm() -> None:
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    optimiser, expected, mean = (
        Lion([weights], 0.1, (0.9, 0.99), 0.3),
        weights.detach().clone(),
        torch.zeros(3).double(),
    )
    for step in range(5):
        slope = torch.tensor([0.3, -1.0, 0.1 - 0.2 * step], dtype=torch.float64)
        weights.grad = slope
        optimiser.step()
        expected = expected - 0.1 * ((0.9 * mean + 0.1 * slope).sign() + 0.3 * expected)
        mean = 0.99 * mean + 0.01 * slope
        torch.testing.assert_close(weights.detach(), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("make", OURS.values(), ids=OURS)
def test_what_is_saved_goes_on_to_the_bit(make: Make, tmp_path: Any) -> None:
    model = _model()
    optimiser = make(model.parameters())
    whole = _trained(model, optimiser, 6)
    model = _model()
    optimiser = make(model.parameters())
    _trained(model, optimiser, 3)
    torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict()}, tmp_path / "saved.pt")
    saved = torch.load(tmp_path / "saved.pt", weights_only=True)
    other = _model()
    other.load_state_dict(saved["model"])
    following = make(other.parameters())
    following.load_state_dict(saved["optimiser"])
    assert all(map(torch.equal, _trained(other, following, 3), whole))


def test_groups_have_options_of_their_own_and_what_has_no_gradient_stays() -> None:
    model = _model()
    first, second = model[0], model[2]
    second.bias.requires_grad_(False)
    before = deepcopy(model.state_dict())
    optimiser = Lion(
        [{"params": first.parameters(), "lr": 0.0}, {"params": second.parameters()}], 0.01, weight_decay=0.1
    )
    _trained(model, optimiser, 3)
    after = model.state_dict()
    assert torch.equal(after["0.weight"], before["0.weight"])
    assert torch.equal(after["2.bias"], before["2.bias"])
    assert not torch.equal(after["2.weight"], before["2.weight"])


def test_a_closure_computes_the_loss_anew() -> None:
    weights = torch.ones(2, requires_grad=True)
    optimiser = PowerSign([weights], 0.1)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = weights.square().sum()
        loss.backward()
        return loss

    losses = [optimiser.step(closure).item() for _ in range(3)]
    assert losses[0] > losses[1] > losses[2]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="`lr` must be finite and at least 0, got -1"):
        Lion(_model().parameters(), -1.0)
    with pytest.raises(ValueError, match=r"Lion's decays must be in \[0, 1\)"):
        _trained(model := _model(), Lion(model.parameters(), betas=(1.0, 0.9)), 1)
    with pytest.raises(ValueError, match="`horizon` must be at least 1"):
        _trained(model := _model(), PowerSign(model.parameters(), horizon=0), 1)
    weights = torch.ones(3, requires_grad=True)
    weights.grad = torch.zeros(3).to_sparse()
    with pytest.raises(RuntimeError, match="Lion takes real parameters with dense gradients"):
        Lion([weights]).step()
