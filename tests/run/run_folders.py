"""Folders as training and evaluation leave them, made without either."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maml_rl.run import evaluate
from maml_rl.systems.evaluation import Evaluation, Measure

RETURN = Measure("return", True, digits=2)
ERROR = Measure("error", False, "mean squared error")
ACCURACY = Measure("accuracy", True)

_TASKS = "environment: {id: 'envs:HalfCheetahVel-v0', arguments: {}}\n"
_HEAD = "iteration,return_before,return_after,env_steps,sampling_s,adaptation_s,meta_update_s,steps_per_s"
_VALIDATED = "iteration,meta_loss,drawing_s,iteration_s,validation_error,validation_s\n"


def write_run(
    folder: Path,
    seed: int = 1,
    config: str = _TASKS,
    values: Sequence[float] = (-5.0, -3.0, -2.0),
    tasks: int = 6,
    place: str = "best",
    arrays: bool = True,
) -> Path:
    """A run that counts environment steps, with its evaluation in the subfolder `place`."""
    write_training(folder, RETURN, "return_after", ["env_steps"], seed, config)
    (folder / "versions.json").write_text(json.dumps({"maml_rl": "0.1.0", "torch": "2.13.0"}))
    rows = [
        f"{index},{value - 1},{value},{1000 * (index + 1) + 10 * seed},{1 + seed},2,3,400"
        for index, value in enumerate(values)
    ]
    (folder / "progress.csv").write_text("\n".join([_HEAD, *rows, ""]))
    returns = np.random.default_rng(seed).normal(size=(3, tasks, 4)) + np.arange(3)[:, None, None]
    write_evaluation(folder / place, RETURN, returns, arrays, {"checkpoint": place})
    return folder


def write_validated_run(folder: Path, seed: int = 1) -> Path:
    """A run that counts no steps and is validated now and then; lower is better."""
    write_training(folder, ERROR, "validation_error", [], seed, "distribution: {id: sinusoid, arguments: {}}\n")
    (folder / "progress.csv").write_text(_VALIDATED + "9,1,.1,2,nan,0\n19,1,.1,3,0.5,4\n29,1,.1,3,0.4,4\n")
    errors = np.random.default_rng(seed).uniform(0.1, 3.0, (4, 8)) / np.arange(1, 5)[:, None]
    return write_evaluation(folder, ERROR, errors)


def write_training(
    folder: Path, measure: Measure, learning_curve: str, totals: Sequence[str] = (), seed: int = 1, config: str = ""
) -> Path:
    """`config.yaml` and `metrics.json`, without a `progress.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    system = "maml_trpo" if totals else "maml"
    (folder / "config.yaml").write_text(f"system: {system}\nseed: {seed}\n{config}")
    content = {
        "system": system,
        "measure": measure.name,
        "higher_is_better": measure.higher_is_better,
        "label": measure.title,
        "digits": measure.digits,
        "learning_curve": learning_curve,
        "totals": list(totals),
    }
    (folder / "metrics.json").write_text(json.dumps(content))
    return folder


def write_evaluation(
    folder: Path,
    measure: Measure,
    values: NDArray[np.float64],
    arrays: bool = True,
    settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> Path:
    """The files of an evaluation of values [K + 1, N, ...], without the array file where it is not wanted."""
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [{"phase": task} for task in range(values.shape[1])]
    evaluate.write(Evaluation(measure, values, tasks, settings=settings or {}, **more), folder)
    if not arrays:
        (folder / "evaluation.npz").unlink()
    return folder


def change_json(path: Path, **changes: Any) -> None:
    """Gives names of a JSON file other values; those of `settings` go beside the ones that it has."""
    content = json.loads(path.read_text())
    changes["settings"] = {**content.get("settings", {}), **changes.get("settings", {})}
    path.write_text(json.dumps({**content, **changes}))
