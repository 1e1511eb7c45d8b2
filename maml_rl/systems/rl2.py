"""RL^2: a recurrent policy that learns a task while it acts in it, trained by PPO (Duan et al., 2016; Wang et al.,
2016). The black-box reference: adaptation is what its memory does over the episodes of a trial.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, Literal

import torch
from numpy.random import PCG64, Generator, SeedSequence

from maml_rl.core.optimisers import adam_start
from maml_rl.rl.collect import Collected
from maml_rl.rl.environments.task_env import Task
from maml_rl.rl.environments.vector import EnvironmentConfig, held_out
from maml_rl.rl.recurrent.gru_policy import RecurrentConfig, recurrent_for
from maml_rl.rl.recurrent.trial_sampling import pack, sample_trials
from maml_rl.rl.updates.ppo import PPOConfig, ppo_update, prepare_trials, with_returns
from maml_rl.systems.policy_system import PolicySystem, return_metrics
from maml_rl.systems.settings import require

__all__ = ["RL2", "Config"]

_MINIBATCHES = 3  # a stream of random numbers beside those of `PolicySystem`


@dataclass(frozen=True)
class Config:
    """RL^2.

    Attributes:
        system: which system this is a configuration of.
        environment: the task distribution.
        policy: the recurrent policy.
        ppo: the update.
        tasks: N, tasks of an iteration.
        copies: trials of each task, apart from each other.
        episodes: of a trial; the memory goes on from one to the next.
        iterations: updates.
        seed: of everything random in training.
        device: "cpu" or "cuda", for the policy and the update; the simulation runs on the CPU.
        precision: of the policy and the trajectories.
        torch_threads: threads of the learner's arithmetic. Part of the configuration because sums depend on it in the
            last bits; the number of simulation threads does not matter.
    """

    system: Literal["rl2"] = "rl2"
    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    policy: RecurrentConfig = field(default_factory=RecurrentConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    tasks: int = 40
    copies: int = 1
    episodes: int = 2
    iterations: int = 500
    seed: int = 1
    device: str = "cpu"
    precision: Literal["float32", "float64"] = "float32"
    torch_threads: int = 1

    def __post_init__(self) -> None:
        for name in ("tasks", "copies", "episodes", "torch_threads"):
            require(name, getattr(self, name) > 0, "at least 1", getattr(self, name))
        require("iterations", self.iterations >= 0, "at least 0", self.iterations)
        require("seed", 0 <= self.seed < 2**32, "in [0, 2^32)", self.seed)
        trials = self.tasks * self.copies
        require("ppo.minibatches", self.ppo.minibatches <= trials, f"at most the {trials} trials", self.ppo.minibatches)

    def remarks(self) -> list[str]:
        """Nothing: what is set has an effect."""
        return []


class RL2(PolicySystem):
    """The wiring. State is ``{"params", "adam", "returns"}``, the last a running mean and mean square of returns; every
    random number comes from (seed, iteration, episode, task).

    Raises:
        ValueError: a device or an environment there is none of.
    """

    axis = "past episodes"

    def __init__(self, config: Config) -> None:
        super().__init__(config, config.copies)
        self.recurrent = recurrent_for(config.policy, *self.spaces)

    @staticmethod
    def for_use(config: Config) -> Config:
        """A configuration of held-out tasks, with environments enough to know the spaces: for a trained policy."""
        one = replace(config.ppo, minibatches=1)
        return replace(config, environment=held_out(config.environment), tasks=1, copies=1, ppo=one)

    def initial_state(self) -> dict[str, Any]:
        """The state before the first iteration."""
        drawn = self.recurrent.initial(self.initial_generator(), self.dtype)
        params = {name: leaf.to(self.device) for name, leaf in drawn.items()}
        zero = torch.zeros((), dtype=torch.float64, device=self.device)
        return {
            "params": params,
            "adam": adam_start(params),
            "returns": dict.fromkeys(("seen", "mean", "square"), zero),
        }

    def iterate(self, state: dict[str, Any], iteration: int) -> tuple[dict[str, Any], dict[str, float]]:
        """One iteration: the next state, and metrics of the state that came in."""
        config, began = self.config, perf_counter()
        tasks, seeds = self.training_tasks(iteration)
        episodes = sample_trials(self.sampler, self.recurrent, state["params"], tasks, seeds, config.episodes)
        sampled = perf_counter()
        trials = pack(self.recurrent, episodes)
        returns = with_returns(state["returns"], trials, config.ppo.discount)
        batch = prepare_trials(self.recurrent, state["params"], trials, returns, config.ppo)
        rng = Generator(PCG64(SeedSequence([config.seed, _MINIBATCHES, iteration])))
        params, adam, found = ppo_update(self.recurrent, state["params"], state["adam"], batch, config.ppo, rng)
        finished = perf_counter()
        steps = sum(trajectories.steps for trajectories in episodes)
        metrics = {
            **return_metrics(Collected(episodes, [], [], sampled - began, 0.0)),
            "policy_loss": found["policy"],
            "value_loss": found["value"],
            "entropy": found["entropy"],
            "kl": found["kl"],
            "clipped_share": found["clipped"],
            "epochs": found["epochs"],
            "env_steps": float(steps),
            "sampling_s": sampled - began,
            "adaptation_s": 0.0,
            "meta_update_s": finished - sampled,
            "steps_per_s": steps / (finished - began),
        }
        if "head.log_std" in params:
            metrics["policy_std"] = float(params["head.log_std"].exp().mean())
        return {"params": params, "adam": adam, "returns": returns}, metrics

    def summary(self, metrics: dict[str, float]) -> str:
        """A few words for the progress bar."""
        return (
            f"return {metrics['return_before']:.1f} -> {metrics['return_after']:.1f}, kl {metrics['kl']:.3f}, "
            f"{metrics['steps_per_s'] / 1000:.1f}k steps/s"
        )

    def evaluate(
        self,
        state: dict[str, Any],
        steps: int,
        seed: int,
        tasks: int,
        episodes: int,
        rates: Sequence[float] | None = None,
        chosen: Sequence[Task] | None = None,
        progress: Callable[[], Any] | None = None,
    ) -> tuple[list[Task], Collected]:
        """Trials of held-out tasks: returns after 0 to `steps` episodes of experience.

        Args:
            state: a training state.
            steps: episodes of experience, whatever training used; a trial has one more.
            seed: of the tasks and episodes, in a stream that training never draws from.
            tasks: how many.
            episodes: trials of each task, apart from each other.
            rates: none, there are no gradient steps.
            chosen: these tasks instead of drawn ones.
            progress: called after each of the steps + 1 episodes.

        Raises:
            ValueError: `rates` are given.
        """
        self.rates(steps, rates)
        params = {name: leaf.to(self.device) for name, leaf in state["params"].items()}
        with self.held_out(seed, tasks, episodes, chosen) as found:
            began = perf_counter()
            played = sample_trials(found.sampler, self.recurrent, params, found.tasks, found.seeds, steps + 1, progress)
            return found.tasks, Collected(played, [], [], perf_counter() - began, 0.0)

    def rates(self, steps: int, rates: Sequence[float] | None = None) -> list[float]:
        """None: adaptation is what the memory does, without gradient steps.

        Raises:
            ValueError: `rates` are given.
        """
        if rates is not None:
            raise ValueError(
                "`rates` do not go with an rl2 run: its policy adapts by its memory, not by gradient steps."
            )
        return []
