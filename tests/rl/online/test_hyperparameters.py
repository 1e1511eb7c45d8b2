"""Hyper-parameters as meta-parameters: where they start, within what bounds they stay, and what moves them."""

import pytest
import torch
from torch import Tensor

from maml_rl.core.types import Meta
from maml_rl.rl.online.hyperparameters import (
    FIXED,
    Form,
    Hyperparameter,
    HyperparameterConfig,
    hyperparameter,
    require_form,
    settings_of,
)
from tests.rl.online.learners import normal

SIZE, W, INITIAL, LIMIT = 4, 3, 0.3, 0.8
LEARNED: tuple[Form, ...] = ("one", "table", "state", "rewards")
ONE_HOT = torch.eye(SIZE, dtype=torch.float64)


def _made(form: Form, initial: float = INITIAL, noise: float = 0.0) -> tuple[Meta, Hyperparameter]:
    config = HyperparameterConfig(initial, form, LIMIT, [5])
    part = hyperparameter("gamma", config, SIZE, W)
    start = part.start(initial, torch.Generator().manual_seed(1), torch.float64)
    own = {name: leaf + noise * normal(index, *leaf.shape) for index, (name, leaf) in enumerate(start.items())}
    fixed = {"gamma": torch.tensor(initial, dtype=torch.float64)}
    return {**({"gamma": own} if own else {}), "other": {"x": torch.ones(())}, FIXED: fixed}, part


def _value(form: Form, seen: Tensor, rewards: Tensor, noise: float = 0.0) -> Tensor:
    theta, part = _made(form, noise=noise)
    return part.value(theta, seen, rewards)


def test_every_form_starts_at_its_initial_value() -> None:
    """Networks do at observations, and at rewards, of zero."""
    nowhere, nothing = torch.zeros(2, 5, SIZE, dtype=torch.float64), torch.zeros(W, dtype=torch.float64)
    for form in ("no", *LEARNED):
        seen = ONE_HOT if form == "table" else nowhere
        value = _value(form, seen, nothing)
        assert value.numel() == {"table": SIZE, "state": 10}.get(form, 1)
        torch.testing.assert_close(value, torch.full_like(value, INITIAL), rtol=1e-12, atol=0.0)


def test_learned_ones_stay_within_their_limits() -> None:
    for form in LEARNED:
        seen = ONE_HOT if form == "table" else normal(1, 50, SIZE)
        value = _value(form, seen, normal(2, W), noise=5.0)
        assert bool(((value >= 0) & (value <= LIMIT)).all())


def test_a_form_reads_what_it_is_named_after() -> None:
    one, other = ONE_HOT[[0, 1]], ONE_HOT[[2, 3]]
    for form in ("no", *LEARNED):
        value, elsewhere, paid = (
            _value(form, seen, normal(seed, W), noise=1.0).expand(2) for seen, seed in ((one, 3), (other, 3), (one, 4))
        )
        assert torch.equal(value, elsewhere) == (form not in ("table", "state"))
        assert torch.equal(value, paid) == (form != "rewards")


def test_a_table_has_an_entry_for_each_state() -> None:
    theta, part = _made("table", noise=1.0)
    entries = LIMIT * torch.sigmoid(theta["gamma"]["logits"])
    states = torch.tensor([[2, 0, 3], [1, 1, 2]])
    torch.testing.assert_close(part.value(theta, ONE_HOT[states], normal(0, W)), entries[states])
    torch.testing.assert_close(part.reported(theta, ONE_HOT[states], normal(0, W)), entries)


@pytest.mark.parametrize("form", ["no", *LEARNED])
def test_derivatives_reach_its_own_group_alone(form: Form) -> None:
    theta, part = _made(form, noise=0.3)
    slopes = torch.func.grad(lambda meta: part.value(meta, ONE_HOT, normal(1, W)).sum())(theta)
    assert float(slopes[FIXED]["gamma"]) == float(slopes["other"]["x"]) == 0.0
    if form != "no":
        assert all(float(leaf.abs().max()) > 0 for leaf in slopes["gamma"].values())


def test_settings_are_all_combinations_with_the_last_name_fastest() -> None:
    configs = {
        "a": HyperparameterConfig([0.1, 0.2]),
        "b": HyperparameterConfig(0.5),
        "c": HyperparameterConfig([1, 2, 3]),
    }
    wanted = [{"a": a, "b": 0.5, "c": c} for a in (0.1, 0.2) for c in (1, 2, 3)]
    assert settings_of(configs) == wanted
    assert settings_of({}) == [{}]


def test_impossible_ones_are_refused_by_name() -> None:
    for wrong, message in (
        ({"initial": -0.1}, "`rate.initial` must be finite and at least 0"),
        ({"initial": []}, "`rate.initial` must be"),
        ({"limit": 0.0}, "`rate.limit` must be positive"),
        ({"initial": [0.5, 1.0], "learned": "one"}, "both excluded"),
        ({"initial": 0.0, "learned": "one"}, "both excluded"),
        ({"hidden": [0]}, "`rate.hidden` must be"),
    ):
        with pytest.raises(ValueError, match=message):
            HyperparameterConfig(**wrong).require("rate")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`rate\.learned` must be one of no, one, got 'table'"):
        require_form("rate", HyperparameterConfig(0.5, "table"), ("no", "one"))
