"""Inner losses against the exact meta-gradient of a small Markov decision process, in float64."""

import pytest
import torch
from torch import Tensor

from maml_rl.core import constant, final, sgd, unrolled
from maml_rl.core.tree import flatten, unflatten
from maml_rl.rl.losses import INNER_LOSSES, RLBatch, thinned
from maml_rl.rl.policy_learner import POLICY, PolicyLearner
from maml_rl.rl.updates.meta_surrogate import MetaSurrogate
from tests.rl import enumeration as mdp
from tests.rl.enumeration import RATE

NAMES = ["log_probability", "likelihood_ratio", "dice"]
BASELINE = torch.tensor([[0.3, -1.0, 0.7], [2.0, 0.1, -0.4]], dtype=torch.float64)


def _loss(name: str, batch: RLBatch) -> object:
    policy, params, _ = mdp.start()
    loss = INNER_LOSSES[name].of(policy)
    return lambda theta: loss(unflatten(theta, params), batch, {}, 0)[0]


def _hessian(name: str, batch: RLBatch) -> Tensor:
    _, _, theta = mdp.start()
    return torch.func.hessian(_loss(name, batch))(theta)


def _exact_hessian(episodes: mdp.Episodes) -> Tensor:
    _, params, theta = mdp.start()
    return -torch.autograd.functional.hessian(lambda at: mdp.value(at, params, episodes), theta)


