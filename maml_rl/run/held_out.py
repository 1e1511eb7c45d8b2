"""Evaluations of finished runs on held-out tasks: returns of a policy, accuracy or error of a supervised learner."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from maml_rl.rl.environments.vector import make_single
from maml_rl.run.curves import Curves, draw_curves, figure_size
from maml_rl.run.errors import UsageError
from maml_rl.run.figure import save_figure
from maml_rl.run.finished_run import OpenedRun
from maml_rl.systems.evaluation import Evaluation, Measure
from maml_rl.systems.maml import Measured

__all__ = ["Options", "draw_fits", "evaluation_of", "is_oracle", "with_defaults"]

_OWN: dict[str, dict[str, Any]] = {
    "supervised": {"steps": None, "tasks": 600, "ensemble": 1, "split": "test", "support": None},
    "reinforcement-learning": {"steps": 3, "tasks": 40, "episodes": 20},
}


@dataclass(frozen=True)
class Options:
    """What to evaluate.

    Attributes:
        run: the run folder.
        steps: inner gradient steps, whatever training used; 3 where nothing is given, 0 of an oracle
            (`environment.show_task`, no inner steps), a supervised run's own `test.steps`. Of an rl2 run: episodes that
            its policy has seen before the last one.
        tasks: held-out tasks; 40 where nothing is given, 600 of a supervised run.
        episodes: per task and step, of a reinforcement-learning run; 20 where nothing is given.
        checkpoint: "best" by training return or by validation, or the "last".
        ensemble: of a supervised run: averages the outputs of this many of the best states by validation.
        split: of a supervised run: whose tasks, "test" where nothing is given; "validation" is what to choose rates by.
        support: of a supervised run: examples to adapt on; the run's own where nothing is given.
        rates: learning rate of each step, the last one going on; the run's own where nothing is given.
        seed: of the held-out tasks and their episodes, apart from anything that training draws.
        device: where to adapt; the run's own where nothing is given.
        data: where the images are now, if not where they were in training.
        output: where the files go; the run folder where nothing is given.
    """

    run: str
    steps: int | None = None
    tasks: int | None = None
    episodes: int | None = None
    checkpoint: Literal["best", "last"] = "best"
    ensemble: int | None = None
    split: Literal["train", "validation", "test"] | None = None
    support: int | None = None
    rates: list[float] | None = None
    seed: int = 1000
    device: str | None = None
    data: str | None = None
    output: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("tasks", 1), ("episodes", 1), ("ensemble", 1), ("support", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"`{name}` must be at least {least}, got {value}.")
        if self.rates is not None and not (self.rates and all(0 <= rate < float("inf") for rate in self.rates)):
            raise ValueError(f"`rates` must be one or more finite numbers of at least 0, got {self.rates}.")


def evaluation_of(
    opened: OpenedRun, options: Options, chosen: dict[str, Any], progress: Callable[[], Any]
) -> tuple[Evaluation, Any]:
    """Evaluates an opened run as its kind wants: the evaluation, and what was measured for figures.

    Args:
        opened: the run.
        options: what was asked for.
        chosen: what `with_defaults` makes of it.
        progress: called as the work goes on.
    """
    kind = opened.system.kind
    began = time.perf_counter()
    evaluation, found = (_supervised if kind == "supervised" else _returns)(opened, options, chosen, progress)
    about = {name: value for name, value in asdict(options).items() if name not in ("output", "tasks", "data")}
    settings = {
        **{name: value for name, value in about.items() if value is not None or name in ("rates", "device")},
        **{name: value for name, value in chosen.items() if name != "tasks"},
        **evaluation.settings,
        "rates": opened.system.rates(chosen["steps"], options.rates),
        "checkpoint": opened.checkpoint if chosen.get("ensemble", 1) == 1 else "validated",
        "iteration": opened.iteration if chosen.get("ensemble", 1) == 1 else None,
        "seconds": round(time.perf_counter() - began, 3),
    }
    return replace(evaluation, settings=settings), found


def draw_fits(opened: OpenedRun, options: Options, measured: Any, folder: Path) -> list[Path]:
    """Writes ``curves.png``, the fitted curves of the first tasks, where the distribution says what is true."""
    system = opened.system
    truth = getattr(getattr(getattr(system, "distribution", None), "distribution", None), "curves", None)
    if truth is None or not isinstance(measured, Measured):
        return []
    steps, few = len(measured.values) - 1, min(3, measured.values.shape[1])
    parameters = {name: value[:few] for name, value in measured.tasks.parameters.items()}
    tasks = measured.tasks._replace(
        support=type(measured.tasks.support)(*(part[:few] for part in measured.tasks.support))
    )
    places, true = truth(parameters, 200)
    fitted = system.predict(opened.states, tasks, true.inputs, steps, options.rates)
    shown = sorted({0, min(1, steps), steps})
    curves = Curves(
        places,
        true.targets[..., 0].numpy(),
        tasks.support.inputs[..., 0].cpu().numpy(),
        tasks.support.targets[..., 0].cpu().numpy(),
        {step: fitted[step][..., 0].cpu().numpy() for step in shown},
    )
    return [save_figure(lambda figure: draw_curves(curves, figure), figure_size(curves), folder / "curves.png")]


def with_defaults(options: Options, opened: OpenedRun) -> dict[str, Any]:
    """What is to be done with this kind of run.

    Raises:
        UsageError: an option that goes with the other kind, rates that the system refuses, or more rates than steps.
    """
    kind = opened.system.kind
    own = _OWN[kind]
    foreign = {name for names in _OWN.values() for name in names} - own.keys()
    wrong = sorted(name for name in foreign if getattr(options, name) is not None)
    if wrong:
        raise UsageError(f"`{wrong[0]}` does not go with a {kind} run.")
    chosen = {name: own[name] if getattr(options, name) is None else getattr(options, name) for name in own}
    if options.steps is None and kind == "reinforcement-learning" and is_oracle(opened.config):
        chosen["steps"] = 0
    if chosen["steps"] is None:
        chosen["steps"] = opened.config.test.steps
    if options.rates is not None:
        try:
            opened.system.rates(chosen["steps"], options.rates)
        except ValueError as error:
            raise UsageError(str(error)) from error
        if len(options.rates) > max(chosen["steps"], 1):
            raise UsageError(f"`rates` has {len(options.rates)} entries, there are {chosen['steps']} gradient steps.")
    if chosen.get("support", 0) is None:
        chosen["support"] = opened.config.support
    return chosen


def is_oracle(config: Any) -> bool:
    """Whether a policy sees its task and was trained without adapting: gradient steps would only spoil it."""
    return config.environment.show_task and not getattr(getattr(config, "inner", None), "steps", 1)


def _returns(
    opened: OpenedRun, options: Options, chosen: dict[str, Any], progress: Callable[[], Any]
) -> tuple[Evaluation, Any]:
    tasks, collected = opened.system.evaluate(
        opened.state, chosen["steps"], options.seed, chosen["tasks"], chosen["episodes"], options.rates, None, progress
    )
    returns = np.stack([trajectories.returns.cpu().numpy() for trajectories in collected.trajectories]).astype(float)
    settings = {"tasks_name": opened.config.environment.id}
    if opened.config.environment.held_out:
        settings["held_out"] = opened.config.environment.held_out
    axis = getattr(opened.system, "axis", "gradient steps")
    protocol = f"{chosen['episodes']} episodes each"
    found = Evaluation(Measure("return", True, digits=2), returns, tasks, axis, protocol, settings)
    successes = [trajectories.successes for trajectories in collected.trajectories]
    if successes[0] is not None:
        share = np.stack([each.cpu().numpy().astype(float).mean(-1) for each in successes])
        found = replace(found, also={"success": share})
    return replace(found, references=_references(opened, tasks)), collected


def _references(opened: OpenedRun, tasks: list[Any]) -> dict[str, float]:
    """Means over the tasks of what the environment knows of each, such as the optimum."""
    env = make_single(opened.system.config.environment)
    try:
        known = getattr(env.unwrapped, "reference_returns", None)
        each = [] if known is None else [known(task, opened.system.sampler.horizon) for task in tasks]
    except Exception as error:  # the evaluation is worth more than what it is held against
        tqdm.write(f"warning: reference_returns failed: {type(error).__name__}: {error}")
        each = []
    finally:
        env.close()
    return {name: float(np.mean([returns[name] for returns in each])) for name in (each[0] if each else {})}


def _supervised(
    opened: OpenedRun, options: Options, chosen: dict[str, Any], progress: Callable[[], Any]
) -> tuple[Evaluation, Any]:
    system, config = opened.system, opened.config
    try:
        system.require_tasks(chosen["split"], chosen["support"])
    except ValueError as error:
        raise UsageError(str(error)) from error
    measured = system.evaluate(
        opened.states,
        chosen["steps"],
        options.seed,
        chosen["tasks"],
        options.rates,
        chosen["split"],
        chosen["support"],
        progress,
    )
    count = measured.values.shape[1]
    described = {name: values.tolist() for name, values in measured.tasks.parameters.items()}
    tasks = [{name: values[task] for name, values in described.items()} for task in range(count)]
    arguments = system.distribution.arguments
    settings = {"tasks_name": config.distribution.id, "arguments": arguments}
    if config.network.id == "conv4":
        settings["norm"] = config.network.norm
    examples, adapted = measured.outputs[0].shape[1], measured.tasks.support.inputs.shape[1]
    protocol = f", protocol {arguments['protocol']}" if "protocol" in arguments else ""
    about = f"{chosen['split']} split{protocol}{_norm_note(config)}"
    sizes = f"adapted on {adapted} examples each, measured on {examples} ({about})"
    measures = {"error": Measure("error", False, "mean squared error"), "accuracy": Measure("accuracy", True)}
    measure = measures[system.measure]
    return Evaluation(measure, measured.values, tasks, protocol=sizes, settings=settings), measured


def _norm_note(config: Any) -> str:
    return f", {config.network.norm} batch norm" if config.network.id == "conv4" else ""
