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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from maml_rl.rl.sampler import drawing_seed, task_seeds
from torch import Tensor
from tqdm import tqdm

from envs.tabular_mdp import tabular_mdp
from maml_rl.core.modes import first_order, unrolled
from maml_rl.core.objectives import final
from maml_rl.core.rules import constant, sgd
from maml_rl.core.tree import flatten, unflatten
from maml_rl.core.types import Params
from maml_rl.rl.collect import collect, sampling_credits
from maml_rl.rl.losses import INNER_LOSSES, RLBatch
from maml_rl.rl.policies import Policy, categorical_mlp
from maml_rl.rl.policy_learner import PolicyLearner
from maml_rl.rl.updates.meta_surrogate import MetaProblem
from maml_rl.run.cli import exit_code, settings_of
from maml_rl.run.errors import RunFault, UsageError
from maml_rl.run.finished_run import open_run

STATES, ACTIONS, HORIZON = 10, 5, 10


class Kind(NamedTuple):
    """An estimator: its inner loss, whether E-MAML's credit is added, and whether it is of first order."""

    loss: str
    credit: bool = False
    first_order: bool = False


KINDS = {
    "log_probability": Kind("log_probability"),
    "likelihood_ratio": Kind("likelihood_ratio"),
    "dice": Kind("dice"),
    "e_maml": Kind("log_probability", credit=True),
    "first_order": Kind("log_probability", first_order=True),
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
        rate: of the inner step there, on gradients of the undiscounted return.
        seed: of everything random.
        json: a file for the figures.
    """

    run: str | None = None
    estimators: list[str] | None = None
    repetitions: int = 200
    episodes: int = 20
    tasks: int = 5
    rate: float = 1.0
    seed: int = 0
    json: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("repetitions", 2), ("episodes", 1), ("tasks", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` must be at least {least}, got {getattr(self, name)}.")
        unknown = sorted(set(self.estimators or ()) - set(KINDS))
        if unknown:
            raise ValueError(f"there is no estimator {unknown[0]!r}; there are {', '.join(KINDS)}.")


def main(argv: Sequence[str]) -> int:
    """Measures, prints a table, writes the file."""
    options: Options = settings_of(Options, argv, __doc__ or "")
    kinds = {name: KINDS[name] for name in options.estimators or KINDS}
    torch.set_num_threads(1)
    result = _processes(options, kinds) if options.run is None else _of_a_run(options, kinds)
    columns = list(next(iter(result.values())))
    print("".join([f"{'':18s}", *(f"{column:>18s}" for column in columns)]))
    for name, figures in result.items():
        print("".join([f"{name:18s}", *(f"{value:18.4f}" for value in figures.values())]))
    if options.json is not None:
        about = {"options": {name: getattr(options, name) for name in Options.__dataclass_fields__ if name != "json"}}
        try:
            Path(options.json).parent.mkdir(parents=True, exist_ok=True)
            Path(options.json).write_text(json.dumps({**about, "estimators": result}, indent=2) + "\n")
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


def _processes(options: Options, kinds: dict[str, Kind]) -> dict[str, dict[str, float]]:
    policy = categorical_mlp(STATES, ACTIONS, hidden=())
    like = policy.initial(torch.Generator().manual_seed(options.seed), torch.float64)
    env = tabular_mdp(states=STATES, actions=ACTIONS, horizon=HORIZON).distribution
    drawn = env.sample_tasks(options.tasks, np.random.default_rng(options.seed))
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in kinds}
    with tqdm(total=options.tasks * options.repetitions, leave=False) as bar:
        for index, task in enumerate(drawn):
            process = Process(task, policy, like)
            found = _repeated(process, options, kinds, options.seed + 1 + index, bar.update)
            for name, (gradients, exact) in found.items():
                figures[name].append(_compared(gradients, exact))
    return {
        name: {column: float(np.mean([each[column] for each in rows])) for column in rows[0]}
        for name, rows in figures.items()
    }


def _repeated(
    process: Process, options: Options, kinds: dict[str, Kind], seed: int, progress: Callable[[], Any]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Independent meta-gradients of one task, [R, P], and the exact one, [P], of each estimator."""
    theta, rate = flatten(process.like), options.rate

    def adapted(at: Tensor) -> Tensor:
        return at + rate * torch.func.grad(process.value)(at)

    exact = torch.func.grad(lambda at: -process.value(adapted(at)))(theta)
    before, after = (torch.stack(process.values(at)).detach() for at in (theta, adapted(theta)))
    expected = float(process.value(adapted(theta)))
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, list[Tensor]] = {name: [] for name in kinds}
    for _ in range(options.repetitions):
        first = process.sample(theta, before, options.episodes, generator)
        step = _learner(process.policy, Kind("log_probability"), rate)
        single = RLBatch(*(part[0] for part in first))
        reached = flatten(step.step(process.like, single, None, 0)).detach()
        second = process.sample(reached, after, options.episodes, generator)
        returned = float(process.value(reached))
        for name, kind in kinds.items():
            credits = torch.tensor([returned - expected], dtype=torch.float64) if kind.credit else None
            learner = _learner(process.policy, kind, rate)
            problem = MetaProblem(learner, process.like, [first, second], final(), credits=credits)
            problem.linearise(theta)
            found[name].append(problem.gradient())
        progress()
    return {name: (torch.stack(gradients), exact) for name, gradients in found.items()}


