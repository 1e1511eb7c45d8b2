"""What a run writes while it goes: `progress.csv` and TensorBoard events, both cut back when it resumes."""

import csv
import io
import math
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from maml_rl.run.errors import RunFault

__all__ = ["Records"]

_GROUPS = {"return": "return", "adaptation": "return", "surrogate": "meta_update", "kl": "meta_update",
           "line": "meta_update", "curvature": "meta_update"}  # fmt: skip


class Records:
    """Appends one row of metrics an iteration.

    Args:
        folder: the run folder.
        iteration: the first iteration that will be written; rows of later ones, left by an interrupted run, go.
    """

    def __init__(self, folder: Path, iteration: int) -> None:
        self._path = folder / "progress.csv"
        self._columns: list[str] | None = None
        if iteration > 0:
            self._cut_back(iteration)
        elif self._path.exists():
            self._path.unlink()
        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=iteration if iteration else None)

    def write(self, iteration: int, metrics: dict[str, float]) -> None:
        """Writes one iteration's metrics.

        Raises:
            RunFault: the disk is full or the file cannot be written.
        """
        row = {"iteration": iteration, **metrics}
        try:
            self._append(row)
            for name, value in metrics.items():
                if math.isfinite(value):
                    self._events.add_scalar(_tag(name), value, iteration)
            self._events.flush()
        except OSError as error:
            raise RunFault(f"iteration {iteration}: {self._path} could not be written: {error.strerror}.") from error

    def close(self) -> None:
        """Closes the event file."""
        self._events.close()

    def _append(self, row: dict[str, Any]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns or list(row))
        if self._columns is None:
            self._columns = list(row)
            writer.writeheader()
        writer.writerow(row)
        with self._path.open("a", newline="") as file:
            file.write(text.getvalue())

    def _cut_back(self, iteration: int) -> None:
        if not self._path.is_file():
            return
        with self._path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        # A row that an interrupted write left half is not a row.
        kept = [row for row in rows if None not in row.values() and row["iteration"].isdigit()]
        kept = [row for row in kept if int(row["iteration"]) < iteration]
        self._path.unlink()
        for row in kept:
            self._append(row)


def _tag(name: str) -> str:
    """TensorBoard groups curves by what stands before the slash."""
    return f"{'time' if name.endswith('_s') else _GROUPS.get(name.split('_', maxsplit=1)[0], 'run')}/{name}"
