"""Checkpoints: written atomically, read without executing anything, refused when foreign or damaged."""

from pathlib import Path
from typing import Any

import torch

from maml_rl.run.errors import RunFault, UsageError
from maml_rl.run.files import write_atomically

__all__ = ["FORMAT", "fitted", "load", "require_storable", "save"]

FORMAT = "maml_rl checkpoint 2"
_KEYS = {"state": dict, "iteration": int, "totals": dict, "best": float}


def save(path: Path, content: dict[str, Any]) -> None:
    """Writes `content` so that `path` holds either the whole of it or what it held before.

    Raises:
        RunFault: the file could not be written (a full disk, say).
    """
    try:
        write_atomically(path, lambda file: torch.save({"format": FORMAT, **content}, file))
    except (OSError, RuntimeError) as error:  # torch's writer reports a full disk as a RuntimeError
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).split("\n")[0]
        intact = "; the one before is intact" if path.exists() else ""
        raise RunFault(f"checkpoint {path} could not be written: {reason}{intact}.") from error


def require_storable(content: Any, name: str = "state") -> None:
    """Raises `ValueError`, naming the place, unless a checkpoint can hold the content and give it back."""
    if isinstance(content, dict):
        for key, entry in content.items():
            require_storable(entry, f"{name}[{key!r}]")
    elif type(content) in (list, tuple):
        for index, entry in enumerate(content):
            require_storable(entry, f"{name}[{index}]")
    elif not (content is None or type(content) in (bool, int, float, str) or isinstance(content, torch.Tensor)):
        raise ValueError(
            f"`{name}` is a {type(content).__name__}: a state is made of tensors, numbers, strings, lists, tuples and "
            "dictionaries."
        )


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
    wrong = [name for name, expected in _KEYS.items() if not isinstance(content.get(name), expected)]
    if wrong:
        raise UsageError(f"checkpoint {path} lacks {', '.join(wrong)}.")
    return content


def fitted(state: Any, template: Any, path: Path) -> Any:
    """A loaded state on the devices of a template.

    Raises:
        UsageError: it has other names, lengths, shapes, precisions or types than the template.
    """
    if type(state) is type(template):
        if isinstance(template, dict) and state.keys() == template.keys():
            return {name: fitted(state[name], template[name], path) for name in template}
        if isinstance(template, (list, tuple)) and len(state) == len(template):
            parts = [fitted(one, other, path) for one, other in zip(state, template, strict=True)]
            return type(template)(parts)
        if isinstance(template, torch.Tensor) and (state.shape, state.dtype) == (template.shape, template.dtype):
            return state.to(template.device)
        if not isinstance(template, (dict, list, tuple, torch.Tensor)):
            return state
    raise UsageError(f"the checkpoint in {path} does not fit the run's configuration.")
