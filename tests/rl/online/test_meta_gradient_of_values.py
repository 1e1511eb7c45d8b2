"""Meta-gradients of a learner of values in a table, against the closed form of one update (Xu et al., 2018)."""

from typing import Any

import numpy as np
import pytest
import torch

from maml_rl.core.estimators import Lifetimes, decayed_trace, truncated_unroll
from maml_rl.core.types import Meta
from maml_rl.rl.online.actor_critic import Experience
from maml_rl.rl.online.hyperparameters import Form, HyperparameterConfig
from maml_rl.rl.online.learner import MetaLossConfig, OnlineLearner
from tests.rl.online.learners import experience, learner, normal, theta_of

STATES, E, T, RATE, WEIGHT = 4, 2, 6, 0.7, 0.6
META = MetaLossConfig(0.95, 0.8, 0.0, WEIGHT, 0.0)
LIFETIMES = Lifetimes(1, 100, staggered=False)
forms = pytest.mark.parametrize("form", ["one", "table"])


def _learner(form: Form) -> OnlineLearner:
    own = {name: HyperparameterConfig(start, form) for name, start in (("gamma", 0.9), ("gae_lambda", 0.7))}
    return learner(STATES, 1, meta_loss=META, table=True, **own)


def _data() -> Experience:
    """Two rollouts among four states, [1, 2, E, T] a part."""
    drawn = experience(0, (1, 2, E), T, STATES, act=lambda seed, shape: torch.zeros(shape, dtype=torch.int64))
    seen, following = (torch.nn.functional.one_hot(part.argmax(-1), STATES).double() for part in drawn[:2])
    return drawn._replace(observations=seen, next_observations=following)


def _memory(one: OnlineLearner, theta: Meta, estimator: Any) -> Any:
    """In the middle of a lifetime, with values that are not zero."""
    memory = estimator.init(theta, torch.Generator().manual_seed(0))
    params = {**memory["carry"]["params"], "critic.table": normal(9, 1, STATES)}
    return {**memory, "carry": {**memory["carry"], "params": params}, "step": torch.ones_like(memory["step"])}


class _Rollout:
    """One rollout in numpy: lambda-returns and their derivatives, each by a recursion of its own."""

    def __init__(self, data: Experience, index: int) -> None:
        parts = [part[0, index].numpy() for part in data]
        self.states, self.following = parts[0].argmax(-1), parts[1].argmax(-1)
        self.rewards, self.lives, self.goes_on = parts[3], 1 - parts[4], parts[5]

    def returns(self, v: np.ndarray, gammas: np.ndarray, lambdas: np.ndarray) -> tuple[np.ndarray, ...]:
        """G [E, T], dG/dgamma_j and dG/dlambda_j [E, T, S], with a gamma and a lambda of each state."""
        shape = (*self.rewards.shape, STATES)
        g, by_gamma, by_lambda = np.zeros(shape[:2]), np.zeros(shape), np.zeros(shape)
        for e in range(E):
            later, later_gamma, later_lambda = 0.0, np.zeros(STATES), np.zeros(STATES)
            for t in reversed(range(T)):
                s = self.following[e, t]
                one = np.eye(STATES)[s]
                discount, trace = gammas[s] * self.lives[e, t], lambdas[s] * self.goes_on[e, t]
                mixed = (1 - trace) * v[s] + trace * later
                by_gamma[e, t] = one * self.lives[e, t] * mixed + discount * trace * later_gamma
                by_lambda[e, t] = discount * (one * self.goes_on[e, t] * (later - v[s]) + trace * later_lambda)
                g[e, t] = later = self.rewards[e, t] + discount * mixed
                later_gamma, later_lambda = by_gamma[e, t], by_lambda[e, t]
        return g, by_gamma, by_lambda

    def slope(self, errors: np.ndarray) -> np.ndarray:
        """mean_t of errors [E, T, ...] at each one's state, [S, ...]: mean_t error_t dv(s_t)/dv."""
        total = np.zeros((STATES, *errors.shape[2:]))
        np.add.at(total, self.states, errors)
        return total / (E * T)


def _closed_form(theta: Meta, data: Experience, v: np.ndarray, form: Form) -> tuple[np.ndarray, np.ndarray]:
    """dJ'/dx of the logits of gamma and of lambda, for one update by the first rollout and J' on the second."""
    parts = [1 / (1 + np.exp(-theta[name]["logits"].numpy())) for name in ("gamma", "gae_lambda")]
    gammas, lambdas = (np.broadcast_to(part, STATES) for part in parts)
    first, second = _Rollout(data, 0), _Rollout(data, 1)
    g, by_gamma, by_lambda = first.returns(v, gammas, lambdas)
    moved = v + RATE * first.slope(g - v[first.states])
    wanted, *_ = second.returns(moved, np.full(STATES, META.gamma), np.full(STATES, META.gae_lambda))
    judged = -WEIGHT * second.slope(wanted - moved[second.states])
    slopes = []
    for part, derivative in zip(parts, (by_gamma, by_lambda), strict=True):
        by_state = judged @ (RATE * first.slope(derivative))
        slopes.append((by_state if form == "table" else by_state.sum()) * part * (1 - part))
    return slopes[0], slopes[1]


@forms
def test_one_update_has_its_closed_form(form: Form) -> None:
    """Two rollouts of an unroll, and of a trace with decay 0, see the one update; both take the mean over them."""
    one = _learner(form)
    theta, data = theta_of(one, 0.5, learning_rate=RATE), _data()
    for estimator in (
        truncated_unroll(one.problem(), LIFETIMES, 2),
        decayed_trace(one.problem(), LIFETIMES, 2, 0.0),
    ):
        memory = _memory(one, theta, estimator)
        v = memory["carry"]["params"]["critic.table"][0].numpy()
        gradient = estimator.estimate(theta, memory, data, torch.Generator().manual_seed(1)).gradient
        for name, wanted in zip(("gamma", "gae_lambda"), _closed_form(theta, data, v, form), strict=True):
            ours = 2 * gradient[name]["logits"].numpy()
            np.testing.assert_allclose(ours, wanted, rtol=1e-11, atol=1e-14)
            assert np.abs(wanted).max() > 1e-4


@forms
def test_the_closed_form_is_the_finite_difference_of_the_update(form: Form) -> None:
    """With the targets of the meta-loss held where they are without a difference."""
    one, data = _learner(form), _data()
    theta = theta_of(one, 0.5, learning_rate=RATE)
    v = normal(9, 1, STATES)[0].numpy()
    first, second = _Rollout(data, 0), _Rollout(data, 1)

    def moved(logits: list[np.ndarray]) -> np.ndarray:
        gammas, lambdas = (np.broadcast_to(1 / (1 + np.exp(-each)), STATES) for each in logits)
        return v + RATE * first.slope(first.returns(v, gammas, lambdas)[0] - v[first.states])

    base = [theta[name]["logits"].numpy() for name in ("gamma", "gae_lambda")]
    wanted, *_ = second.returns(moved(base), np.full(STATES, META.gamma), np.full(STATES, META.gae_lambda))

    def judged(logits: list[np.ndarray]) -> float:
        return float(0.5 * WEIGHT * ((wanted - moved(logits)[second.states]) ** 2).mean())

    for which, slopes in enumerate(_closed_form(theta, data, v, form)):
        for index in np.ndindex(slopes.shape):
            sides = []
            for side in (1e-5, -1e-5):
                logits = [each.copy() for each in base]
                logits[which][index] += side
                sides.append(judged(logits))
            assert (sides[0] - sides[1]) / 2e-5 == pytest.approx(slopes[index], rel=1e-6, abs=1e-10)
