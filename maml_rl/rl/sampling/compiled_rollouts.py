"""Rollouts in environments whose steps are functions of tensors: to act and to step is one compiled function."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree

from maml_rl.core.traced import recorded
from maml_rl.core.types import Params
from maml_rl.rl.environments.task_env import HasTensorSteps, Task, TensorStep
from maml_rl.rl.sampling.actors import Actor
from maml_rl.rl.sampling.episode_record import Layout
from maml_rl.rl.sampling.stepping import SimulationError, Stepper
from maml_rl.rl.sampling.trajectories import Rollout

__all__ = ["CompiledRollouts"]


class CompiledRollouts:
    """Rollouts of actors without a memory where no episode ever ends, as `Sampler.rollout` returns them.

    The first one compiles a step (see `maml_rl.core.traced.recorded`), which takes seconds. It is for few environments,
    where steps through numpy are mostly calls.

    Args:
        stepper: the environments.
        layout: of what rollouts return.

    Raises:
        ValueError: the environment is not `HasTensorSteps`, or knows no such function.
    """

    def __init__(self, stepper: Stepper, layout: Layout) -> None:
        envs = stepper.envs
        plain = getattr(envs, "unwrapped", envs) is envs  # a wrapper may change what a step returns
        step = envs.tensor_step() if plain and isinstance(envs, HasTensorSteps) else None
        if step is None:
            raise ValueError(
                "`compiled` is for environments whose steps are functions of tensors and whose episodes never end."
            )
        self._stepper, self._layout, self._step = stepper, layout, step
        self._records: dict[Any, Callable[..., list[Tensor]]] = {}

    def rollout(
        self,
        actor: Actor,
        params: Params,
        observations: np.ndarray,
        elapsed: np.ndarray,
        noise: Tensor,
        tasks: Sequence[Task],
    ) -> tuple[Rollout, np.ndarray]:
        """T steps from where the environments stand.

        Args:
            actor: who acts; it has no memory.
            params: its parameters, [N, ...] a leaf.
            observations: of the first step, [B, O].
            elapsed: steps since the episodes' start, [B].
            noise: of the actions, [T, N, E, ...].
            tasks: N of them, for messages.

        Returns:
            The rollout, and the observations behind it, [B, O].

        Raises:
            FloatingPointError: the policy's output is not finite; the message names the task.
            SimulationError: an observation or a reward is not.
        """
        layout, envs, steps = self._layout, self._stepper.envs, len(noise)
        assert isinstance(envs, HasTensorSteps)
        states = torch.from_numpy(envs.standing()).to(layout.device)
        chosen = {name: torch.from_numpy(values).to(layout.device) for name, values in envs.task_arrays().items()}
        seen = layout.flat(observations.astype(layout.numpy_type()))
        leaves, structure = _pytree.tree_flatten((params, chosen, states, seen, noise[0]))
        leaves = [leaf.contiguous() for leaf in leaves]
        key = (actor.act, structure, *((leaf.shape, leaf.dtype) for leaf in leaves))
        if key not in self._records:
            self._records[key], _ = recorded(_one_step(actor, self._step), leaves, structure, compiled=True)
        record, fixed, rows = self._records[key], leaves[:-3], []
        with torch.inference_mode():
            for time in range(steps):
                states, following, *rest = record(*fixed, states, seen, noise[time])
                rows.append((seen, following, *rest))
                seen = following
        *parts, outputs = (torch.stack(part) for part in zip(*rows, strict=True))
        self._require_finite(outputs, tasks, "the policy's output", FloatingPointError)
        self._require_finite(parts[1], tasks, "the observation", SimulationError)
        self._require_finite(parts[2], tasks, "the reward", SimulationError)
        envs.go_on(states.cpu().numpy(), steps)
        before, after, rewards, actions, log_probs = (part.movedim(0, 2).contiguous() for part in parts)
        never = torch.zeros(rewards.shape, dtype=torch.bool, device=layout.device)
        starts = never.clone()
        starts[..., 0] = layout.flat(elapsed == 0)
        behind = seen.flatten(0, 1).cpu().numpy()
        return Rollout(before, after, actions, rewards, log_probs, starts, never, never.clone()), behind

    def _require_finite(self, values: Tensor, tasks: Sequence[Task], what: str, raises: type[Exception]) -> None:
        """Raises unless values [T, N, E, ...] are finite."""
        if not values.sum().isfinite():
            for time, each in enumerate(values):
                self._stepper.require_finite(each, tasks, time, what, raises)


def _one_step(
    actor: Actor, step: TensorStep
) -> Callable[[Params, Mapping[str, Tensor], Tensor, Tensor, Tensor], tuple[Tensor, ...]]:
    """To act and to step, as a function of the parameters, the tasks, where all stand, and noise."""

    def one(
        params: Params, tasks: Mapping[str, Tensor], states: Tensor, seen: Tensor, noise: Tensor
    ) -> tuple[Tensor, ...]:
        distribution, _ = actor.act(params, (), seen)
        actions = distribution.sample(noise)
        following, observations, rewards = step(states, actions.flatten(0, 1), tasks)
        shape = seen.shape[:2]
        total = torch.stack([part.expand(*shape, -1).sum(-1) for part in distribution]).sum(0)
        return (
            following,
            observations.to(seen).view(seen.shape),
            rewards.to(seen).view(shape),
            actions,
            distribution.log_prob(actions),
            total,
        )

    return one
