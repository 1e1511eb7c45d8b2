"""A search over hyper-parameters: Optuna proposes values, ordinary training runs judge them, on training tasks alone.

A trial's value is the mean over seeds of a column of `progress.csv`, which speaks of the tasks that training draws; the
held-out tasks of an evaluation are never touched, so the best trial may be evaluated on them without bias.

What a sampler proposes depends on (sampler seed, trial number) and the values of the trials before. Trials run one
after the other and their runs resume bit for bit, so an interrupted sweep ends as an uninterrupted one does.
"""

import contextlib
import csv
import io
import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import yaml
from numpy.random import SeedSequence
from tqdm import tqdm

from maml_rl.run.cli import build_system
from maml_rl.run.config import dump_config, instantiate, parser_for, read_settings, system_named
from maml_rl.run.errors import RunFault, UsageError
from maml_rl.run.figure import save_figure
from maml_rl.run.files import write_atomically
from maml_rl.run.folder import RunFolder
from maml_rl.run.interrupts import Interrupts
from maml_rl.run.starting import started
from maml_rl.run.train import train
from maml_rl.systems import SYSTEMS

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

__all__ = ["Options", "Trial", "sweep", "table"]

_OWN = ("output", "resume", "trials")  # what may differ when a sweep goes on


@dataclass(frozen=True)
class Options:
    """A sweep.

    Attributes:
        base: the training configuration that the trials change.
        output: the sweep's folder.
        space: dotted names of the configuration, each with one of {choice: [...]}, {uniform: [low, high]},
            {log_uniform: [low, high]} and {integer: [low, high]}.
        overrides: dotted names and values that hold for all trials.
        seeds: of the runs of a trial.
        trials: how many; a grid has as many as it has points.
        sampler: Optuna's "tpe" learns from the trials before, its "random" does not, "grid" visits every point.
        sampler_seed: of the proposals.
        metric: the column of `progress.csv` that a trial is judged by, on training tasks.
        direction: whether more of it is better.
        window: it is the mean over this many of the last rows.
        pruner: "median" leaves a trial's other seeds out once its mean is worse than the median of earlier trials' at
            the same number of seeds, of which there must be five.
        resume: goes on with the sweep in `output`.
    """

    base: str
    output: str
    space: dict[str, dict[str, list[Any]]]
    overrides: dict[str, Any] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [1])
    trials: int | None = None
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    sampler_seed: int = 1
    metric: str = "return_after"
    direction: Literal["maximize", "minimize"] = "maximize"
    window: int = 1
    pruner: Literal["none", "median"] = "none"
    resume: bool = False

    def __post_init__(self) -> None:
        if not self.space:
            raise ValueError("`space` must name at least one field of the configuration.")
        for name, values in self.space.items():
            _require_range(name, values, self.sampler)
        for name in (*self.space, *self.overrides):
            if name in ("seed", "system"):
                raise ValueError(f"`{name}` is no field to search or override: `seeds` and `base` say it.")
            if name in self.space and name in self.overrides:
                raise ValueError(f"`{name}` is in `space` and in `overrides`.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"`seeds` must be one or more different numbers, got {self.seeds}.")
        if (self.trials is None) != (self.sampler == "grid"):
            raise ValueError("`trials` goes with the samplers tpe and random, which need it; a grid has its own.")
        for option, least in (("trials", 1), ("window", 1), ("sampler_seed", 0)):
            value = getattr(self, option)
            if value is not None and value < least:
                raise ValueError(f"`{option}` must be at least {least}, got {value}.")
        if self.pruner == "median" and len(self.seeds) == 1:
            raise ValueError("`pruner` decides between seeds, so it needs more than one.")

    @property
    def count(self) -> int:
        """How many trials."""
        return self.trials or len(_grid(self))


class Trial(NamedTuple):
    """A row of the table.

    Attributes:
        number: counted from 0.
        point: dotted names and values.
        value: mean over seeds; of a pruned trial over those it was trained on; nan without any.
        seeds: the value of each seed.
        state: "complete", "pruned", "failed" or "unfinished".
        reason: why it failed.
    """

    number: int
    point: dict[str, Any]
    value: float
    seeds: dict[int, float]
    state: str
    reason: str


def sweep(options: Options, say: Callable[[str], None] = tqdm.write) -> tuple[bool, list[Trial]]:
    """Runs trials up to the number wanted, and writes the table, the best configuration and the picture.

    Returns:
        Whether the sweep came to its end, False after an interrupt; and its trials.

    Raises:
        UsageError: Optuna is missing, or something is wrong with the options, said before any trial.
        RunFault: the sweep's own files cannot be written.
    """
    _optuna()
    output = Path(options.output)
    if not options.resume:
        RunFolder.require_free(output)
        text = _tried_out(options)
    elif not (output / "sweep.yaml").is_file():
        raise UsageError(f"{output} is not the folder of a sweep: it has no sweep.yaml.")
    else:
        _require_same_sweep(output, options)
        text = None
    try:
        output.mkdir(parents=True, exist_ok=True)
        with _alone(output):
            if text is not None:
                _write(output / "base.yaml", text)
            _write(output / "sweep.yaml", _dumped(options))
            return _searched(options, _opened(output, options), say)
    except OSError as error:
        raise RunFault(f"the sweep in {output} could not be written: {error.strerror or error}.") from error


def table(options: Options, trials: Sequence[Trial], count: int = 5) -> list[str]:
    """The best trials, best first, a line each under a line of names."""
    names = sorted(options.space)
    rows = [["trial", *names, f"mean {options.metric}", *(f"seed {seed}" for seed in options.seeds)]]
    for trial in _ranked(options, trials)[:count]:
        numbers = [trial.value, *(trial.seeds[seed] for seed in options.seeds)]
        rows.append([str(trial.number), *(_shown(trial.point[name]) for name in names), *map(_shown, numbers)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


# --- before any work ---


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UsageError("a sweep needs the extra 'sweep': pip install 'maml_rl[sweep]'.") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _require_range(name: str, values: Mapping[str, list[Any]], sampler: str) -> None:
    """Raises `ValueError` unless `values` describe what can be searched."""
    if len(values) != 1 or not values.keys() <= {"choice", "uniform", "log_uniform", "integer"}:
        raise ValueError(f"`space`: {name} must have one of choice, uniform, log_uniform, integer, got {dict(values)}.")
    ((kind, entries),) = values.items()
    if kind == "choice":
        if not entries or len(set(map(_written, entries))) < len(entries):
            raise ValueError(f"`space`: {name} must have one or more different choices, got {entries}.")
        return
    number = int if kind == "integer" else (int, float)
    numbers = [entry for entry in entries if isinstance(entry, number) and not isinstance(entry, bool)]
    if len(numbers) != 2 or len(entries) != 2 or not -math.inf < numbers[0] < numbers[1] < math.inf:
        whole = "whole " if kind == "integer" else ""
        raise ValueError(f"`space`: {name} must have two {whole}numbers, low and high, got {entries}.")
    if kind == "log_uniform" and numbers[0] <= 0:
        raise ValueError(f"`space`: {name} is searched on a logarithmic scale, so it must be positive, got {entries}.")
    if sampler == "grid" and kind != "integer":
        raise ValueError(f"`space`: a grid needs choices or integers, {name} has {kind}.")


def _tried_out(options: Options) -> str:
    """The base as YAML, after trying each value of the space alone, and one iteration for the columns it reports.

    Raises:
        UsageError: something that no trial, or no trial with a certain value, could be trained with.
    """
    system, config = _configured(Path(options.base), options.overrides, "`overrides`")
    first = {"seed": options.seeds[0]}
    for seed in options.seeds:
        _configured(Path(options.base), {**options.overrides, "seed": seed}, "`seeds`")
    for name, values in options.space.items():
        ((kind, entries),) = values.items()
        for index, entry in enumerate(entries):
            changes = {**options.overrides, **first, name: entry}
            _, changed = _configured(Path(options.base), changes, f"`space`: {name} {entry}")
            if not index or kind == "choice":
                build_system(SYSTEMS[system][1], changed).close()
            rows = math.ceil(changed.iterations / getattr(changed, "report_every", 1))
            if rows < options.window:
                raise UsageError(f"`window` is {options.window}, but a run has {rows} rows.")
    columns = _columns(system, config)
    if columns and options.metric not in columns:
        raise UsageError(f"`metric`: training reports no {options.metric!r}; it reports {', '.join(columns)}.")
    return dump_config(config)


def _columns(system: str, config: Any) -> list[str]:
    """What a training reports; nothing where its first iteration breaks, which another value may mend."""
    built = build_system(SYSTEMS[system][1], config)
    try:
        state, metrics = built.iterate(built.initial_state(), 0)
        return [*metrics, *built.validate(state, 1)]
    except (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError):
        return []
    finally:
        built.close()


def _configured(base: Path, changes: Mapping[str, Any], where: str) -> tuple[str, Any]:
    """The system and its configuration: that of a file, changed."""
    file = ["--config", str(base)]
    system = system_named(file)
    parser = parser_for(system)
    read_settings(parser, file)  # what is wrong with the file is not `changes`' fault
    known = {entry.name for entry in fields(SYSTEMS[system][0])}
    for name in changes:
        if name.split(".")[0] not in known:
            raise UsageError(f"{where}: the configuration of {system} has no field {name!r}.")
    argv = [*file, *(f"--{name}={_written(value)}" for name, value in changes.items())]
    try:
        return system, instantiate(parser, read_settings(parser, argv), system)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error


def _written(value: Any) -> str:
    """As a command line has it."""
    return value if isinstance(value, str) else json.dumps(value)


def _dumped(options: Options) -> str:
    content = {name: value for name, value in asdict(options).items() if name not in ("output", "resume")}
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None)


def _require_same_sweep(output: Path, options: Options) -> None:
    try:
        stored = yaml.safe_load((output / "sweep.yaml").read_text(encoding="utf-8"))
        changed = [name for name, value in asdict(options).items() if name not in _OWN and stored[name] != value]
    except (OSError, LookupError, TypeError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{output / 'sweep.yaml'} is damaged ({type(error).__name__}).") from error
    if changed:
        raise UsageError(f"a resumed sweep keeps its options, but this would change: {', '.join(sorted(changed))}.")


# --- the study ---


class _Study(NamedTuple):
    """Optuna's study in the sweep's folder, and where it is stored."""

    output: Path
    study: "Study"
    storage: "BaseStorage"


@contextlib.contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Keeps a second process out, which would train the same runs. Where there are no such locks, nobody does."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (output / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another process is at work on {output}.") from None
        yield


def _opened(output: Path, options: Options) -> _Study:
    """Opens or makes the study; what a killed process left half is cut off."""
    optuna = _optuna()
    path = output / "study.journal"
    (output / "study.journal.lock").unlink(missing_ok=True)  # a killed process' own; `_alone` has no other
    if path.is_file():
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            write_atomically(path, lambda file: file.write(whole))
    try:
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
        study = optuna.create_study(
            storage=storage, study_name="sweep", direction=options.direction, load_if_exists=True
        )
        done = sum(trial.state.is_finished() for trial in study.trials)
    except (LookupError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is damaged ({type(error).__name__}: {error}).") from error
    if done > options.count:
        raise UsageError(f"{output} has {done} trials already, got --trials {options.count}.")
    return _Study(output, study, storage)


def _current(options: Options, study: "Study") -> "FrozenTrial":
    """The trial that was interrupted, or else a new one. It is stored in one piece, so it has all its values."""
    optuna = _optuna()
    trials = study.trials
    if trials and not trials[-1].state.is_finished():
        return trials[-1]
    space = {name: _distribution(options.space[name]) for name in sorted(options.space)}
    point = _proposed(options, space, trials)
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, params=point, distributions=space))
    return study.trials[-1]


def _proposed(
    options: Options, space: dict[str, "BaseDistribution"], trials: Sequence["FrozenTrial"]
) -> dict[str, Any]:
    """The next point: a function of the sampler's seed, the trial's number, and the trials before."""
    if options.sampler == "grid":
        return _grid(options)[len(trials)]
    optuna = _optuna()
    seed = int(SeedSequence([options.sampler_seed, len(trials)]).generate_state(1)[0])
    kinds: dict[str, Callable[..., BaseSampler]] = {
        "tpe": optuna.samplers.TPESampler,
        "random": optuna.samplers.RandomSampler,
    }
    fresh = optuna.create_study(sampler=kinds[options.sampler](seed=seed), direction=options.direction)
    fresh.add_trials(trials)
    return dict(fresh.ask(space).params)


def _distribution(values: Mapping[str, list[Any]]) -> "BaseDistribution":
    ((kind, entries),) = values.items()
    of = _optuna().distributions
    if kind == "choice":
        return of.CategoricalDistribution([_plain(entry) for entry in entries])
    if kind == "integer":
        return of.IntDistribution(*entries)
    return of.FloatDistribution(*map(float, entries), log=kind == "log_uniform")


def _plain(choice: Any) -> Any:
    """Optuna's choices are single values, so a list is one in writing, which configurations read as well."""
    return json.dumps(choice) if isinstance(choice, (list, dict)) else choice


def _grid(options: Options) -> list[dict[str, Any]]:
    """All points, the last name varying fastest."""
    names = sorted(options.space)
    axes: list[list[Any]] = []
    for name in names:
        ((kind, entries),) = options.space[name].items()
        axes.append([*range(entries[0], entries[1] + 1)] if kind == "integer" else list(map(_plain, entries)))
    return [dict(zip(names, point, strict=True)) for point in product(*axes)]


# --- trials ---


def _searched(options: Options, opened: _Study, say: Callable[[str], None]) -> tuple[bool, list[Trial]]:
    """Trains trial after trial, with all files up to date after each."""
    done = sum(trial.state.is_finished() for trial in opened.study.trials)
    with (
        Interrupts() as interrupts,
        tqdm(total=options.count, initial=done, desc="trials", unit="trial", dynamic_ncols=True) as bar,
    ):
        try:
            while bar.n < options.count:
                interrupts.check()
                trial = _current(options, opened.study)
                _judge(options, opened, trial, interrupts, say)
                trials = _written_out(options, opened)
                if trials[trial.number].reason:
                    say(f"trial {trial.number} failed: {trials[trial.number].reason}")
                bar.update()
                ranked = _ranked(options, trials)
                bar.set_postfix_str(f"best {_shown(ranked[0].value)} in trial {ranked[0].number}" if ranked else "")
        except KeyboardInterrupt:
            say(f"interrupted after {bar.n} trials; go on with --resume.")
            return False, _written_out(options, opened)
    trials = _written_out(options, opened)
    if _ranked(options, trials):
        _draw(options, trials, opened.output / "sweep.png")
    return True, trials


def _judge(
    options: Options, opened: _Study, trial: "FrozenTrial", interrupts: Interrupts, say: Callable[[str], None]
) -> None:
    """Trains a trial's seeds and stores what came of it."""
    optuna = _optuna()
    states, found = optuna.trial.TrialState, dict[str, float]()
    state = states.COMPLETE
    for index, seed in enumerate(options.seeds):
        path = opened.output / f"trial-{trial.number:03d}" / f"seed-{seed}"
        try:
            with interrupts.welcome():
                _train(opened.output / "base.yaml", {**trial.params, "seed": seed}, path, say)
            found[str(seed)] = _measured(path, options.metric, options.window)
        except RunFault as fault:
            if isinstance(fault.__cause__, OSError):  # a full disk is not the trial's fault
                raise
            opened.storage.set_trial_user_attr(trial._trial_id, "reason", f"seed {seed}: {fault}")
            state = states.FAIL
            break
        if options.pruner == "median" and index + 1 < len(options.seeds):
            opened.storage.set_trial_intermediate_value(trial._trial_id, index, fmean(found.values()))
            so_far = opened.study.trials[trial.number]
            if optuna.pruners.MedianPruner().prune(opened.study, so_far):
                state = states.PRUNED
                break
    opened.storage.set_trial_user_attr(trial._trial_id, "seeds", found)
    opened.study.tell(trial.number, fmean(found.values()) if state == states.COMPLETE else None, state)


def _train(base: Path, changes: Mapping[str, Any], path: Path, say: Callable[[str], None]) -> None:
    """Trains a run to its end, from its last checkpoint where it has one.

    Raises:
        RunFault: it broke, or its configuration is refused.
        KeyboardInterrupt: it can go on.
    """
    named = f"{path.parent.name}, {path.name}"
    earlier = None
    if (path / "checkpoints" / "last.pt").is_file():
        earlier = RunFolder.open(path)
    else:
        shutil.rmtree(path, ignore_errors=True)  # what was interrupted before it had begun
    try:
        system, config = _configured(base, changes, "the configuration")
        last = earlier.load("last") if earlier is not None else {"iteration": 0}
        if last["iteration"] >= config.iterations and not last.get("counted"):
            return
        with started(system, config, path, earlier) as (built, folder):
            finished = train(
                built, folder, config.iterations, earlier is not None, lambda text: say(f"{named}: {text}")
            )
    except UsageError as error:
        if earlier is not None:  # a damaged checkpoint, say
            raise
        raise RunFault(str(error)) from error.__cause__
    if not finished:
        raise KeyboardInterrupt


def _measured(path: Path, metric: str, window: int) -> float:
    """The mean of a column over the last rows; of a validation over the last rows that have one.

    Raises:
        RunFault: it is not finite.
        UsageError: there is no such column.
    """
    with (path / "progress.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    if metric not in rows[0]:
        raise UsageError(f"`metric`: {path / 'progress.csv'} has no column {metric!r}; it has {', '.join(rows[0])}.")
    values = [float(row[metric]) for row in rows]
    if metric.startswith("validation_"):
        values = [value for value in values if not math.isnan(value)]
    mean = fmean(values[-window:]) if values else math.nan
    if not math.isfinite(mean):
        raise RunFault(f"{metric} is {mean} at the end of training.")
    return mean


# --- what the sweep leaves behind ---


def _written_out(options: Options, opened: _Study) -> list[Trial]:
    """Writes the table and the best configuration; the trials."""
    trials = [_row(trial) for trial in opened.study.trials]
    text, names = io.StringIO(), sorted(options.space)
    writer = csv.writer(text)
    writer.writerow(["trial", *names, "value", *(f"seed_{seed}" for seed in options.seeds), "state", "reason"])
    for trial in trials:
        seeds = [trial.seeds.get(seed, math.nan) for seed in options.seeds]
        point = [_written(trial.point[name]) for name in names]
        writer.writerow([trial.number, *point, trial.value, *seeds, trial.state, trial.reason])
    _write(opened.output / "sweep.csv", text.getvalue())
    for best in _ranked(options, trials)[:1]:
        changes = {**best.point, "seed": options.seeds[0]}
        _, config = _configured(opened.output / "base.yaml", changes, "the best trial")
        remark = f"# Trial {best.number} of a sweep: mean {options.metric} {best.value} over seeds {options.seeds}.\n"
        _write(opened.output / "best.yaml", remark + dump_config(config))
    return trials


def _row(trial: "FrozenTrial") -> Trial:
    seeds = {int(seed): value for seed, value in trial.user_attrs.get("seeds", {}).items()}
    state = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}.get(trial.state.name, "unfinished")
    value = fmean(seeds.values()) if seeds and state != "failed" else math.nan
    return Trial(trial.number, dict(trial.params), value, seeds, state, trial.user_attrs.get("reason", ""))


def _ranked(options: Options, trials: Sequence[Trial]) -> list[Trial]:
    """Those trained on all seeds, best first."""
    sign = -1 if options.direction == "maximize" else 1
    return sorted((trial for trial in trials if trial.state == "complete"), key=lambda trial: sign * trial.value)


def _draw(options: Options, trials: Sequence[Trial], path: Path) -> Path:
    """A panel for each parameter: means as dots, seeds as thin lines, the best in front, failures at the edge."""
    names = sorted(options.space)
    columns = min(len(names), 3)
    rows = math.ceil(len(names) / columns)
    size = (4.0 * columns, 3.4 * rows + 0.4)
    return save_figure(
        lambda figure: _fill(options, trials, names, figure.subplots(rows, columns, squeeze=False)), size, path
    )


def _fill(options: Options, trials: Sequence[Trial], names: Sequence[str], grid: Any) -> None:
    best, panels = _ranked(options, trials)[0], list(grid.flat)
    for name, axes in zip(names, panels, strict=False):
        ((kind, entries),) = options.space[name].items()
        labels = [_written(entry) for entry in entries]
        if kind == "choice":
            axes.set_xticks(range(len(labels)), labels)
            axes.set_xlim(-0.5, len(labels) - 0.5)
        elif kind == "log_uniform":
            axes.set_xscale("log")
            axes.set_xticks(ticks := np.geomspace(entries[0], entries[1], 4), [f"{tick:.2g}" for tick in ticks])
            axes.set_xticks([], minor=True)
        for trial in trials:
            place = labels.index(_written(trial.point[name])) if kind == "choice" else trial.point[name]
            if trial.state == "failed":
                axes.plot(place, 0.02, "x", color="#d62728", transform=axes.get_xaxis_transform())
            elif trial.state != "unfinished":
                color = {"complete": "#1f77b4", "pruned": "#aaaaaa"}[trial.state]
                color, order = ("#ff7f0e", 4) if trial is best else (color, 3)
                axes.plot(
                    [place] * 2, [min(trial.seeds.values()), max(trial.seeds.values())], color=color, linewidth=0.8
                )
                axes.plot(place, trial.value, "o", color=color, markersize=5, zorder=order)
        axes.set_xlabel(name)
        axes.grid(alpha=0.3)
    for axes in grid[:, 0]:
        axes.set_ylabel(f"{options.metric}, mean over seeds")
    for axes in panels[len(names) :]:
        axes.set_axis_off()


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else _written(value)


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(text.encode()))
