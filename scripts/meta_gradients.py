#!/usr/bin/env python
"""Bias and spread of meta-gradient estimators: python scripts/meta_gradients.py --json FILE.

Without `--run`: on random Markov decision processes, against the exact meta-gradient, which backward induction gives:
J(theta) = V(theta + a grad V(theta)), the limit of infinitely many episodes in the inner step. With `--run` of a
trained policy: the spread of its meta-gradient on its own task distribution, where nobody knows the exact one;
estimators then see the same samples, and agreement is held against the mean of the first one named. There the
objective is always the final one, and E-MAML's credit counts in full.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from envs.tabular_mdp import tabular_mdp
from maml_rl.core import constant, final, first_order, sgd, unrolled
from maml_rl.core.tree import flatten, place, unflatten
from maml_rl.core.types import Params
from maml_rl.rl.collect import collect
from maml_rl.rl.estimation import sampling_credits
from maml_rl.rl.losses import INNER_LOSSES, RLBatch
from maml_rl.rl.policies import Policy, categorical_mlp
from maml_rl.rl.policy_learner import POLICY, PolicyLearner
from maml_rl.rl.sampling.seeds import drawing_seed, task_seeds
from maml_rl.rl.updates.meta_surrogate import MetaSurrogate
from maml_rl.run.cli import exit_code, settings_of
from maml_rl.run.errors import RunFault, UsageError
from maml_rl.run.finished_run import open_run
from maml_rl.systems.meta_policy import MetaPolicySystem
from maml_rl.systems.system import State

STATES, ACTIONS, HORIZON = 10, 5, 10


class Estimator(NamedTuple):
    """An estimator: its inner loss, whether E-MAML's credit is added, and whether it is of first order."""

    loss: str
    credit: bool = False
    first_order: bool = False


