"""Networks and task distributions from elsewhere: how they plug in, and how their faults are told before any work."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from maml_rl.supervised.networks import NetworkConfig
from maml_rl.supervised.task_distribution import DistributionConfig
from maml_rl.systems.maml import Config, System
from tests.systems.test_maml import SMALL, trained

LINES = '''
import numpy as np
import torch
from maml_rl.supervised.task_distribution import Labelled, TaskBatch


class Lines:
    """y = a x."""

    problem, input_shape, outputs = "regression", (1,), 1

    def __init__(self, fault=None):
        self.fault = fault
        if fault == "problem":
            self.problem = "guessing"
        if fault == "constructor":
            raise TypeError("no lines today")
        if fault == "shape":
            self.input_shape = 1
        if fault == "key":
            raise KeyError("lost")

    def sample(self, generator, tasks, support, query, split):
        slopes = generator.normal(size=(tasks, 1, 1))
        x = torch.from_numpy(generator.normal(size=(tasks, support + query, 1)))
        y = x * torch.from_numpy(slopes)
        if self.fault == "targets":
            y = y[..., 0]
        if self.fault == "inputs":
            x = x[..., 0]
        if self.fault == "examples":
            support -= 1
        if self.fault == "tuple":
            return x, y
        if self.fault == split:
            raise ValueError(f"there are no lines to {split} on")
        if self.fault == "index":
            raise IndexError("no such line")
        if self.fault == "parameters":
            return TaskBatch(Labelled(x[:, :support], y[:, :support]), Labelled(x[:, support:], y[:, support:]),
                             {"slope": 1.0})
        if self.fault == "numpy":
            x = x.numpy()
        return TaskBatch(Labelled(x[:, :support], y[:, :support]), Labelled(x[:, support:], y[:, support:]),
                         {"slope": slopes[:, 0, 0]})


class Half:
    problem, outputs = "regression", 1
'''


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module with a distribution that has a fault where it is told to; its name."""
    name = "lines_of_somebody_else"
    (tmp_path / f"{name}.py").write_text(LINES)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop(name, None)
    yield name
    sys.modules.pop(name, None)


def _prepared(config: Config) -> System:
    system = System(config)
    system.prepare()
    return system


def _with(distribution: str, **arguments: Any) -> Config:
    return Config(**{**SMALL, "distribution": DistributionConfig(distribution, arguments)})


def test_a_distribution_from_elsewhere_plugs_in(lines: str) -> None:
    config = _with(f"{lines}:Lines")
    system = _prepared(config)
    result = system.evaluate([trained(config, 2)], system.Options(steps=2, tasks=3))
    assert result.values.shape == (3, 3)
    assert not result.figures


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("constructor", "no lines today"),
        ("problem", "`problem` must be 'regression' or 'classification', got 'guessing'"),
        ("tuple", "must return a TaskBatch"),
        ("numpy", "Labelled of two tensors"),
        ("key", "KeyError: 'lost'"),
        ("inputs", "support inputs must be"),
        ("examples", "support inputs must be"),
        ("targets", "support targets must be"),
        ("validation", "no lines to validation on"),
        ("test", "no lines to test on"),
        ("index", "`sample` failed: IndexError: no such line"),
        ("shape", "`input_shape` must be a tuple of sizes, got 1"),
        ("parameters", r"parameter 'slope' must be \[N, ...\], N = 1, got \(\)"),
    ],
)
def test_faults_of_a_distribution_are_told_before_any_work(lines: str, fault: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _prepared(_with(f"{lines}:Lines", fault=fault))


def test_what_is_no_distribution_is_refused_by_name(lines: str, tmp_path: Path) -> None:
    (tmp_path / "not_python.py").write_text("def (:\n")
    for name, message in (
        (f"{lines}:Half", "lacks input_shape, sample"),
        (f"{lines}:Nothing", "cannot be imported"),
        ("not_python:Lines", "cannot be imported"),
        (".relative:Lines", "cannot be imported"),
        ("math:pi", "distribution 'math:pi'"),
        ("sinus", "there is no distribution 'sinus'"),
    ):
        with pytest.raises(ValueError, match=message):
            System(_with(name))


def test_a_network_must_return_what_the_tasks_ask_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "networks_of_somebody_else.py").write_text(
        "import torch\n"
        "def flat(shape, outputs): return torch.nn.Sequential(torch.nn.Linear(1, outputs), torch.nn.Flatten(0))\n"
        "def narrow(shape, outputs): return torch.nn.Linear(7, outputs)\n"
        "def broken(shape, outputs): raise RuntimeError('no network today')\n"
        "def right(shape, outputs): return torch.nn.Linear(1, outputs)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, message in (
        ("flat", r"must return \[E, outputs\] = \(5, 1\) for E = 5 inputs, got \(5,\)"),
        ("narrow", "does not take the tasks' inputs"),
        ("broken", "cannot be made: no network today"),
    ):
        with pytest.raises(ValueError, match=message):
            _prepared(Config(**{**SMALL, "network": NetworkConfig(id=f"networks_of_somebody_else:{name}")}))
    _prepared(Config(**{**SMALL, "network": NetworkConfig(id="networks_of_somebody_else:right")}))


def test_labels_are_whole_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "labels_of_somebody_else.py").write_text(
        "import torch\n"
        "from maml_rl.supervised.task_distribution import Labelled, TaskBatch\n"
        "class Coins:\n"
        "    problem, input_shape, outputs = 'classification', (1,), 2\n"
        "    def sample(self, generator, tasks, support, query, split):\n"
        "        part = lambda shots: Labelled(torch.zeros(tasks, 2 * shots, 1), torch.rand(tasks, 2 * shots) * 1.9)\n"
        "        return TaskBatch(part(support), part(query), {})\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match=r"targets must be whole numbers, got torch\.float32"):
        _prepared(Config(**{**SMALL, "distribution": DistributionConfig("labels_of_somebody_else:Coins")}))
