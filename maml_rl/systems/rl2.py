"""RL^2: a recurrent policy that learns a task while it acts in it, trained by PPO (Duan et al., 2016; Wang et al.,
2016). The black-box reference: adaptation is what its memory does over the episodes of a trial.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

import torch
from numpy.random import PCG64, Generator, SeedSequence

from maml_rl.core.tree import place
from maml_rl.rl.environments.task_env import Task
from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.rl.policy_learner import POLICY
from maml_rl.rl.recurrent.gru_policy import RecurrentConfig, recurrent_for
from maml_rl.rl.recurrent.trials import pack, sample_trials
from maml_rl.rl.sampling.actors import Player
from maml_rl.rl.updates.ppo import PPOConfig, PPOProblem, ppo, prepare_trials, with_returns
from maml_rl.systems.evaluation import Evaluation, Progress
from maml_rl.systems.policy_evaluation import PolicyOptions, returns_of
from maml_rl.systems.policy_system import PolicyRunConfig, PolicySystem, return_metrics
from maml_rl.systems.settings import require
from maml_rl.systems.system import Exporter, Metrics, Renderer, Scene, State

__all__ = ["Config", "System"]

_MINIBATCHES = 3  # a stream of random numbers beside those of `PolicySystem`
_AXIS = "past episodes"


@dataclass(frozen=True)
class Config(PolicyRunConfig):
    """RL^2.

    Attributes:
        policy: the recurrent policy.
        ppo: the update.
        tasks: N, tasks of an iteration.
        copies: trials of each task, apart from each other.
        episodes: of a trial; the memory goes on from one to the next.
    """

    policy: RecurrentConfig = field(default_factory=RecurrentConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    tasks: int = 40
    copies: int = 1
    episodes: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("copies", "episodes"):
            require(name, getattr(self, name) > 0, "at least 1", getattr(self, name))
        trials = self.tasks * self.copies
        require("ppo.minibatches", self.ppo.minibatches <= trials, f"at most the {trials} trials", self.ppo.minibatches)


class System(PolicySystem[Config, PolicyOptions]):
    """The wiring. State is ``{"meta", "optimiser", "returns"}``, the last a running mean and mean square of returns;
    every random number comes from (seed, iteration, episode, task).

    Raises:
        ValueError: a device or an environment there is none of.
    """

    Options = PolicyOptions

    def __init__(self, config: Config) -> None:
        super().__init__(config, config.copies, adapts=config.episodes > 1)
        self.policy = recurrent_for(config.policy, *self.spaces)
        self._optimiser = ppo(self.policy, config.ppo)

    def initial_state(self) -> State:
        """The state before the first iteration."""
        meta = place({POLICY: self.policy.initial(self.initial_generator(), self.dtype)}, self.device)
        zero = torch.zeros((), dtype=torch.float64, device=self.device)
        returns = dict.fromkeys(("seen", "mean", "square"), zero)
        return {"meta": meta, "optimiser": self._optimiser.init(meta), "returns": returns}

    def iterate(self, state: State, iteration: int) -> tuple[State, Metrics]:
        """One iteration: the next state, and metrics of the state that came in."""
        config, params, began = self.config, state["meta"][POLICY], perf_counter()
        tasks, seeds = self.training_tasks(iteration)
        episodes = sample_trials(self.sampler, self.policy, params, tasks, seeds, config.episodes)
        sampled = perf_counter()
        trials = pack(episodes)
        returns = with_returns(state["returns"], trials, config.ppo.discount)
        batch = prepare_trials(self.policy, params, trials, returns, config.ppo)
        rng = Generator(PCG64(SeedSequence([config.seed, _MINIBATCHES, iteration])))
        update = self._optimiser.update(state["meta"], state["optimiser"], PPOProblem(batch, rng), iteration)
        finished = perf_counter()
        steps = sum(trajectories.steps for trajectories in episodes)
        metrics = {
            **return_metrics(episodes),
            **update.metrics,
            "env_steps": float(steps),
            "sampling_s": sampled - began,
            "adaptation_s": 0.0,
            "meta_update_s": finished - sampled,
            "steps_per_s": steps / (finished - began),
        }
        if "head.log_std" in params:
            metrics["policy_std"] = float(update.meta[POLICY]["head.log_std"].exp().mean())
        return {"meta": update.meta, "optimiser": update.memory, "returns": returns}, metrics

    def summary(self, metrics: Metrics) -> str:
        """A few words for the progress bar."""
        return (
            f"return {metrics['return_before']:.1f} -> {metrics['return_after']:.1f}, kl {metrics['kl']:.3f}, "
            f"{metrics['steps_per_s'] / 1000:.1f}k steps/s"
        )

    def evaluate(self, states: Sequence[State], options: PolicyOptions, progress: Progress | None = None) -> Evaluation:
        """Trials of held-out tasks: returns after 0 to `steps` episodes of experience, [K + 1, N, E]."""
        params = place(states[0]["meta"], self.device)[POLICY]
        episodes = (options.steps or 0) + 1
        with self.held_out(options.seed, options.tasks or 40, options.episodes) as held_out:
            played = sample_trials(
                held_out.sampler, self.policy, params, held_out.tasks, held_out.seeds, episodes, progress
            )
            horizon = held_out.sampler.stepper.horizon
        return returns_of(played, held_out.tasks, self.measure, self.held_out_environment, horizon, _AXIS, {})

    def renderer(self) -> Renderer:
        """Films its policy after numbers of past episodes."""
        return _TrialRenderer(self)

    def exporter(self) -> Exporter:
        """None.

        Raises:
            ValueError: always.
        """
        raise ValueError("rl2 policies are recurrent, and Stable-Baselines3's PPO has no policies with a memory.")


class _TrialRenderer:
    """Films trials: each player lives through all episodes up to the last that is asked for."""

    axis = _AXIS
    default_steps = (0, 1, 3)

    def __init__(self, system: System) -> None:
        self.environment: EnvironmentConfig = system.held_out_environment
        self._system = system

    def scenes(
        self, state: State, steps: Sequence[int], tasks: int | Sequence[Task], episodes: int | None, seed: int
    ) -> list[Scene]:
        """Tasks with a player each, whose memory goes on from episode to episode."""
        system = self._system
        params = place(state["meta"], system.device)[POLICY]
        with system.held_out(seed, tasks, 1) as held_out:
            drawn = held_out.tasks
        players = [Player(system.policy.actor(), params) for _ in drawn]
        count = range(max(steps) + 1)
        return [Scene(task, [(step, player) for step in count]) for task, player in zip(drawn, players, strict=True)]
