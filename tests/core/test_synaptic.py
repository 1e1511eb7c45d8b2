"""The family of synaptic rules: its named points against closed forms and gradient descent, and that it is local."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from maml_rl.core import adapt, constant, sgd
from maml_rl.core.rules.synaptic import (
    ADDED,
    COEFFICIENTS,
    RULE,
    TERMS,
    Activity,
    initial_synaptic,
    rule_of,
    synaptic,
)
from maml_rl.core.types import Batch, InnerState, Meta, Params
from maml_rl.problems.plastic_network import HIDDEN, OUTPUT, PlasticNetwork

RATE = 0.3
SEED = torch.tensor(11)


def _moved(theta: Meta, weight: Tensor, activity: Activity) -> Tensor:
    return synaptic().move({"w": activity}, InnerState({"w": weight}), theta, 0).params["w"]


def _drawn() -> tuple[Tensor, Activity]:
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return normal(2, 3), Activity(normal(3), normal(2), normal(2))


def _random_rule() -> Meta:
    return {RULE: initial_synaptic(0.1, torch.Generator().manual_seed(4), torch.float64)}


FORMULAS: dict[str, Callable[[float, float, float, float], float]] = {
    "1": lambda x, y, w, m: 1.0,
    "y": lambda x, y, w, m: y,
    "x": lambda x, y, w, m: x,
    "m": lambda x, y, w, m: m,
    "y m": lambda x, y, w, m: y * m,
    "m w": lambda x, y, w, m: m * w,
    "y w": lambda x, y, w, m: y * w,
    "x y": lambda x, y, w, m: x * y,
    "x m": lambda x, y, w, m: x * m,
}


@pytest.mark.parametrize("term", TERMS)
def test_each_term_is_what_its_name_says(term: str) -> None:
    """Hebb's rule, dw = rate x_j y_i, is one of them."""
    weight, activity = _drawn()
    change = _moved(rule_of({term: RATE}, torch.float64), weight, activity) - weight
    for i in range(2):
        for j in range(3):
            values = (activity.before[j], activity.behind[i], weight[i, j], activity.modulator[i])
            expected = RATE * FORMULAS[term](*(float(value) for value in values))
            assert float(change[i, j]) == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_terms_add_up() -> None:
    weight, activity = _drawn()
    theta = _random_rule()
    numbers = theta[RULE][COEFFICIENTS].tolist()
    parts = [_moved(rule_of({term: number}, torch.float64), weight, activity) - weight
             for term, number in zip(TERMS, numbers, strict=True)]  # fmt: skip
    torch.testing.assert_close(_moved(theta, weight, activity) - weight, sum(parts), rtol=1e-12, atol=1e-14)
    assert set(ADDED) == {"x m"}


@pytest.mark.parametrize("unit", ["linear", "sigmoid", "tanh"])
@pytest.mark.parametrize("hidden", [0, 4])
def test_the_delta_rule_is_gradient_descent(unit: str, hidden: int) -> None:
    """Squared error of a linear unit, cross-entropy of the others; with hidden units it is back-propagation."""
    network = PlasticNetwork(3, hidden, unit)  # type: ignore[arg-type]
    start = network.initial(SEED, torch.float64)
    generator = torch.Generator().manual_seed(5)
    shown = torch.rand(6, 3, generator=generator, dtype=torch.float64)
    batches = [(pattern, pattern.sum().round(), torch.zeros(hidden, dtype=torch.float64)) for pattern in shown]
    by_rule = adapt(start, batches, network.loss(), synaptic(), rule_of({"x m": RATE}, torch.float64))
    by_descent = adapt(start, batches, network.loss(), sgd(constant(RATE)))
    for mine, theirs in zip(by_rule, by_descent, strict=True):
        torch.testing.assert_close(mine.params, theirs.params, rtol=1e-11, atol=1e-13)
    assert not torch.equal(by_rule[0].params[OUTPUT], by_rule[-1].params[OUTPUT])