@pytest.mark.parametrize("baseline", [None, BASELINE], ids=["no baseline", "baseline"])
@pytest.mark.parametrize("name", NAMES)
def test_every_inner_loss_has_the_exact_policy_gradient(name: str, baseline: Tensor | None) -> None:
    _, params, theta = mdp.start()
    episodes = mdp.enumerate_episodes()
    batch = mdp.batch_of(theta, params, episodes, baseline=baseline)
    (expected,) = torch.autograd.grad(mdp.value(theta.requires_grad_(), params, episodes), theta)
    torch.testing.assert_close(torch.func.grad(_loss(name, batch))(theta.detach()), -expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("baseline", [None, BASELINE], ids=["no baseline", "baseline"])
def test_dice_has_the_exact_hessian_with_and_without_a_baseline(baseline: Tensor | None) -> None:
    _, params, theta = mdp.start()
    episodes = mdp.enumerate_episodes()
    batch = mdp.batch_of(theta, params, episodes, baseline=baseline)
    torch.testing.assert_close(_hessian("dice", batch), _exact_hessian(episodes), rtol=1e-11, atol=1e-12)


def test_the_hessians_of_the_others_are_off_by_what_the_papers_say() -> None:
    _, params, theta = mdp.start()
    episodes = mdp.enumerate_episodes()
    batch = mdp.batch_of(theta, params, episodes)
    exact = _exact_hessian(episodes)
    errors = {name: float((_hessian(name, batch) - exact).norm() / exact.norm()) for name in NAMES}
    assert errors["log_probability"] == pytest.approx(0.325, abs=0.001)  # as docs/meta-learners.md has them
    assert errors["likelihood_ratio"] == pytest.approx(0.0737, abs=0.0001)
    assert errors["dice"] < 1e-11
    # What the ratio lacks are products of the scores of different time steps (Rothfuss et al., 2019, appendix A).
    scores = torch.func.jacfwd(lambda at: mdp.log_probs(at, params, episodes))(theta)
    likely = episodes.chances * mdp.log_probs(theta, params, episodes).sum(-1).exp()
    lacking = torch.zeros_like(exact)
    for t in range(mdp.HORIZON):
        for earlier in range(t):
            weights = likely * episodes.to_go[:, t]
            cross = torch.einsum("m,mp,mq->pq", weights, scores[:, t], scores[:, earlier])
            lacking = lacking - cross - cross.T
    torch.testing.assert_close(_hessian("likelihood_ratio", batch) + lacking, exact, rtol=1e-10, atol=1e-12)


def test_the_ratio_is_exact_where_an_episode_has_one_step() -> None:
    _, params, theta = mdp.start()
    episodes = mdp.enumerate_episodes(horizon=1)
    batch = mdp.batch_of(theta, params, episodes)
    for name in ("likelihood_ratio", "dice"):
        torch.testing.assert_close(_hessian(name, batch), _exact_hessian(episodes), rtol=1e-12, atol=1e-13)


def _meta_gradient(name: str, before: RLBatch, after: RLBatch, credits: Tensor | None = None) -> Tensor:
    policy, params, theta = mdp.start()
    learner = PolicyLearner(policy, sgd(constant(RATE)), unrolled(), INNER_LOSSES[name])
    batches = [mdp.as_tasks(before), mdp.as_tasks(after)]
    problem = MetaSurrogate(learner, {POLICY: params}, batches, final(), credits=credits)
    return problem.linearise(theta).gradient()


def _exact_meta_gradient(episodes: mdp.Episodes) -> tuple[Tensor, Tensor]:
    """-grad V(theta + a grad V(theta)), and the adapted parameters."""
    _, params, theta = mdp.start()

    def adapted(at: Tensor) -> Tensor:
        return at + RATE * torch.func.grad(lambda phi: mdp.value(phi, params, episodes))(at)

    exact = torch.func.grad(lambda at: -mdp.value(adapted(at), params, episodes))(theta)
    for index in range(len(theta)):  # and by finite differences
        step = torch.zeros_like(theta)
        step[index] = 1e-5
        above, below = (float(mdp.value(adapted(theta + sign * step), params, episodes)) for sign in (1, -1))
        assert -(above - below) / 2e-5 == pytest.approx(float(exact[index]), rel=1e-6, abs=1e-9)
    return exact, adapted(theta)


def test_the_meta_gradient_of_dice_is_exact_and_the_bias_of_the_others_has_a_size() -> None:
    _, params, theta = mdp.start()
    episodes = mdp.enumerate_episodes()
    exact, adapted = _exact_meta_gradient(episodes)
    before, after = (mdp.batch_of(at, params, episodes) for at in (theta, adapted))
    errors = {name: float((_meta_gradient(name, before, after) - exact).norm() / exact.norm()) for name in NAMES}
    assert errors["dice"] < 1e-10
    assert errors["log_probability"] == pytest.approx(0.703, abs=0.001)
    assert errors["likelihood_ratio"] == pytest.approx(0.132, abs=0.001)


@pytest.mark.parametrize("name", NAMES)
def test_only_dice_converges_to_the_exact_hessian_at_the_monte_carlo_rate(name: str) -> None:
    _, params, theta = mdp.start()
    episodes = mdp.enumerate_episodes()
    exact = _exact_hessian(episodes)
    likely = episodes.chances * mdp.log_probs(theta, params, episodes).sum(-1).exp()
    generator = torch.Generator().manual_seed(5)
    errors = []
    for count in (100, 10_000):
        squares = []
        for _ in range(40):
            drawn = torch.multinomial(likely, count, True, generator=generator)
            counts = torch.bincount(drawn, minlength=len(likely)).double() / count
            batch = mdp.batch_of(theta, params, episodes, counts=counts)
            squares.append(float((_hessian(name, batch) - exact).square().sum()))
        errors.append((sum(squares) / len(squares)) ** 0.5)
    if name == "dice":
        assert errors[0] / errors[1] == pytest.approx(10, rel=0.25)
    else:
        bias = float((_hessian(name, mdp.batch_of(theta, params, episodes)) - exact).norm())
        assert errors[1] == pytest.approx(bias, rel=0.05)


def test_the_meta_gradient_of_dice_converges_at_the_monte_carlo_rate_once_its_start_is_exact() -> None:
    """Sampled curvature at the exact adapted parameters: the mean is exact, the error falls with the root."""
    _, params, theta = mdp.start()
    episodes = mdp.enumerate_episodes()
    exact, adapted = _exact_meta_gradient(episodes)
    likely = episodes.chances * mdp.log_probs(theta, params, episodes).sum(-1).exp()
    slope = torch.func.grad(lambda at: -mdp.value(at, params, episodes))(adapted)
    generator, errors = torch.Generator().manual_seed(6), []
    for count in (100, 10_000):
        squares = []
        for _ in range(40):
            drawn = torch.multinomial(likely, count, True, generator=generator)
            counts = torch.bincount(drawn, minlength=len(likely)).double() / count
            curvature = _hessian("dice", mdp.batch_of(theta, params, episodes, counts=counts))
            squares.append(float((slope - RATE * curvature @ slope - exact).square().sum()))
        errors.append((sum(squares) / len(squares)) ** 0.5)
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.25)


