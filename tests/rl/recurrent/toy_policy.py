"""A recurrent policy whose memory is a nesting of dictionaries and tuples: counters, and a running mean of rewards."""

from typing import Any

import torch
from torch import Generator, Tensor

from maml_rl.core.types import Params
from maml_rl.rl.distributions import DiagonalGaussian
from maml_rl.rl.policies import gaussian_mlp
from maml_rl.rl.recurrent.gru_policy import Output, RecurrentPolicy

__all__ = ["toy_policy"]

FEATURES = 4


def toy_policy(actions: int = 2) -> RecurrentPolicy:
    """The mean action is linear in the steps and episodes so far, the mean reward, and whether an episode begins."""

    def initial(generator: Generator, dtype: torch.dtype) -> Params:
        return {"weight": 0.1 * torch.randn(FEATURES, actions, generator=generator, dtype=torch.float64).to(dtype)}

    def begin(shape: tuple[int, ...], like: Tensor) -> Any:
        zero = like.new_zeros(shape)
        return {"steps": zero, "rewards": (zero, {"begins": zero}), "episodes": zero}

    def begin_episode(memory: Any) -> Any:
        mean, _ = memory["rewards"]
        one = torch.ones_like(memory["steps"])
        return {**memory, "episodes": memory["episodes"] + 1, "rewards": (mean, {"begins": one})}

    def outputs(params: Params, features: Tensor) -> Output:
        mean = features @ params["weight"]
        return Output(DiagonalGaussian(mean, torch.full_like(mean, -1.0)), features[..., 0])

    def step(params: Params, memory: Any, observations: Tensor) -> tuple[Output, Any]:
        mean, flags = memory["rewards"]
        return outputs(params, torch.stack([memory["steps"], memory["episodes"], mean, flags["begins"]], -1)), memory

    def remember(memory: Any, taken: Tensor, rewards: Tensor) -> Any:
        mean, flags = memory["rewards"]
        steps = memory["steps"] + 1
        begins = torch.zeros_like(flags["begins"])
        return {**memory, "steps": steps, "rewards": (mean + (rewards - mean) / steps, {"begins": begins})}

    def sequence(params: Params, observations: Tensor, taken: Tensor, rewards: Tensor, starts: Tensor) -> Output:
        steps = torch.arange(rewards.shape[1], dtype=rewards.dtype).expand_as(rewards)
        means = torch.nn.functional.pad(rewards.cumsum(1), (1, 0))[:, :-1] / steps.clamp(min=1)
        return outputs(params, torch.stack([steps, starts.cumsum(1), means, starts], -1))

    draw_noise = gaussian_mlp(1, actions).draw_noise
    return RecurrentPolicy(initial, begin, begin_episode, step, remember, sequence, draw_noise, DiagonalGaussian)