ESTIMATORS = {
    "log_probability": Estimator("log_probability"),
    "likelihood_ratio": Estimator("likelihood_ratio"),
    "dice": Estimator("dice"),
    "e_maml": Estimator("log_probability", credit=True),
    "first_order": Estimator("log_probability", first_order=True),
}


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        run: a run folder of reinforcement learning; Markov decision processes where nothing is given.
        estimators: which ones.
        repetitions: independent meta-gradients of each.
        episodes: per task and inner step, on Markov decision processes.
        tasks: on Markov decision processes, over which the figures are averaged.
        learning_rate: of the inner step there, on gradients of the undiscounted return.
        seed: of everything random.
        json: a file for the figures.
    """

    run: str | None = None
    estimators: list[str] | None = None
    repetitions: int = 200
    episodes: int = 20
    tasks: int = 5
    learning_rate: float = 1.0
    seed: int = 0
    json: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("repetitions", 2), ("episodes", 1), ("tasks", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` must be at least {least}, got {getattr(self, name)}.")
        unknown = sorted(set(self.estimators or ()) - set(ESTIMATORS))
        if unknown:
            raise ValueError(f"there is no estimator {unknown[0]!r}; there are {', '.join(ESTIMATORS)}.")


def main(argv: Sequence[str]) -> int:
    """Measures, prints a table, writes the file."""
    options: Options = settings_of(Options, argv, __doc__ or "")
    estimators = {name: ESTIMATORS[name] for name in options.estimators or ESTIMATORS}
    torch.set_num_threads(1)
    result = _processes(options, estimators) if options.run is None else _of_a_run(options, estimators)
    columns = list(next(iter(result.values())))
    print("".join([f"{'':18s}", *(f"{column:>18s}" for column in columns)]))
    for name, figures in result.items():
        print("".join([f"{name:18s}", *(f"{value:18.4f}" for value in figures.values())]))
    if options.json is not None:
        chosen = {name: getattr(options, name) for name in Options.__dataclass_fields__ if name != "json"}
        try:
            Path(options.json).parent.mkdir(parents=True, exist_ok=True)
            Path(options.json).write_text(json.dumps({"options": chosen, "estimators": result}, indent=2) + "\n")
        except OSError as error:
            raise RunFault(f"{options.json} could not be written: {error.strerror}.") from error
    return 0


class Process:
    """A Markov decision process, its exact value under a policy, and sampled episodes of it."""

    def __init__(self, task: dict[str, Any], policy: Policy, like: Params) -> None:
        self.transitions = torch.tensor(task["transitions"], dtype=torch.float64)
        self.means = torch.tensor(task["rewards"], dtype=torch.float64)
        self.policy, self.like = policy, like

    def values(self, theta: Tensor) -> list[Tensor]:
        """V_t of each state, exactly, t from 0 to the horizon."""
        chances = self.policy.act(unflatten(theta, self.like), torch.eye(STATES, dtype=torch.float64)).log_prob
        log_p = torch.stack([chances(torch.full((STATES,), action)) for action in range(ACTIONS)], -1)
        values = [torch.zeros(STATES, dtype=torch.float64)]
        for _ in range(HORIZON):
            values.append((log_p.exp() * (self.means + self.transitions @ values[-1])).sum(-1))
        return values[::-1]

    def value(self, theta: Tensor) -> Tensor:
        """The expected return."""
        return self.values(theta)[0][0]

    def sample(self, theta: Tensor, baseline: Tensor, episodes: int, generator: torch.Generator) -> RLBatch:
        """Episodes with advantages G_t - b_t(s), summed over time and averaged over episodes, as one task."""
        params = unflatten(theta, self.like)
        states, rows = torch.zeros(episodes, dtype=torch.long), []
        for t in range(HORIZON):
            seen = torch.eye(STATES, dtype=torch.float64)[states]
            acts = self.policy.act(params, seen)
            noise = -torch.log(-torch.log(torch.rand(episodes, ACTIONS, generator=generator, dtype=torch.float64)))
            actions = acts.sample(noise)
            paid = self.means[states, actions] + torch.randn(episodes, generator=generator, dtype=torch.float64)
            rows.append((seen, actions, paid, acts.log_prob(actions), baseline[t][states]))
            states = torch.multinomial(self.transitions[states, actions], 1, generator=generator)[:, 0]
        seen, actions, paid, taken, expected = (torch.stack(column, 1) for column in zip(*rows, strict=True))
        to_go = paid.flip(-1).cumsum(-1).flip(-1)
        ones = torch.ones(1, dtype=torch.float64)
        return RLBatch(
            seen.flatten(0, 1)[None],
            actions.flatten()[None],
            (to_go - expected).flatten()[None],
            torch.full((1, episodes * HORIZON), 1 / episodes, dtype=torch.float64),
            taken.flatten()[None],
            torch.full((1, episodes), float(HORIZON), dtype=torch.float64),
            ones,
        )


def _processes(options: Options, estimators: dict[str, Estimator]) -> dict[str, dict[str, float]]:
    policy = categorical_mlp(STATES, ACTIONS, hidden=())
    like = policy.initial(torch.Generator().manual_seed(options.seed), torch.float64)
    env = tabular_mdp(states=STATES, actions=ACTIONS, horizon=HORIZON).distribution
    drawn = env.sample_tasks(options.tasks, np.random.default_rng(options.seed))
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in estimators}
    with tqdm(total=options.tasks * options.repetitions, leave=False) as bar:
        for index, task in enumerate(drawn):
            process = Process(task, policy, like)
            measured = _repeated(process, options, estimators, options.seed + 1 + index, bar.update)
            for name, (gradients, exact) in measured.items():
                figures[name].append(_compared(gradients, exact))
    return {
        name: {column: float(np.mean([each[column] for each in rows])) for column in rows[0]}
        for name, rows in figures.items()
    }


def _repeated(
    process: Process, options: Options, estimators: dict[str, Estimator], seed: int, progress: Callable[[], Any]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Independent meta-gradients of one task, [R, P], and the exact one, [P], of each estimator."""
    meta, theta, rate = {POLICY: process.like}, flatten(process.like), options.learning_rate

    def adapted(at: Tensor) -> Tensor:
        return at + rate * torch.func.grad(process.value)(at)

    exact = torch.func.grad(lambda at: -process.value(adapted(at)))(theta)
    before, after = (torch.stack(process.values(at)).detach() for at in (theta, adapted(theta)))
    expected = float(process.value(adapted(theta)))
    generator = torch.Generator().manual_seed(seed)
    gradients: dict[str, list[Tensor]] = {name: [] for name in estimators}
    for _ in range(options.repetitions):
        first = process.sample(theta, before, options.episodes, generator)
        plain = _learner(process.policy, Estimator("log_probability"), rate)
        single = RLBatch(*(part[0] for part in first))
        reached = flatten(plain.path(meta, [single])[-1]).detach()
        second = process.sample(reached, after, options.episodes, generator)
        returned = float(process.value(reached))
        for name, estimator in estimators.items():
            credits = torch.tensor([returned - expected], dtype=torch.float64) if estimator.credit else None
            learner = _learner(process.policy, estimator, rate)
            problem = MetaSurrogate(learner, meta, [first, second], final(), credits=credits)
            gradients[name].append(problem.linearise(theta).gradient())
        progress()
    return {name: (torch.stack(each), exact) for name, each in gradients.items()}