def test_e_mamls_credit_is_exact_over_two_inner_steps() -> None:
    _, params, theta = mdp.start()
    episodes = mdp.enumerate_episodes(horizon=2)
    count, alone = len(episodes.states), torch.eye(len(episodes.states), dtype=torch.float64)

    def step(at: Tensor, index: int) -> Tensor:
        taken = torch.func.grad(lambda phi: (mdp.log_probs(phi, params, episodes)[index] * episodes.to_go[index]).sum())
        return at + RATE * taken(at)

    def chances(at: Tensor) -> Tensor:
        return episodes.chances * mdp.log_probs(at, params, episodes).sum(-1).exp()

    def expectation(at: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for first in range(count):
            middle = step(at, first)
            reached = [mdp.value(step(middle, second), params, episodes) for second in range(count)]
            total = total + chances(at)[first] * (chances(middle) * torch.stack(reached)).sum()
        return total

    exact = -torch.func.grad(expectation)(theta)
    policy = mdp.start()[0]
    learner = PolicyLearner(policy, sgd(constant(RATE)), unrolled(), INNER_LOSSES["log_probability"])
    total = torch.zeros_like(theta)
    for first in range(count):
        middle = step(theta, first)
        for second in range(count):
            phi = step(middle, second)
            batches = [
                mdp.batch_of(theta, params, episodes, counts=alone[first]),
                mdp.batch_of(middle, params, episodes, counts=alone[second]),
                mdp.batch_of(phi, params, episodes),
            ]
            credits = mdp.value(phi, params, episodes)[None]
            data = [mdp.as_tasks(batch) for batch in batches]
            problem = MetaSurrogate(learner, {POLICY: params}, data, final(), credits=credits)
            total += chances(theta)[first] * chances(middle)[second] * problem.linearise(theta).gradient()
    torch.testing.assert_close(total, exact, rtol=1e-9, atol=1e-12)


def test_e_mamls_credit_makes_the_gradient_that_of_the_expectation_over_data_sets() -> None:
    """J(theta) = sum_D p_theta(D) V(theta + a g(theta, D)) over all data sets D of one episode."""
    _, params, theta = mdp.start()
    episodes = mdp.enumerate_episodes()
    count = len(episodes.states)
    alone = torch.eye(count, dtype=torch.float64)

    def adapted(at: Tensor, index: int) -> Tensor:
        taken = torch.func.grad(lambda phi: (mdp.log_probs(phi, params, episodes)[index] * episodes.to_go[index]).sum())
        return at + RATE * taken(at)

    def expectation(at: Tensor) -> Tensor:
        chances = episodes.chances * mdp.log_probs(at, params, episodes).sum(-1).exp()
        reached = [mdp.value(adapted(at, index), params, episodes) for index in range(count)]
        return (chances * torch.stack(reached)).sum()

    exact = -torch.func.grad(expectation)(theta)
    chances = episodes.chances * mdp.log_probs(theta, params, episodes).sum(-1).exp()
    total = {"with": torch.zeros_like(theta), "without": torch.zeros_like(theta)}
    for index in range(count):
        phi = adapted(theta, index)
        before = mdp.batch_of(theta, params, episodes, counts=alone[index])
        after = mdp.batch_of(phi, params, episodes)
        credits = mdp.value(phi, params, episodes)[None]
        total["with"] += chances[index] * _meta_gradient("log_probability", before, after, credits)
        total["without"] += chances[index] * _meta_gradient("log_probability", before, after)
    torch.testing.assert_close(total["with"], exact, rtol=1e-10, atol=1e-12)
    assert float((total["without"] - exact).norm() / exact.norm()) > 0.1


def test_a_discount_biases_dice_as_the_page_says() -> None:
    """Of the discounted return, with rewards to go that are discounted from their own time step on."""
    _, params, theta = mdp.start()
    episodes = mdp.enumerate_episodes()
    paid = episodes.to_go - torch.nn.functional.pad(episodes.to_go[:, 1:], (0, 1))
    to_go = torch.stack([sum(0.9 ** (k - t) * paid[:, k] for k in range(t, 3)) for t in range(3)], -1)
    discounted = episodes._replace(to_go=to_go)
    exact = _exact_hessian(discounted)
    batch = mdp.batch_of(theta, params, discounted)
    errors = {
        name: float((_hessian(name, batch) - exact).norm() / exact.norm()) for name in ("dice", "likelihood_ratio")
    }
    assert errors == pytest.approx({"dice": 0.128, "likelihood_ratio": 0.082}, abs=0.002)


@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_of_the_expectation(name: str) -> None:
    """The ratio's value away from the samples' policy is the expected return there, step by step."""
    policy, params, theta = mdp.start()
    episodes = mdp.enumerate_episodes(horizon=1)
    batch = mdp.batch_of(theta, params, episodes)
    moved = theta + 0.3 * torch.cos(torch.arange(len(theta), dtype=theta.dtype))
    result, _ = INNER_LOSSES[name].of(policy)(unflatten(moved, params), batch, {}, 0)
    expected = {
        "likelihood_ratio": -mdp.value(moved, params, episodes),
        "log_probability": -(batch.weights * batch.advantages * mdp.log_probs(moved, params, episodes)[:, 0]).sum(),
        "dice": torch.zeros((), dtype=torch.float64),
    }[name]
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-14)


