"""The lifetimes section of the benchmark: meta-gradients of online learners against loops written for this one case."""

import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import gymnasium as gym
import torch
from torch import Tensor

from maml_rl.core.estimators import Carry, Lifetimes, truncated_unroll
from maml_rl.core.tree import map_tree, place, take
from maml_rl.core.types import Meta, Params
from maml_rl.rl.online.actor_critic import Experience, actor_critic
from maml_rl.rl.online.hyperparameters import FIXED, HyperparameterConfig, hyperparameter
from maml_rl.rl.online.learner import MetaLossConfig, OnlineLearner, OwnParameters
from maml_rl.rl.policies import policy_for
from maml_rl.systems.meta_gradient_config import Config, MetaConfig

__all__ = ["Case", "by_autograd", "by_estimator", "case", "lifetimes", "one_by_one"]

COUNTS, LOOPED = (64, 256, 1000), 64
ROLLOUTS, STEPS, OBSERVATIONS, ACTIONS = 15, 16, 30, 4
LEARNED, RATE, GAMMA, META_ENTROPY = "entropy_weight", 0.4, 0.99, 0.12
CONFIG = Config(
    learning_rate=HyperparameterConfig(RATE),
    gamma=HyperparameterConfig(GAMMA),
    gae_lambda=HyperparameterConfig(0.0),
    entropy_weight=HyperparameterConfig(0.5, learned="rewards"),
    meta=MetaConfig(rollouts=ROLLOUTS, loss=MetaLossConfig(GAMMA, 0.0, entropy_weight=META_ENTROPY)),
)
"""The windows and networks of configs/meta_gradient/two-colours.yaml. The learner does not clip its gradient, so
that it can be written by hand in a few lines."""


class Case(NamedTuple):
    """N lifetimes in the middle of their lives, and a window of data for each.

    Attributes:
        theta: their meta-parameters, [N, ...] a leaf.
        carry: where they are, [N, ...] a leaf.
        data: what they live through next, [N, K, 1, T, ...] a part.
    """

    theta: Meta
    carry: Carry
    data: Experience


Way = Callable[[Case], Params]
"""The gradient in what the entropy weight is made of, [N, ...] a leaf."""


def lifetimes(device: str, repetitions: int) -> dict[str, float]:
    """Meta-gradients/s of N lifetimes, each through a window of 15 rollouts of 16 steps, with networks of 64x64.

    `maml_rl` is this project's estimator on all lifetimes at once; `hand_written` the same in ordinary autograd on
    batched parameters, written for this one case; `loop` the same, one lifetime after the other; `estimator_loop` the
    estimator in `torch.func`, one lifetime after the other. They take turns, and the fastest repetition of each counts.
    """
    require_agreement(device)
    rates: dict[str, float] = {}
    for count in COUNTS:
        ways = {"maml_rl": by_estimator(count, traced=True), "hand_written": by_autograd}
        if count == LOOPED:
            ways |= {"loop": one_by_one(by_autograd), "estimator_loop": one_by_one(by_estimator(1, traced=False))}
        for name, seconds in _fastest(ways, case(count, torch.float32, device), repetitions).items():
            rates[f"{name}_{count}"] = count / seconds
        rates[f"maml_rl_per_hand_written_{count}"] = rates[f"maml_rl_{count}"] / rates[f"hand_written_{count}"]
    for loop in ("loop", "estimator_loop"):
        rates[f"maml_rl_per_{loop}_{LOOPED}"] = rates[f"maml_rl_{LOOPED}"] / rates[f"{loop}_{LOOPED}"]
    return rates


def require_agreement(device: str) -> None:
    """Raises `AssertionError` unless all ways compute the same gradients of three lifetimes in float64."""
    drawn = case(3, torch.float64, device)
    expected = by_estimator(3, traced=True, dtype=torch.float64)(drawn)
    alone = by_estimator(1, traced=False, dtype=torch.float64)
    for way in (by_autograd, one_by_one(by_autograd), one_by_one(alone)):
        torch.testing.assert_close(way(drawn), expected, rtol=1e-8, atol=1e-12)


def case(count: int, dtype: torch.dtype, device: str) -> Case:
    """N learners with weights of their own, and random data; a tenth of the steps end an episode."""
    learner, generator = _learner(dtype), torch.Generator().manual_seed(count)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    def stacked(draw: Callable[[], Params]) -> Params:
        return map_tree(lambda *leaves: torch.stack(leaves), *(draw() for _ in range(count)))

    window = (count, ROLLOUTS, 1, STEPS)
    terminated = (normal(*window) > 1.28).to(dtype)
    goes_on = 1 - terminated
    goes_on[..., -1] = 0
    observations, following = normal(*window, OBSERVATIONS), normal(*window, OBSERVATIONS)
    actions = torch.randint(ACTIONS, window, generator=generator)
    data = Experience(observations, following, actions, normal(*window), terminated, goes_on)
    fixed = {name: torch.full((count,), each.values[0], dtype=dtype) for name, each in CONFIG.hyperparameters.items()}
    learned = stacked(lambda: learner.own.entropy_weight.start(0.5, generator, dtype))
    params = stacked(lambda: learner.agent.initial(generator, dtype))
    carry = {
        "params": params,
        "memory": (),
        "rewards": normal(count, CONFIG.memory),
        "outlook": torch.zeros(count, dtype=dtype),
    }
    return Case(*place(({LEARNED: learned, FIXED: fixed}, carry, data), torch.device(device)))


