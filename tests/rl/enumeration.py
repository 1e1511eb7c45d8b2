"""A Markov decision process so small that every expectation is a sum over all of its episodes."""

from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from maml_rl.core.tree import flatten, unflatten
from maml_rl.core.types import Params
from maml_rl.rl.losses import RLBatch
from maml_rl.rl.policies import Policy, categorical_mlp

STATES, ACTIONS, HORIZON, RATE = 2, 2, 3, 0.6


class Episodes(NamedTuple):
    """All episodes: states and actions [M, T], rewards to go [M, T], and the chance of their transitions [M]."""

    states: Tensor
    actions: Tensor
    to_go: Tensor
    chances: Tensor


def make_policy() -> tuple[Policy, Params]:
    """A softmax of a linear function of the state's one-hot vector."""
    policy = categorical_mlp(STATES, ACTIONS, hidden=())
    generator = torch.Generator().manual_seed(3)
    params = policy.initial(generator, torch.float64)
    return policy, {name: leaf + 0.3 * torch.randn(leaf.shape, generator=generator) for name, leaf in params.items()}


def enumerate_episodes(horizon: int = HORIZON) -> Episodes:
    """Every episode of the process, whose transitions and rewards are fixed numbers."""
    generator = torch.Generator().manual_seed(8)
    moves = torch.rand(STATES, ACTIONS, STATES, generator=generator, dtype=torch.float64)
    moves = moves / moves.sum(-1, keepdim=True)
    means = 2 * torch.randn(STATES, ACTIONS, generator=generator, dtype=torch.float64)
    states, actions, rewards, chances = [], [], [], []
    for taken in product(range(ACTIONS), repeat=horizon):
        for visited in product(range(STATES), repeat=horizon - 1):
            path = (0, *visited)
            chances.append(
                torch.stack([moves[path[t], taken[t], path[t + 1]] for t in range(horizon - 1)]).prod()
                if horizon > 1
                else torch.ones((), dtype=torch.float64)
            )
            states.append(path)
            actions.append(taken)
            rewards.append([float(means[path[t], taken[t]]) for t in range(horizon)])
    paid = torch.tensor(rewards, dtype=torch.float64)
    to_go = paid.flip(-1).cumsum(-1).flip(-1)
    return Episodes(torch.tensor(states), torch.tensor(actions), to_go, torch.stack(chances))


def one_hot(episodes: Episodes) -> Tensor:
    return torch.eye(STATES, dtype=torch.float64)[episodes.states]


def log_probs(theta: Tensor, like: Params, episodes: Episodes) -> Tensor:
    """log pi(a_t | s_t), [M, T], written out without the policy's own code."""
    params = unflatten(theta, like)
    logits = one_hot(episodes) @ params["layer0.weight"].T + params["layer0.bias"]
    return torch.log_softmax(logits, -1).gather(-1, episodes.actions[..., None])[..., 0]


def value(theta: Tensor, like: Params, episodes: Episodes) -> Tensor:
    """The expected return, exactly."""
    return (episodes.chances * log_probs(theta, like, episodes).sum(-1).exp() * episodes.to_go[:, 0]).sum()


def batch_of(
    theta: Tensor, like: Params, episodes: Episodes, counts: Tensor | None = None, baseline: Tensor | None = None
) -> RLBatch:
    """All episodes as the samples of one task, each as often as it is likely, or as `counts` [M] says.

    `baseline` has a value for each state and time step, [S, T].
    """
    taken = log_probs(theta.detach(), like, episodes)
    likely = episodes.chances * taken.sum(-1).exp() if counts is None else counts
    advantages = episodes.to_go
    if baseline is not None:
        advantages = advantages - baseline[episodes.states, torch.arange(episodes.states.shape[1])]
    horizon = episodes.states.shape[1]
    return RLBatch(
        one_hot(episodes).flatten(0, 1),
        episodes.actions.flatten(),
        advantages.flatten(),
        likely[:, None].expand(-1, horizon).flatten(),
        taken.flatten(),
        torch.full((len(taken),), float(horizon), dtype=torch.float64),
        torch.ones((), dtype=torch.float64),
    )


def as_tasks(*batches: RLBatch) -> RLBatch:
    """Batches of single tasks as one of several."""
    return RLBatch(*(torch.stack(parts) for parts in zip(*batches, strict=True)))


def start() -> tuple[Policy, Params, Tensor]:
    policy, params = make_policy()
    return policy, params, flatten(params)