def test_what_is_behind_an_episodes_end_does_not_count_for_dice() -> None:
    _, params, theta = mdp.start()
    batch = mdp.batch_of(theta, params, mdp.enumerate_episodes())
    weights = batch.weights.view(-1, mdp.HORIZON).clone()
    weights[::2, 2:] = 0.0  # every second episode ends after two steps
    cut = batch._replace(weights=weights.flatten())
    lived = weights.flatten() > 0
    wild = torch.where(lived[:, None], cut.observations, torch.inf)  # makes the log-probability behind the end nan
    other = cut._replace(observations=wild, actions=torch.where(lived, cut.actions, 1 - cut.actions))
    policy, _, _ = mdp.start()
    assert not bool(policy.act(params, wild).log_prob(other.actions)[~lived].isfinite().any())
    loss = INNER_LOSSES["dice"].of(policy)
    assert float(loss(params, other, {}, 0)[0]) == float(loss(params, cut, {}, 0)[0])
    rewritten = cut._replace(actions=torch.where(lived, cut.actions, 1 - cut.actions))
    assert torch.equal(_hessian("dice", cut), _hessian("dice", rewritten))


def test_whole_episodes_are_left_out_for_dice() -> None:
    _, params, theta = mdp.start()
    batch = mdp.as_tasks(mdp.batch_of(theta, params, mdp.enumerate_episodes()))
    few = thinned(batch, 4, whole_episodes=True)
    kept = batch.observations.view(32, mdp.HORIZON, -1)[::4].flatten(0, 1)
    assert torch.equal(few.observations[0], kept)
    assert few.lengths.shape == (1, 8)
    assert float(few.weights.sum()) == pytest.approx(1.0)


def test_flat_parameters_are_those_of_the_policy() -> None:
    policy, params, theta = mdp.start()
    episodes = mdp.enumerate_episodes()
    ours = policy.act(params, mdp.one_hot(episodes).flatten(0, 1)).log_prob(episodes.actions.flatten())
    torch.testing.assert_close(ours, mdp.log_probs(theta, params, episodes).flatten(), rtol=1e-13, atol=1e-14)
    assert torch.equal(flatten(params), theta)