def _learner(dtype: torch.dtype) -> OnlineLearner:
    own = [hyperparameter(name, each, OBSERVATIONS, CONFIG.memory) for name, each in CONFIG.hyperparameters.items()]
    policy = policy_for(CONFIG.policy, gym.spaces.Box(-1.0, 1.0, (OBSERVATIONS,)), gym.spaces.Discrete(ACTIONS))
    agent = actor_critic(policy, OBSERVATIONS, CONFIG.critic)
    return OnlineLearner(agent, OwnParameters(*own), CONFIG.learner, CONFIG.meta.loss, CONFIG.memory, dtype)


def by_estimator(count: int, traced: bool, dtype: torch.dtype = torch.float32) -> Way:
    """This project's estimator on N lifetimes at once."""
    living = Lifetimes(count, sys.maxsize, staggered=False, apart=True, traced=traced)
    estimator = truncated_unroll(_learner(dtype).problem(), living, ROLLOUTS)

    def way(drawn: Case) -> Params:
        device, generator = drawn.data.rewards.device, torch.Generator().manual_seed(0)
        begun = torch.ones(count, dtype=torch.int64, device=device)
        memory = {"carry": drawn.carry, "step": begun, "end": torch.full_like(begun, sys.maxsize), "seed": begun}
        return estimator.estimate(drawn.theta, memory, drawn.data, generator).gradient[LEARNED]

    return way


def one_by_one(way: Way) -> Way:
    """The plain loop: one lifetime after the other."""

    def looped(drawn: Case) -> Params:
        each = [way(take(drawn, index, index + 1)) for index in range(len(drawn.data.rewards))]
        return map_tree(lambda *leaves: torch.cat(leaves), *each)

    return looped


def by_autograd(drawn: Case) -> Params:
    """As one would write it in ordinary autograd for this learner alone, lambda 0: N lifetimes, [N, ...] a leaf.

    Losses are summed over lifetimes, so the gradient of one does not touch another.
    """
    theta = {name: leaf.detach().requires_grad_() for name, leaf in drawn.theta[LEARNED].items()}
    params = {name: leaf.detach().requires_grad_() for name, leaf in drawn.carry["params"].items()}
    rewards = drawn.carry["rewards"]
    total = rewards.new_zeros(())
    for k in range(ROLLOUTS):
        seen, following, actions, gains, ends, _ = (part[:, k, 0] for part in drawn.data)
        values, next_values = _forward(params, "critic.", torch.cat([seen, following], 1))[..., 0].chunk(2, 1)
        returns = gains + GAMMA * (1 - ends) * next_values
        advantages = returns - values
        rewards = torch.cat([rewards[:, 1:], gains.mean(1, keepdim=True)], 1)
        weight = torch.sigmoid(_forward(theta, "", rewards[:, None])[..., 0])

        inner = {name: leaf.view_as(leaf) for name, leaf in params.items()}  # targets are no part of the inner gradient
        log_p = _forward(inner, "actor.", seen).log_softmax(-1)
        chosen, entropy = log_p.gather(-1, actions[..., None])[..., 0], -(log_p.exp() * log_p).sum(-1)
        errors = returns - _forward(inner, "critic.", seen)[..., 0]
        loss = (-advantages * chosen - weight * entropy + 0.5 * errors.square()).mean(1).sum()
        total = total + (-advantages.detach() * chosen - META_ENTROPY * entropy).mean(1).sum()
        slopes = torch.autograd.grad(loss, list(inner.values()), create_graph=True)
        params = {name: leaf - RATE * slope for (name, leaf), slope in zip(inner.items(), slopes, strict=True)}
    slopes = torch.autograd.grad(total / ROLLOUTS, list(theta.values()))
    return dict(zip(theta, slopes, strict=True))


def _forward(params: Params, network: str, inputs: Tensor) -> Tensor:
    """A perceptron with a layer's weights [N, out, in] for inputs [N, S, in]."""
    layers = sum(name.startswith(network) and name.endswith("weight") for name in params)
    for layer in range(layers):
        weight, bias = params[f"{network}layer{layer}.weight"], params[f"{network}layer{layer}.bias"]
        inputs = torch.baddbmm(bias[:, None], inputs, weight.mT)
        inputs = torch.relu(inputs) if layer < layers - 1 else inputs
    return inputs


def _fastest(ways: dict[str, Way], drawn: Case, repetitions: int) -> dict[str, float]:
    """Seconds of the fastest repetition of each way; the first one warms up."""
    seconds = dict.fromkeys(ways, float("inf"))
    for repetition in range(repetitions + 1):
        for name, way in ways.items():
            _synchronise(drawn)
            began = time.perf_counter()
            way(drawn)
            _synchronise(drawn)
            if repetition:
                seconds[name] = min(seconds[name], time.perf_counter() - began)
    return seconds


def _synchronise(drawn: Case) -> None:
    if drawn.data.rewards.device.type == "cuda":
        torch.cuda.synchronize()