def test_a_synapse_knows_its_own_units_only() -> None:
    """Other activities, weights and modulators change nothing for w_01."""
    weight, activity = _drawn()
    before = _moved(_random_rule(), weight, activity)
    after = _moved(
        _random_rule(),
        weight + torch.tensor([[5.0, 0.0, 5.0], [5.0, 5.0, 5.0]], dtype=torch.float64),
        Activity(
            activity.before + torch.tensor([2.0, 0.0, 3.0], dtype=torch.float64),
            activity.behind + torch.tensor([0.0, 4.0], dtype=torch.float64),
            activity.modulator + torch.tensor([0.0, 7.0], dtype=torch.float64),
        ),
    )
    assert before[0, 1] == after[0, 1]
    assert not torch.isclose(before, after).flatten()[[0, 2, 3, 4, 5]].any()


@pytest.mark.parametrize("feedback", ["transposed", "random", "global"])
def test_meta_gradients_are_those_of_finite_differences(feedback: str) -> None:
    """Through five presentations to a network with hidden units."""
    network = PlasticNetwork(2, 3, "tanh", feedback=feedback)  # type: ignore[arg-type]
    start, backward = network.initial(SEED, torch.float64), network.feedback_weights(SEED, torch.float64)
    shown = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1], [1, 1]], dtype=torch.float64)
    batches = [(pattern, -pattern.prod(), backward) for pattern in shown]

    def meta_loss(theta: Tensor) -> Tensor:
        last = adapt(start, batches, network.loss(), synaptic(), {RULE: {COEFFICIENTS: theta}})[-1]
        return network.loss()(last.params, batches[1], {}, 0)[0]

    theta = _random_rule()[RULE][COEFFICIENTS].requires_grad_()
    assert torch.autograd.gradcheck(meta_loss, theta, rtol=1e-6)


@pytest.mark.parametrize(("feedback", "way"), [("transposed", 0.5), ("random", -3.0), ("global", None)])
def test_the_error_reaches_hidden_units_on_the_way_that_is_asked_for(feedback: str, way: float | None) -> None:
    """Worked out by hand for one hidden unit of weight 0.3 to the input and 0.5 to the output."""
    network = PlasticNetwork(1, 1, "tanh", feedback=feedback)  # type: ignore[arg-type]
    double = torch.float64
    params = {HIDDEN: torch.tensor([[0.3, 0]], dtype=double), OUTPUT: torch.tensor([[0.5, 0]], dtype=double)}
    shown = (torch.ones(1, dtype=double), torch.tensor(1.0, dtype=double), torch.tensor([-3.0], dtype=double))
    modulator = network.loss()(params, shown, {}, 0)[1][HIDDEN].modulator
    hidden = math.tanh(0.3)
    error = 1 - math.tanh(0.5 * hidden)
    expected = error if way is None else error * way * (1 - hidden**2)
    torch.testing.assert_close(modulator, torch.tensor([expected], dtype=double), rtol=1e-12, atol=0)


def test_the_order_of_hidden_units_does_not_matter() -> None:
    network = PlasticNetwork(2, 4, "sigmoid", feedback="random")
    start, backward = network.initial(SEED, torch.float64), network.feedback_weights(SEED, torch.float64)
    order = torch.tensor([2, 0, 3, 1])
    shuffled = {HIDDEN: start[HIDDEN][order], OUTPUT: start[OUTPUT][:, torch.cat([order, torch.tensor([4])])]}

    def path(params: Params, feedback: Tensor) -> Params:
        batches: list[Batch] = [(torch.tensor([1.0, bit], dtype=torch.float64), bit, feedback) for bit in (0.0, 1.0)]
        return adapt(params, batches, network.loss(), synaptic(), _random_rule())[-1].params

    plain, other = path(start, backward), path(shuffled, backward[order])
    torch.testing.assert_close(other[HIDDEN], plain[HIDDEN][order], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(other[OUTPUT][:, :4], plain[OUTPUT][:, order], rtol=1e-12, atol=1e-14)


def test_what_is_no_term_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no term 'z'; there are 1, y, x"):
        rule_of({"z": 1.0})
