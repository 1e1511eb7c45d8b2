"""What sampling brings back: whole episodes with a mask where they ended early, or rollouts across episodes' ends."""

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Rollout", "Trajectories"]


@dataclass(frozen=True)
class Trajectories:
    """E episodes of at most T steps for each of N tasks.

    Attributes:
        observations: [N, E, T, O], before each action.
        actions: [N, E, T, A] (or [N, E, T] where actions are discrete), as sampled: not clipped.
        rewards: [N, E, T], zero where the mask is.
        mask: [N, E, T], 1 for steps that happened and 0 behind an episode's end.
        log_probs: [N, E, T], of the actions under the policy that took them, zero where the mask is.
        last_observations: [N, E, O], after each episode's last step.
        terminated: [N, E], true where the task ended the episode; false where the time limit did.
        successes: [N, E], whether ``info["success"]`` was true in any step; None where no environment says it.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    mask: Tensor
    log_probs: Tensor
    last_observations: Tensor
    terminated: Tensor
    successes: Tensor | None = None

    @property
    def returns(self) -> Tensor:
        """Undiscounted return of each episode, [N, E]."""
        return self.rewards.sum(-1)

    @property
    def steps(self) -> int:
        """Environment steps in the data."""
        return int(self.mask.sum())


@dataclass(frozen=True)
class Rollout:
    """T steps of E environments for each of N tasks. Where an episode ends the next one begins, in the same row.

    Attributes:
        observations: [N, E, T, O], before each action.
        next_observations: [N, E, T, O], after it; the last ones of an episode where it ends.
        actions: [N, E, T, A] (or [N, E, T] where actions are discrete), as sampled: not clipped.
        rewards: [N, E, T].
        log_probs: [N, E, T], of the actions under the policy that took them.
        episode_starts: [N, E, T], true where an episode begins.
        terminated: [N, E, T], true where the task ends the episode.
        truncated: [N, E, T], true where the time limit does.
    """

    observations: Tensor
    next_observations: Tensor
    actions: Tensor
    rewards: Tensor
    log_probs: Tensor
    episode_starts: Tensor
    terminated: Tensor
    truncated: Tensor
