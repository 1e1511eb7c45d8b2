"""The metrics of lifetimes that are lived side by side: means over seeds with intervals, for each setting."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maml_rl.systems.meta_gradient_config import Config
from maml_rl.systems.student import quantile
from maml_rl.systems.system import MetricRoles, Metrics

__all__ = ["Columns", "roles_of"]

_OF, _INTERVAL = " of lifetime ", "_interval95"

_LISTED = 32
"""Lifetimes up to this many have a column of their own."""


@dataclass(frozen=True)
class Columns:
    """Names of metrics for S settings with L seeds each; lifetime s L + l is seed l of setting s.

    Attributes:
        settings: what each setting is called; one setting needs no name.
        seeds: L.
    """

    settings: Sequence[str]
    seeds: int

    @classmethod
    def of(cls, config: Config) -> "Columns":
        """Those of a configuration: settings are called by what differs between them."""
        settings = config.settings
        varied = [name for name in settings[0] if len({setting[name] for setting in settings}) > 1]
        return cls(
            [" ".join(f"{name}={_short(setting[name])}" for name in varied) for setting in settings], config.seeds
        )

    def called(self, lifetime: int) -> str:
        """What messages call a lifetime."""
        setting, seed = divmod(lifetime, self.seeds)
        words = (f"the {_ordinal(seed + 1)} of {self.seeds} seeds", self.settings[setting])
        return f"lifetime {lifetime} ({', '.join(filter(None, words))})"

    def names(self, name: str) -> list[str]:
        """The columns of the means of a quantity: over all lifetimes, and over those of each setting."""
        return [name] if len(self.settings) == 1 else [name, *[f"{name} {setting}" for setting in self.settings]]

    def of_settings(self, name: str) -> list[str]:
        """The columns of the means over each setting's lifetimes."""
        return self.names(name)[1:] or [name]

    def of_lifetimes(self, name: str) -> list[str]:
        """The columns of a quantity's sum in each lifetime; none where there are many."""
        count = len(self.settings) * self.seeds
        return [f"{name}_of_{index}" for index in range(count)] if 1 < count <= _LISTED else []

    def each(self, name: str, values: Tensor) -> Metrics:
        """Values [N], or entries [N, I], of each lifetime, for `row`."""
        if values.dim() == 2:
            entries = [self.each(f"{name}_{index}", values[:, index]) for index in range(values.shape[1])]
            return {column: value for entry in entries for column, value in entry.items()}
        return {f"{name}{_OF}{index}": value for index, value in enumerate(values.tolist())}

    def row(self, metrics: Metrics) -> Metrics:
        """Means with intervals in the place of what `each` told of single lifetimes."""
        values: dict[str, list[float]] = {}
        for name, value in metrics.items():
            values.setdefault(name.partition(_OF)[0], []).append(value)
        row: Metrics = {}
        for name, several in values.items():
            row |= (
                {name: metrics[name]}
                if name in metrics
                else self.means(name, torch.tensor(several, dtype=torch.float64))
            )
        return row

    def means(self, name: str, values: Tensor) -> Metrics:
        """Mean and half the width of the 95% interval, t s / sqrt(L), of values [N].

        t is Student's with L - 1 degrees of freedom. Lifetimes without a number (nan) do not count.
        """
        grouped = values.double().view(len(self.settings), self.seeds)
        groups = [grouped.reshape(-1), *grouped] if len(grouped) > 1 else [grouped[0]]
        metrics: Metrics = {}
        for column, group in zip(self.names(name), groups, strict=True):
            known = group[~group.isnan()]
            metrics[column] = float(known.mean())
            if self.seeds > 1 and len(group) == self.seeds:
                count = len(known)
                width = quantile(count - 1) * float(known.std()) / count**0.5 if count > 1 else math.nan
                metrics[column + _INTERVAL] = width
        return metrics

    def sums(self, name: str, values: Tensor) -> Metrics:
        """What values [N] add to sums over the run: their means, and each."""
        means = self.means(name, values)
        each = dict(zip(self.of_lifetimes(name), values.tolist(), strict=False))
        return {**{column: means[column] for column in self.names(name)}, **each}

    def intervals(self, name: str, values: Tensor) -> Metrics:
        """The intervals alone of the means of values [N]."""
        return {column: value for column, value in self.means(name, values).items() if column.endswith(_INTERVAL)}

    def totals(self, name: str) -> list[str]:
        """The columns of `sums` that are to be summed up."""
        return [*self.names(name), *self.of_lifetimes(name)]


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _short(value: float) -> str:
    """The number in six digits, or in all that it has."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def roles_of(config: Config, columns: Columns, entries: Mapping[str, int], predicts: bool) -> MetricRoles:
    """What the metrics are for.

    Args:
        config: of the run.
        columns: their names.
        entries: of each learned hyper-parameter: how many a table has, 0 for a number.
        predicts: whether the error of values is what counts, and not reward.
    """
    panels: dict[str, tuple[str, ...]] = {}
    for name, count in entries.items():
        each = [name] if not count else [f"{name}_{index}" for index in range(count)]
        panels[name.replace("_", " ")] = tuple(column for entry in each for column in columns.of_settings(entry))
    learned = "value_error" if predicts else "reward"
    panels[learned.replace("_", " ")] = tuple(columns.of_settings(learned))
    return MetricRoles(
        selection=None,  # what comes later has lived longer
        learning_curve=learned,
        totals=("env_steps",),
        sums=tuple(columns.totals("cumulative_reward")),
        groups={**dict.fromkeys(config.learned, "hyperparameters"), "reward": "reward", "cumulative": "reward"},
        schedules=panels,
    )
