"""Trainings by name: the corpus that optimisers are meta-trained on, and what they are tested on."""

import importlib
from collections.abc import Callable

from maml_rl.problems.functions import FUNCTIONS, bowl, quadratic, softmax_of_clusters
from maml_rl.problems.networks import classifier, convolutional_classifier, sine_regression
from maml_rl.problems.problem import TrainingProblem, noisy, sparse
from maml_rl.supervised.digits import digits
from maml_rl.supervised.task_distribution import Split

__all__ = ["CORPUS", "problem_of"]


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
    "digits-32": lambda: _on_digits("digits 32", (32,)),
    "digits-linear": lambda: _on_digits("digits, linear", ()),
    "digits-16-16-tanh": lambda: _on_digits("digits 16-16, tanh", (16, 16), "tanh"),
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


def problem_of(name: str) -> TrainingProblem:
    """The training of a name in `CORPUS`, or what ``package.module:function`` returns.

    Raises:
        ValueError: there is none of this name, or the function returns something else.
    """
    if name in CORPUS:
        return CORPUS[name]()
    module, colon, function = name.partition(":")
    if not colon:
        raise ValueError(f"there is no problem {name!r}; there are {', '.join(CORPUS)}, and package.module:function.")
    try:
        made = getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ValueError(f"problem {name!r}: {error}") from error
    if not isinstance(made, TrainingProblem):
        raise ValueError(f"problem {name!r} must be a TrainingProblem, got {type(made).__name__}.")
    return made
