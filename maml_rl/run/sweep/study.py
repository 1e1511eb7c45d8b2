"""Optuna's study in the sweep's folder: it proposes a point for each trial and stores what came of it."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy.random import SeedSequence

from maml_rl.run.errors import UsageError
from maml_rl.run.files import write_atomically
from maml_rl.run.sweep.options import Options
from maml_rl.run.sweep.space import grid, plain

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

__all__ = ["OpenedStudy", "alone", "current_trial", "open_study", "require_optuna"]


class OpenedStudy(NamedTuple):
    """A study, and where it is stored.

    Attributes:
        output: the sweep's folder.
        study: Optuna's.
        storage: what the study writes to.
    """

    output: Path
    study: "Study"
    storage: "BaseStorage"

    @property
    def done(self) -> int:
        """How many trials have come to an end."""
        return sum(trial.state.is_finished() for trial in self.study.trials)


def require_optuna() -> Any:
    """The module, which is an extra.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise UsageError("a sweep needs the extra 'sweep': pip install 'maml_rl[sweep]'.") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


@contextlib.contextmanager
def alone(output: Path) -> Iterator[None]:
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


def open_study(output: Path, options: Options) -> OpenedStudy:
    """Opens or makes the study; what a killed process left half is cut off. Only for who is `alone`.

    Raises:
        UsageError: what is stored is damaged, or has more trials than are wanted.
    """
    optuna = require_optuna()
    path = output / "study.journal"
    (output / "study.journal.lock").unlink(missing_ok=True)  # a killed process' own; `alone` has no other
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
        opened = OpenedStudy(output, study, storage)
        done = opened.done
    except (LookupError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is damaged ({type(error).__name__}: {error}).") from error
    if done > options.count:
        raise UsageError(f"{output} has {done} trials already, got --trials {options.count}.")
    return opened


def current_trial(options: Options, study: "Study") -> "FrozenTrial":
    """The trial that was interrupted, or else a new one. It is stored in one piece, so it has all its values."""
    optuna = require_optuna()
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
        return grid(options.space)[len(trials)]
    optuna = require_optuna()
    seed = int(SeedSequence([options.sampler_seed, len(trials)]).generate_state(1)[0])
    kinds: dict[str, Callable[..., BaseSampler]] = {
        "tpe": optuna.samplers.TPESampler,
        "random": optuna.samplers.RandomSampler,
    }
    fresh = optuna.create_study(sampler=kinds[options.sampler](seed=seed), direction=options.direction)
    fresh.add_trials(trials)
    return dict(fresh.ask(space).params)


def _distribution(values: Mapping[str, list[Any]]) -> "BaseDistribution":
    ((scale, entries),) = values.items()
    of = require_optuna().distributions
    if scale == "choice":
        return of.CategoricalDistribution([plain(entry) for entry in entries])
    if scale == "integer":
        return of.IntDistribution(*entries)
    return of.FloatDistribution(*map(float, entries), log=scale == "log_uniform")
