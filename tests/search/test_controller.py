"""The controller: a distribution over all programs, and what REINFORCE and PPO make of scores; in float64."""

import pytest
import torch
from torch import Tensor

from maml_rl.core.rules.language import Language
from maml_rl.core.tree import flatten, map_tree
from maml_rl.core.types import Params
from maml_rl.search import ControllerConfig, controller, initial_controller, log_probabilities, sampled
from maml_rl.search.controller_searcher import surrogate

LANGUAGE = Language(2, ("g", "m"), ("{}", "sign({})"), ("({} + {})", "{}"))
ALL = LANGUAGE.programs()


def _generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _params() -> Params:
    """Weights of a controller that is far from uniform."""
    return map_tree(lambda leaf: 25 * leaf, initial_controller(LANGUAGE, 6, _generator(), torch.float64))


def _scores() -> Tensor:
    return torch.rand(len(ALL), generator=_generator(4), dtype=torch.float64)


def _gradient(params: Params, objective: Tensor) -> Tensor:
    slopes = torch.autograd.grad(objective, list(params.values()), materialize_grads=True)
    return torch.cat([slope.flatten() for slope in slopes])


def _leaves() -> Params:
    return {name: leaf.requires_grad_() for name, leaf in _params().items()}


def test_probabilities_sum_to_one() -> None:
    log_p, _ = log_probabilities(_params(), LANGUAGE, ALL)
    assert len(ALL) == LANGUAGE.size == 32 * 72
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert log_p.exp().max() > 10 / len(ALL)


def test_entropies_on_the_way_have_the_entropy_as_their_mean() -> None:
    log_p, entropy = log_probabilities(_params(), LANGUAGE, ALL)
    assert (log_p.exp() * entropy).sum().item() == pytest.approx(-(log_p.exp() * log_p).sum().item(), abs=1e-12)


def test_programs_are_drawn_by_their_probabilities() -> None:
    """The share of draws with each word in each place, against the sum of probabilities, within 4 standard errors."""
    draws = sampled(_params(), LANGUAGE, 20_000, _generator()).flatten(1)
    p = log_probabilities(_params(), LANGUAGE, ALL)[0].exp()
    for place in range(10):
        for word in range(int(ALL.flatten(1)[:, place].max()) + 1):
            expected = float(p[ALL.flatten(1)[:, place] == word].sum())
            share = float((draws[:, place] == word).double().mean())
            assert abs(share - expected) < 4 * (expected * (1 - expected) / len(draws)) ** 0.5


@pytest.mark.parametrize("baseline", [0.0, 0.7])
def test_reinforce_is_the_gradient_of_the_expected_score(baseline: float) -> None:
    """Over all programs, weighted by their probabilities: whatever the baseline."""
    params, scores = _leaves(), _scores()
    log_p, _ = log_probabilities(params, LANGUAGE, ALL)
    exact = _gradient(params, (log_p.exp() * scores).sum())
    log_p, _ = log_probabilities(params, LANGUAGE, ALL)
    weighted = len(ALL) * log_p.exp().detach() * (scores - baseline)
    torch.testing.assert_close(_gradient(params, surrogate(log_p, log_p, weighted, None)), exact, rtol=1e-9, atol=1e-12)
    assert exact.norm() > 1e-3


def test_reinforce_on_drawn_programs_is_right_in_the_mean() -> None:
    params, scores = _leaves(), (ALL[:, 1, 0] == 2).double()
    log_p, _ = log_probabilities(params, LANGUAGE, ALL)
    exact = _gradient(params, (log_p.exp() * scores).sum())
    estimates = []
    for repeat in range(40):
        programs = sampled(params, LANGUAGE, 200, _generator(repeat))
        log_p, _ = log_probabilities(params, LANGUAGE, programs)
        advantages = (programs[:, 1, 0] == 2).double() - 0.3
        estimates.append(_gradient(params, surrogate(log_p, log_p, advantages, None)))
    along = torch.stack(estimates) @ exact / exact.norm()
    assert abs(along.mean() - exact.norm()) < 4 * along.std() / len(along) ** 0.5
    assert along.mean() > 10 * along.std() / len(along) ** 0.5


def test_ppo_begins_with_reinforces_gradient_and_is_cut_off_further_on() -> None:
    params, scores = _leaves(), _scores()
    log_p, _ = log_probabilities(params, LANGUAGE, ALL)
    old, advantages = log_p.detach(), scores - 0.5
    expected = _gradient(params, (advantages * log_probabilities(params, LANGUAGE, ALL)[0]).mean())
    torch.testing.assert_close(
        _gradient(params, surrogate(log_p, old, advantages, 0.2)), expected, rtol=1e-9, atol=1e-14
    )
    ratio = torch.tensor([1.3, 1.3, 0.7, 0.7, 1.1], dtype=torch.float64).log().requires_grad_()
    sides = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0], dtype=torch.float64)
    (slope,) = torch.autograd.grad(surrogate(ratio, torch.zeros(5), sides, 0.2), ratio)
    torch.testing.assert_close(5 * slope, torch.tensor([0.0, -1.3, 0.7, 0.0, 1.1], dtype=torch.float64))


@pytest.mark.parametrize("method", ["reinforce", "ppo"])
def test_learning_follows_advantages_and_leaves_the_state_as_it_is(method: str) -> None:
    """The first batch's mean is the first baseline; a good program gets likelier, a bad one less likely."""
    learner = controller(LANGUAGE, 4, ControllerConfig(method, 6, 0.01, 0.0, 0.9), torch.float64)  # type: ignore[arg-type]
    state = learner.initial(_generator())
    kept, programs = map_tree(torch.clone, state), ALL[[5, 1900]]
    after, told = learner.learn(state, programs, torch.tensor([0.2, 0.8], dtype=torch.float64))
    before, _ = log_probabilities(state["params"], LANGUAGE, programs)
    change = log_probabilities(after["params"], LANGUAGE, programs)[0] - before
    assert change[0] < 0 < change[1]
    assert told["entropy"] == pytest.approx(float(log_probabilities(state["params"], LANGUAGE, programs)[1].mean()))
    assert torch.equal(flatten(map_tree(torch.Tensor.double, state)), flatten(map_tree(torch.Tensor.double, kept)))
    assert float(after["baseline"]) == pytest.approx(0.5)
    later, _ = learner.learn(after, programs, torch.tensor([1.0, 1.0], dtype=torch.float64))
    assert float(later["baseline"]) == pytest.approx(0.9 * 0.5 + 0.1)


def test_an_entropy_weight_alone_makes_it_more_uniform() -> None:
    learner = controller(LANGUAGE, 64, ControllerConfig(units=6, learning_rate=0.05, entropy_weight=1.0), torch.float64)
    state = {**learner.initial(_generator()), "params": _params()}
    entropies = []
    for index in range(30):
        programs = learner.propose(state, _generator(index))
        state, told = learner.learn(state, programs, torch.zeros(64, dtype=torch.float64))
        entropies.append(told["entropy"])
    assert entropies[-1] > entropies[0] + 0.3
    assert entropies[-1] <= torch.tensor(LANGUAGE.size).log() + 1e-9
