"""Returns and generalised advantages by backward recursion (Schulman et al., 2016), and their normalisation."""

import torch
from torch import Tensor

__all__ = ["discounted_returns", "generalised_advantages", "lambda_advantages", "normalise"]


def discounted_returns(rewards: Tensor, discount: float) -> Tensor:
    """G_t = r_t + g G_{t+1}.

    Args:
        rewards: [..., T], zero behind an episode's end.
        discount: g.
    """
    result = torch.empty_like(rewards)
    running = torch.zeros_like(rewards[..., 0])
    for t in range(rewards.shape[-1] - 1, -1, -1):
        running = rewards[..., t] + discount * running
        result[..., t] = running
    return result


def generalised_advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, after: Tensor, discount: float, gae_lambda: float
) -> Tensor:
    """A_t = d_t + g l A_{t+1}, d_t = r_t + g v_{t+1} - v_t (Schulman et al., 2016, equation 16).

    Args:
        rewards: [..., T], zero where the mask is.
        values: v_t, [..., T].
        mask: [..., T], 1 for steps that happened.
        after: v behind each episode's last step, [...]: zero where the horizon or the task ends it.
        discount: g.
        gae_lambda: l.

    Returns:
        [..., T], zero where the mask is.
    """
    result = torch.zeros_like(rewards)
    running = torch.zeros_like(after)
    next_value = after
    for t in range(rewards.shape[-1] - 1, -1, -1):
        valid = mask[..., t] > 0
        delta = rewards[..., t] + discount * next_value - values[..., t]
        running = torch.where(valid, delta + discount * gae_lambda * running, running)
        next_value = torch.where(valid, values[..., t], next_value)
        result[..., t] = torch.where(valid, running, 0.0)
    return result


def lambda_advantages(
    rewards: Tensor, values: Tensor, next_values: Tensor, discounts: Tensor, lambdas: Tensor
) -> Tensor:
    """A_t = d_t + g_{t+1} l_{t+1} A_{t+1}, d_t = r_{t+1} + g_{t+1} v'_{t+1} - v_t, with g and l of each step.

    A_t + v_t is the lambda-return r_{t+1} + g_{t+1} ((1 - l_{t+1}) v'_{t+1} + l_{t+1} G_{t+1}) (Sutton and Barto, 2018,
    equation 12.18), as v'_{t+1} is v_{t+1} wherever l_{t+1} is not zero. It is a triangular system of equations whose
    solution is the recursion from the last step backwards: one operation, which derivatives and maps pass through.

    Args:
        rewards: r_{t+1}, [..., T].
        values: v_t, [..., T].
        next_values: v'_{t+1}, of the state that the step led to, [..., T].
        discounts: g_{t+1}, [..., T], zero where the task ends the episode.
        lambdas: l_{t+1}, [..., T], zero wherever the next entry is not the step that follows.
    """
    errors = rewards + discounts * next_values - values
    carried = (discounts * lambdas).expand_as(errors)[..., :-1]
    system = torch.eye(errors.shape[-1], dtype=errors.dtype, device=errors.device) - torch.diag_embed(carried, 1)
    return torch.linalg.solve_triangular(system, errors[..., None], upper=True, unitriangular=True)[..., 0]


def normalise(advantages: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(A - mean) / std over the steps of each task that happened, and zero elsewhere, [N, S]; and the std, [N].

    Args:
        advantages: [N, S].
        mask: [N, S].
    """
    count = mask.sum(-1, keepdim=True)
    mean = (advantages * mask).sum(-1, keepdim=True) / count
    centred = (advantages - mean) * mask
    std = (centred.square().sum(-1, keepdim=True) / count).sqrt()
    return centred / (std + 1e-8), std[..., 0] + 1e-8