def _learner(policy: Policy, estimator: Estimator, rate: float) -> PolicyLearner:
    mode = first_order() if estimator.first_order else unrolled()
    return PolicyLearner(policy, sgd(constant(rate)), mode, INNER_LOSSES[estimator.loss])


def _compared(gradients: Tensor, exact: Tensor) -> dict[str, float]:
    """Bias, what of it chance explains, and spread, as shares of the exact gradient's size; and the direction."""
    mean, size = gradients.mean(0), exact.norm()
    spread = (gradients - mean).square().sum(-1).mean().sqrt()
    return {
        "bias": float((mean - exact).norm() / size),
        "bias by chance": float(spread / len(gradients) ** 0.5 / size),
        "spread": float(spread / size),
        "cosine": float(torch.nn.functional.cosine_similarity(gradients, exact[None]).mean()),
    }


def _of_a_run(options: Options, estimators: dict[str, Estimator]) -> dict[str, dict[str, float]]:
    """The same with the mean of the first estimator in the exact gradient's place."""
    assert options.run is not None
    with open_run(Path(options.run), "best") as opened:
        system = opened.system
        if not isinstance(system, MetaPolicySystem):
            raise UsageError(f"{options.run} has no policy that adapts by gradient steps.")
        if not system.config.inner.steps:
            raise UsageError(f"{options.run} was trained without inner steps.")
        gradients: dict[str, list[Tensor]] = {name: [] for name in estimators}
        for repetition in tqdm(range(options.repetitions), leave=False):
            for name, gradient in _sampled(system, opened.state, estimators, options.seed, repetition):
                gradients[name].append(gradient)
    stacked = {name: torch.stack(each).double() for name, each in gradients.items()}
    reference = next(iter(stacked.values())).mean(0)
    return {name: _compared(each, reference) for name, each in stacked.items()}


def _sampled(
    system: MetaPolicySystem[Any, Any], state: State, estimators: dict[str, Estimator], seed: int, repetition: int
) -> Iterator[tuple[str, Tensor]]:
    """Each estimator's meta-gradient of the final objective on the same tasks and samples."""
    config, meta = system.config, place(state["meta"], system.device)
    collected = collect(
        system.sampler,
        system.learner,
        meta,
        system.sampler.stepper.draw_tasks(drawing_seed(seed, 0, repetition)),
        lambda step: task_seeds(seed, 0, repetition, step, config.tasks),
        config.inner.steps,
        config.estimator,
        state.get("baseline"),
    )
    credits = sampling_credits(collected.trajectories[-1], collected.batches[-1], config.estimator.discount)
    for name, estimator in estimators.items():
        mode = first_order() if estimator.first_order else unrolled()
        learner = system.learner._replace(loss=INNER_LOSSES[estimator.loss], mode=mode)
        added = credits if estimator.credit else None
        problem = MetaSurrogate(learner, meta, collected.batches, final(), credits=added)
        yield name, problem.linearise(flatten(meta)).gradient()


if __name__ == "__main__":
    sys.exit(exit_code(main))