def _learner(policy: Policy, kind: Kind, rate: float) -> PolicyLearner:
    mode = first_order() if kind.first_order else unrolled()
    return PolicyLearner(policy, sgd(constant(rate)), mode, INNER_LOSSES[kind.loss])


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


def _of_a_run(options: Options, kinds: dict[str, Kind]) -> dict[str, dict[str, float]]:
    """The same with the mean of the first estimator in the exact gradient's place."""
    assert options.run is not None
    with open_run(Path(options.run), "best") as opened:
        if not hasattr(opened.system, "learner") or opened.system.kind != "reinforcement-learning":
            raise UsageError(f"{options.run} has no policy that adapts by gradient steps.")
        if not opened.config.inner.steps:
            raise UsageError(f"{options.run} was trained without inner steps.")
        system = type(opened.system)(replace(opened.config, start=None))
        try:
            gradients: dict[str, list[Tensor]] = {name: [] for name in kinds}
            for repetition in tqdm(range(options.repetitions), leave=False):
                for name, gradient in _sampled(system, opened.state, kinds, options.seed, repetition):
                    gradients[name].append(gradient)
        finally:
            system.close()
    stacked = {name: torch.stack(each).double() for name, each in gradients.items()}
    reference = next(iter(stacked.values())).mean(0)
    return {name: _compared(each, reference) for name, each in stacked.items()}


def _sampled(
    system: Any, state: dict[str, Any], kinds: dict[str, Kind], seed: int, repetition: int
) -> Iterator[tuple[str, Tensor]]:
    """Each estimator's meta-gradient of the final objective on the same tasks and samples."""
    config, params = system.config, state["params"]
    tasks = system.sampler.sample_tasks(drawing_seed(seed, 0, repetition))
    collected = collect(
        system.sampler,
        system.learner,
        params,
        tasks,
        lambda step: task_seeds(seed, 0, repetition, step, config.tasks),
        config.inner.steps,
        config.estimator,
        state.get("baseline"),
    )
    credits = sampling_credits(collected.trajectories[-1], collected.batches[-1], config.estimator.discount)
    for name, kind in kinds.items():
        learner = system.learner._replace(
            loss=INNER_LOSSES[kind.loss], mode=first_order() if kind.first_order else unrolled()
        )
        problem = MetaProblem(learner, params, collected.batches, final(), credits=credits if kind.credit else None)
        problem.linearise(flatten(params))
        yield name, problem.gradient()


if __name__ == "__main__":
    sys.exit(exit_code(main))
