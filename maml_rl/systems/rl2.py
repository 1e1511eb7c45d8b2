"""RL^2: a recurrent policy that learns a task while it acts in it, trained by PPO (Duan et al., 2016; Wang et al.,
2016). The black-box reference: adaptation is what its memory does over the episodes of a trial.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch
from numpy.random import PCG64, Generator, SeedSequence

from maml_rl.core.optimisers import adam_start
from maml_rl.rl.collect import Collected
from maml_rl.rl.ppo import PPOConfig, ppo_update, prepare_trials, with_returns
from maml_rl.rl.recurrent import RecurrentConfig, recurrent_for
from maml_rl.rl.sampler import Sampler, drawing_seed, task_seeds
from maml_rl.rl.tasks import Task
from maml_rl.rl.trials import pack, sample_trials
from maml_rl.rl.vector import EnvironmentConfig, held_out
from maml_rl.systems.meta_policy import require_same_spaces, return_metrics
from maml_rl.systems.settings import device_of, require

__all__ = ["RL2", "Config"]

_TRAINING, _EVALUATION, _INITIALISATION, _MINIBATCHES = range(4)


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


class RL2:
    """The wiring. State is ``{"params", "adam", "returns"}``, the last a running mean and mean square of returns; every
    random number comes from (seed, iteration, episode, task).

    Raises:
        ValueError: a device or an environment there is none of.
    """

    kind = "reinforcement-learning"
    axis = "past episodes"

    def __init__(self, config: Config) -> None:
        self.config = config
        self.device = device_of(config.device)
        self.dtype = getattr(torch, config.precision)
        torch.set_num_threads(config.torch_threads)
        self.sampler = self._sampler(config.tasks, config.copies)
        self.recurrent = recurrent_for(
            config.policy, self.sampler.envs.single_observation_space, self.sampler.envs.single_action_space
        )
        self.selection_metric, self.keep, self.report_every = "return_after", 1, 1
        self.sampler.try_out()
        require_same_spaces(config.environment, self.sampler.envs)

    @staticmethod
    def for_use(config: Config) -> Config:
        """A configuration of held-out tasks, with environments enough to know the spaces: for a trained policy."""
        one = replace(config.ppo, minibatches=1)
        return replace(config, environment=held_out(config.environment), tasks=1, copies=1, ppo=one)

    def initial_state(self) -> dict[str, Any]:
        """The state before the first iteration."""
        (word,) = SeedSequence([self.config.seed, _INITIALISATION]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(word >> np.uint64(1)))
        params = {name: leaf.to(self.device) for name, leaf in self.recurrent.initial(generator, self.dtype).items()}
        zero = torch.zeros((), dtype=torch.float64, device=self.device)
        return {
            "params": params,
            "adam": adam_start(params),
            "returns": dict.fromkeys(("seen", "mean", "square"), zero),
        }

    def iterate(self, state: dict[str, Any], iteration: int) -> tuple[dict[str, Any], dict[str, float]]:
        """One iteration: the next state, and metrics of the state that came in."""
        config, began = self.config, perf_counter()
        tasks = self.sampler.sample_tasks(drawing_seed(config.seed, _TRAINING, iteration))
        episodes = sample_trials(
            self.sampler,
            self.recurrent,
            state["params"],
            tasks,
            lambda episode: task_seeds(config.seed, _TRAINING, iteration, episode, config.tasks),
            config.episodes,
        )
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

    def validate(self, state: dict[str, Any], iteration: int) -> dict[str, float]:
        """Nothing: a run's best policy is told by the returns of its own training trials."""
        return {}

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
        sampler = self._sampler(tasks, episodes)
        try:
            drawn = list(chosen) if chosen else sampler.sample_tasks(drawing_seed(seed, _EVALUATION, 0))
            params = {name: leaf.to(self.device) for name, leaf in state["params"].items()}
            began = perf_counter()
            played = sample_trials(
                sampler,
                self.recurrent,
                params,
                drawn,
                lambda episode: task_seeds(seed, _EVALUATION, 0, episode, tasks),
                steps + 1,
                progress,
            )
            return drawn, Collected(played, [], [], perf_counter() - began, 0.0)
        finally:
            sampler.close()

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

    def data_identity(self) -> dict[str, str]:
        """Nothing: tasks come from the environment alone."""
        return {}

    def close(self) -> None:
        """Closes the environments."""
        self.sampler.close()

    def _sampler(self, tasks: int, trials: int) -> Sampler:
        return Sampler(self.config.environment, tasks, trials, self.device, self.dtype)
