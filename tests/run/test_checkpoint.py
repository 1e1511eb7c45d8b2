"""What a checkpoint holds, and what of a loaded state fits a run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maml_rl.run.checkpoint import fitted, require_storable
from maml_rl.run.errors import UsageError, told

TEMPLATE: dict[str, Any] = {
    "meta": {"policy": {"w": torch.zeros(2, 3)}},
    "list": [torch.zeros(2), 1],
    "tuple": (torch.zeros(1, dtype=torch.float64), {"steps": 0}),
    "name": "",
}


def _state() -> dict[str, Any]:
    return {
        "meta": {"policy": {"w": torch.ones(2, 3)}},
        "list": [torch.ones(2), 5],
        "tuple": (torch.ones(1, dtype=torch.float64), {"steps": 7}),
        "name": "adam",
    }


def test_a_state_that_fits_comes_back_as_it_is() -> None:
    state = fitted(_state(), TEMPLATE, Path("run"))
    assert state["list"][1] == 5
    assert isinstance(state["tuple"], tuple)
    assert state["tuple"][1] == {"steps": 7}
    assert torch.equal(state["meta"]["policy"]["w"], torch.ones(2, 3))


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("meta", {"policy": {"v": torch.ones(2, 3)}}),
        ("meta", {"policy": {"w": torch.ones(3, 2)}}),
        ("meta", {"policy": {"w": torch.ones(2, 3, dtype=torch.float64)}}),
        ("list", [torch.ones(2)]),
        ("list", [torch.ones(3), 5]),
        ("list", (torch.ones(2), 5)),
        ("list", [torch.ones(2), 5, 6]),
        ("tuple", (torch.ones(1), {"steps": 7})),
        ("tuple", (torch.ones(1, dtype=torch.float64), {"steps": "7"})),
        ("name", 3),
    ],
)
def test_what_does_not_fit_is_refused_at_any_depth(part: str, value: Any) -> None:
    with pytest.raises(UsageError, match="does not fit"):
        fitted({**_state(), part: value}, TEMPLATE, Path("run"))


def test_what_a_checkpoint_cannot_hold_is_named() -> None:
    require_storable(_state())
    with pytest.raises(ValueError, match=r"`state\['list'\]\[1\]\['n'\]` is a ndarray"):
        require_storable({"list": [torch.ones(2), {"n": np.zeros(3)}]})
    with pytest.raises(ValueError, match=r"`state\['x'\]` is a float64"):
        require_storable({"x": np.float64(1.0)})


def test_errors_that_say_little_say_where_they_are_from() -> None:
    assert told(ValueError("the ball is gone")) == "the ball is gone."
    with pytest.raises(KeyError) as caught:
        {}["meta"]
    assert told(caught.value).startswith("KeyError: 'meta' (test_checkpoint.py, line ")
