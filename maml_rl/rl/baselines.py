"""The linear feature baseline (Duan et al., 2016), solved for all tasks in one batched least squares."""

import torch
from torch import Tensor

__all__ = ["features", "fit_linear_baseline", "predict"]


def features(observations: Tensor, times: Tensor) -> Tensor:
    """[o, o^2, t, t^2, t^3, 1] with o clipped to [-10, 10] and t in hundreds of steps, [..., 2 O + 4], float64.

    Args:
        observations: [..., O].
        times: steps since the episode's start, broadcastable to [...].
    """
    o = observations.double().clamp(-10, 10)
    t = (times.double() / 100).expand(o.shape[:-1])[..., None]
    return torch.cat([o, o.square(), t, t**2, t**3, torch.ones_like(t)], dim=-1)


def fit_linear_baseline(
    inputs: Tensor, targets: Tensor, mask: Tensor, ridge: float = 1e-5, behind: Tensor | None = None
) -> Tensor:
    """w = (X'X + ridge I)^-1 X'y per task, over the steps that happened.

    With values behind the data, w = (X'(X - B) + ridge I)^-1 X'y: the fixed point of fitting y + B w, rewards up to the
    cut and the baseline's own value from there on (Bradtke and Barto, 1996, with returns instead of single rewards).

    Where a task's solution is not finite its ridge is raised tenfold, up to five times.

    Args:
        inputs: X, [N, S, F].
        targets: y, [N, S].
        mask: [N, S].
        ridge: first value of the regulariser.
        behind: B, [N, S, F], the discounted features of the state behind each step's episode; nothing counts as zero.

    Returns:
        Weights [N, F], float64.

    Raises:
        FloatingPointError: no ridge gave a finite solution for some task; the message names it.
    """
    x = inputs.double() * mask.double()[..., None]
    ahead = x if behind is None else x - behind.double() * mask.double()[..., None]
    gram, moment = x.mT @ ahead, x.mT @ targets.double()[..., None]
    identity = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    ridges = torch.full((len(x), 1, 1), ridge, dtype=x.dtype, device=x.device)
    for _ in range(6):
        weights = torch.linalg.solve_ex(gram + ridges * identity, moment).result[..., 0]
        finite = torch.isfinite(weights).all(-1)
        if finite.all():
            return weights
        ridges = torch.where(finite[:, None, None], ridges, ridges * 10)
    raise FloatingPointError(f"the baseline of task {int((~finite).nonzero()[0])} has no finite solution.")


def predict(weights: Tensor, inputs: Tensor) -> Tensor:
    """X w, [N, S], float64."""
    return (inputs @ weights[..., None])[..., 0]
