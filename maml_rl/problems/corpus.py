"""Trainings by name: the corpus that optimisers are meta-trained on, and what they are tested on."""

import importlib
from collections.abc import Callable

import numpy as np

from maml_rl.problems.functions import FUNCTIONS, bowl, quadratic, softmax_of_clusters
from maml_rl.problems.networks import classifier, convolutional_classifier, sine_regression
from maml_rl.problems.problem import TrainingProblem, noisy, sparse
from maml_rl.supervised.digits import digits
from maml_rl.supervised.omniglot import omniglot
from maml_rl.supervised.task_distribution import Labelled, Split

__all__ = ["CORPUS", "OF_FILES", "problem_of", "require_name"]

_CHARACTERS, _SIDE = 20, 14


def _on_digits(
    name: str, hidden: tuple[int, ...], activation: str = "relu", batch: int = 64, held_out: Split = "test"
) -> TrainingProblem:
    """Digits for training; held-out losses are those of the test images where nothing is said."""
    splits = digits()
    return classifier(name, splits["train"], splits[held_out], hidden, activation, batch)  # type: ignore[arg-type]


def _convolutional() -> TrainingProblem:
    splits = digits()
    return convolutional_classifier("digits, convolutions 8-16", splits["train"], splits["test"])


CORPUS: dict[str, Callable[[], TrainingProblem]] = {
    **{name: lambda name=name: FUNCTIONS[name] for name in FUNCTIONS},  # type: ignore[misc]
    "quadratic": quadratic,
    "quadratic-noisy": lambda: noisy(quadratic(), 0.3),
    "quadratic-sparse": lambda: sparse(quadratic(), 0.3),
    "bowl": bowl,
    "bowl-steep": lambda: bowl(condition=1e4),
    "softmax": softmax_of_clusters,
    "digits-16": lambda: _on_digits("digits 16", (16,)),
    "digits-16-batch-8": lambda: _on_digits("digits 16, batches of 8", (16,), batch=8),
    "digits-32": lambda: _on_digits("digits 32", (32,)),
    "digits-linear": lambda: _on_digits("digits, linear", ()),
    "digits-16-16-tanh": lambda: _on_digits("digits 16-16, tanh", (16, 16), "tanh"),
    "digits-16-16-16": lambda: _on_digits("digits 16-16-16", (16, 16, 16)),
    "digits-128": lambda: _on_digits("digits 128", (128,)),
    "digits-64-64": lambda: _on_digits("digits 64-64", (64, 64)),
    "digits-24-24-24-24-tanh": lambda: _on_digits("digits 24-24-24-24, tanh", (24, 24, 24, 24), "tanh"),
    "digits-32-batch-8": lambda: _on_digits("digits 32, batches of 8", (32,), batch=8),
    "digits-convolutional": _convolutional,
    "digits-16-validation": lambda: _on_digits("digits 16, validation", (16,), held_out="validation"),
    "digits-32-validation": lambda: _on_digits("digits 32, validation", (32,), held_out="validation"),
    "sine-32-32": sine_regression,
    "sine-64": lambda: sine_regression((64,)),
}
"""Makes each training of this package."""


def _on_characters(data: str | None) -> TrainingProblem:
    """Twenty characters that MAML++'s protocol tests on, 15 drawings of each for training and 5 held out."""
    tasks = omniglot(data, _CHARACTERS, "maml_plus_plus", size=_SIDE)
    drawn = tasks.sample(np.random.default_rng(0), 1, 15, 5, "test")
    training, held_out = (Labelled(part.inputs[0], part.targets[0]) for part in (drawn.support, drawn.query))
    return convolutional_classifier("Omniglot characters, convolutions", training, held_out)


OF_FILES: dict[str, Callable[[str | None], TrainingProblem]] = {"omniglot-convolutions": _on_characters}
"""Makes each training of this package whose data lie in a folder or archive that the user has."""


def require_name(name: str) -> None:
    """Raises `ValueError` unless this is in `CORPUS` or `OF_FILES`, or has the form ``package.module:function``."""
    if ":" not in name and name not in (known := (*CORPUS, *OF_FILES)):
        raise ValueError(f"there is no problem {name!r}; there are {', '.join(known)}, and package.module:function.")


def problem_of(name: str, data: str | None = None) -> TrainingProblem:
    """The training of a name in `CORPUS` or `OF_FILES`, or what ``package.module:function`` returns.

    Args:
        name: see above.
        data: folder or archive for what reads one.

    Raises:
        ValueError: there is none of this name, the function returns something else, or its data are missing.
    """
    if name in OF_FILES:
        return OF_FILES[name](data)
    if name in CORPUS:
        return CORPUS[name]()
    require_name(name)
    module, _, function = name.partition(":")
    try:
        made = getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ValueError(f"problem {name!r}: {error}") from error
    if not isinstance(made, TrainingProblem):
        raise ValueError(f"problem {name!r} must be a TrainingProblem, got {type(made).__name__}.")
    return made
