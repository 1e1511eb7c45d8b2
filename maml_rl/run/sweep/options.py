"""The options of a sweep, and their file, which a resumed sweep must agree with."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from maml_rl.run.errors import UsageError
from maml_rl.run.sweep.space import grid, require_range

__all__ = ["Options", "dump_options", "require_same_options"]

_NOT_STORED = ("output", "resume")
_MAY_CHANGE = (*_NOT_STORED, "trials")  # when a sweep goes on


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
            require_range(name, values, self.sampler)
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
        return self.trials or len(grid(self.space))


def dump_options(options: Options) -> str:
    """As the YAML of `sweep.yaml`."""
    content = {name: value for name, value in asdict(options).items() if name not in _NOT_STORED}
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None)


def require_same_options(path: Path, options: Options) -> None:
    """Raises `UsageError` unless the file `path` says the same, but for what may change when a sweep goes on."""
    try:
        stored = yaml.safe_load(path.read_text(encoding="utf-8"))
        changed = [name for name, value in asdict(options).items() if name not in _MAY_CHANGE and stored[name] != value]
    except (OSError, LookupError, TypeError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{path} is damaged ({type(error).__name__}).") from error
    if changed:
        raise UsageError(f"a resumed sweep keeps its options, but this would change: {', '.join(sorted(changed))}.")
