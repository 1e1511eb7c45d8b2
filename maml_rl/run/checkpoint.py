"""Checkpoints: written atomically, read without executing anything, refused when foreign or damaged."""

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from maml_rl.run.errors import RunFault, UsageError

__all__ = ["FORMAT", "fitted", "load", "save"]

FORMAT = "maml_rl checkpoint 1"


def save(path: Path, content: dict[str, Any]) -> None:
    """Writes `content` so that `path` holds either the whole of it or what it held before.

    Raises:
        RunFault: the file could not be written (a full disk, say); what `path` held is intact.
    """
    handle, temporary = -1, None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            torch.save({"format": FORMAT, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).split("\n")[0]
        raise RunFault(f"checkpoint {path} could not be written: {reason}; the one before is intact.") from error


def load(path: Path, system: str) -> dict[str, Any]:
    """Reads a checkpoint of `system` onto the CPU.

    Raises:
        UsageError: there is none, it is damaged, or something else wrote it.
    """
    if not path.is_file():
        raise UsageError(f"there is no checkpoint {path}.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UsageError(
            f"checkpoint {path} is damaged or is not one of maml_rl's ({type(error).__name__})."
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UsageError(f"{path} is not a checkpoint of maml_rl: it lacks the mark {FORMAT!r}.")
    if content.get("system") != system:
        raise UsageError(f"checkpoint {path} is one of system {content.get('system')!r}, the run is {system!r}.")
    return content


def fitted(state: Any, fresh: Any, path: Path) -> Any:
    """A loaded state on the devices of a fresh one.

    Raises:
        UsageError: it has other names or shapes than the fresh one.
    """
    if isinstance(fresh, dict) and isinstance(state, dict) and state.keys() == fresh.keys():
        return {name: fitted(state[name], fresh[name], path) for name in fresh}
    if isinstance(fresh, torch.Tensor) and isinstance(state, torch.Tensor) and state.shape == fresh.shape:
        return state.to(fresh.device)
    if type(fresh) is type(state) and not isinstance(fresh, (dict, torch.Tensor)):
        return state
    raise UsageError(f"the checkpoint in {path} does not fit the run's configuration.")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
