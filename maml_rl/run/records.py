"""What a run writes while it goes: `progress.csv` and TensorBoard events, both cut back when it resumes."""

import contextlib
import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from maml_rl.run.errors import RunFault
from maml_rl.run.files import write_text
from maml_rl.systems.system import is_time

__all__ = ["Records"]


class Records:
    """Appends one row of metrics an iteration; a context manager.

    Args:
        folder: the run folder.
        iteration: the first iteration that will be written; rows of later ones, left by an interrupted run, go.
        groups: TensorBoard's groups by the beginnings of metrics' names.

    Raises:
        RunFault: the files cannot be made.
    """

    def __init__(self, folder: Path, iteration: int, groups: Mapping[str, str]) -> None:
        self._path, self._groups = folder / "progress.csv", groups
        self._columns: list[str] | None = None
        try:
            if self._path.is_file():
                self._cut_back(iteration)
            self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=iteration)
        except (OSError, KeyError, ValueError, csv.Error) as error:
            reason = getattr(error, "strerror", None) or f"{self._path.name} is damaged ({type(error).__name__})"
            raise RunFault(f"records in {folder} could not be made: {reason}.") from error

    def __enter__(self) -> "Records":
        return self

    def __exit__(self, error_type: type[BaseException] | None, *error: Any) -> None:
        # On a full disk closing fails as well; what went wrong first is what the user has to know.
        with contextlib.suppress(OSError) if error_type else contextlib.nullcontext():
            self._events.close()

    def write(self, iteration: int, metrics: dict[str, float]) -> None:
        """Writes one iteration's metrics.

        Raises:
            RunFault: the disk is full or the file cannot be written.
        """
        row = {"iteration": iteration, **metrics}
        try:
            if self._columns is not None and row.keys() - set(self._columns):
                self._widen(list(row))
            with self._path.open("a", newline="") as file:
                file.write(self._lines([row], header=self._columns is None))
            for name, value in metrics.items():
                if math.isfinite(value):
                    self._events.add_scalar(self._tag(name), value, iteration)
            self._events.flush()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RunFault(f"iteration {iteration}: {self._path} could not be written: {reason}.") from error

    def _lines(self, rows: Sequence[dict[str, Any]], header: bool) -> str:
        text = io.StringIO()
        self._columns = self._columns or list(rows[0])
        writer = csv.DictWriter(text, self._columns, restval="nan")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def _cut_back(self, iteration: int) -> None:
        with self._path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        # A row that an interrupted write left half is not a row.
        whole = [row for row in rows if None not in row.values() and row["iteration"].isdigit()]
        kept = [row for row in whole if int(row["iteration"]) < iteration]
        text = self._lines(kept, header=True) if kept else ""
        write_text(self._path, text)

    def _widen(self, names: list[str]) -> None:
        """Adds columns to a file that an earlier version of the system began."""
        with self._path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        self._columns = [*(self._columns or []), *(name for name in names if name not in (self._columns or []))]
        text = self._lines(rows, header=True)
        write_text(self._path, text)

    def _tag(self, name: str) -> str:
        """TensorBoard groups curves by what stands before the slash."""
        group = "time" if is_time(name) else self._groups.get(name.split("_", maxsplit=1)[0], "run")
        return f"{group}/{name}"
