"""A run folder: configuration, versions, records and checkpoints of one training run."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from maml_rl import __version__
from maml_rl.run import checkpoint
from maml_rl.run.config import dump_config, load_config
from maml_rl.run.errors import RunFault, UsageError
from maml_rl.run.files import write_text
from maml_rl.systems.registry import Registered
from maml_rl.systems.system import RunConfig, System

__all__ = ["RunFolder"]

_DATA = "data.json"
_PACKAGES = ("torch", "numpy", "gymnasium", "mujoco", "stable_baselines3", "jsonargparse", "tensorboard")


@dataclass(frozen=True)
class RunFolder:
    """Paths and contents of a run.

    Attributes:
        path: the folder.
        system: the system.
        config: its configuration.
    """

    path: Path
    system: Registered
    config: RunConfig

    @classmethod
    def create(cls, path: Path, registered: Registered, system: System[Any, Any]) -> "RunFolder":
        """Makes the folder and writes configuration, versions, what metrics mean, and what tells the data from others.

        Raises:
            UsageError: the folder exists and is not empty, or cannot be made.
        """
        cls.require_free(path)
        files = {"metrics.json": _metrics_meaning(registered, system), "versions.json": versions()}
        identity = system.data_identity()
        if identity:
            files[_DATA] = identity
        try:
            (path / "checkpoints").mkdir(parents=True)
            (path / "config.yaml").write_text(dump_config(registered.name, system.config), encoding="utf-8")
            for name, content in files.items():
                (path / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"run folder {path} cannot be written: {error.strerror}.") from error
        return cls(path, registered, system.config)

    def with_config(self, config: RunConfig) -> "RunFolder":
        """The same folder with another configuration, written to its file.

        Raises:
            RunFault: the file cannot be written.
        """
        if config == self.config:
            return self
        text = dump_config(self.system.name, config)
        try:
            write_text(self.path / "config.yaml", text)
        except OSError as error:
            raise RunFault(f"{self.path / 'config.yaml'} could not be written: {error.strerror}.") from error
        return RunFolder(self.path, self.system, config)

    @staticmethod
    def require_free(path: Path) -> None:
        """Raises `UsageError` unless the folder is new or empty."""
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UsageError(f"run folder {path} exists. Choose another --output, or go on with it by --resume.")

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """The folder of an earlier run.

        Raises:
            UsageError: it is not a run folder.
        """
        if not (path / "config.yaml").is_file():
            raise UsageError(f"{path} is not a run folder: it has no config.yaml.")
        system, config = load_config(path / "config.yaml")
        return cls(path, system, config)

    def require_same_data(self, identity: Mapping[str, str]) -> None:
        """Raises `UsageError` if the run was trained on data with another identity."""
        try:
            stored = json.loads((self.path / _DATA).read_text(encoding="utf-8"))
        except OSError:
            return  # none was stored
        except ValueError as error:
            raise UsageError(f"{self.path / _DATA} is damaged: {error}.") from error
        changed = sorted(name for name in {*stored, *identity} if stored.get(name) != identity.get(name))
        if changed:
            raise UsageError(
                f"these are not the tasks that {self.path} was trained on ({changed[0]}: {stored.get(changed[0])}, now "
                f"{identity.get(changed[0])}): what was held out then may not be now."
            )

    def save(self, which: str, content: dict[str, Any]) -> None:
        """Writes a checkpoint (see `checkpoint.save`)."""
        checkpoint.save(self.path / "checkpoints" / f"{which}.pt", {"system": self.system.name, **content})

    def keep(self, iterations: Sequence[int]) -> None:
        """Removes the checkpoints ``validated-<iteration>`` of other iterations than these."""
        wanted = {f"validated-{iteration}.pt" for iteration in iterations}
        for path in (self.path / "checkpoints").glob("validated-*.pt"):
            if path.name not in wanted:
                path.unlink(missing_ok=True)

    def has(self, which: str) -> bool:
        """Whether there is such a checkpoint."""
        return (self.path / "checkpoints" / f"{which}.pt").is_file()

    def load(self, which: str) -> dict[str, Any]:
        """Reads a checkpoint (see `checkpoint.load`)."""
        return checkpoint.load(self.path / "checkpoints" / f"{which}.pt", self.system.name)


def _metrics_meaning(registered: Registered, system: System[Any, Any]) -> dict[str, Any]:
    """What the columns of `progress.csv` are for, what is measured, and on which tasks."""
    return {
        "system": registered.name,
        "measure": system.measure.name,
        "higher_is_better": system.measure.higher_is_better,
        "label": system.measure.title,
        "digits": system.measure.digits,
        "learning_curve": system.roles.learning_curve,
        "totals": list(system.roles.totals),
        "sums": list(system.roles.sums),
        "schedules": {title: list(names) for title, names in system.roles.schedules.items()},
        "tasks_name": system.tasks_name,
    }


def versions() -> dict[str, Any]:
    """What this run's numbers depend on beside its configuration."""
    numbers: dict[str, Any] = {"maml_rl": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            numbers[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            numbers[name] = None
    numbers["machine"] = platform.machine()
    numbers["cuda_device"] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return numbers
