"""Interrupts at the worst moments: between any two lines of the bookkeeping, a run stays exactly resumable."""

import csv
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from maml_rl.run.folder import RunFolder
from maml_rl.run.interrupts import Interrupts
from maml_rl.run.records import Records
from maml_rl.run.train import train
from maml_rl.systems.maml_trpo import Config
from tests.run.test_train import Counter

RETURNS = [1.0, 5.0, 2.0, 7.0, 3.0]


def _content(folder: RunFolder) -> tuple[Any, ...]:
    best, last = folder.load("best"), folder.load("last")
    with (folder.path / "progress.csv").open() as file:
        rows = [(row["iteration"], row["env_steps"]) for row in csv.DictReader(file)]
    count = float(last["state"]["params"]["count"])
    return best["iteration"], best["best"], last["iteration"], last["best"], last["env_steps"], count, rows


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("place", ["best", "last", "write", "iterate"])
@pytest.mark.parametrize("iteration", [0, 1, 3])
def test_an_interrupted_and_resumed_run_equals_an_uninterrupted_one(
    number: int, place: str, iteration: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = RunFolder.create(tmp_path / "whole", "maml_trpo", Config())
    assert train(Counter(RETURNS), whole, 5)

    armed = [True]

    def strike(here: str, at: int) -> None:
        if armed[0] and here == place and at == iteration:
            armed[0] = False
            os.kill(os.getpid(), number)

    save, write, iterate = RunFolder.save, Records.write, Counter.iterate

    def striking_save(self: RunFolder, which: str, content: dict[str, Any]) -> None:
        strike(which, content["iteration"])
        save(self, which, content)  # type: ignore[arg-type]

    def striking_write(self: Records, at: int, metrics: dict[str, float]) -> None:
        strike("write", at)
        write(self, at, metrics)

    def striking_iterate(self: Counter, state: dict[str, Any], at: int) -> Any:
        strike("iterate", at)
        return iterate(self, state, at)

    folder = RunFolder.create(tmp_path / "run", "maml_trpo", Config())
    monkeypatch.setattr(RunFolder, "save", striking_save)
    monkeypatch.setattr(Records, "write", striking_write)
    monkeypatch.setattr(Counter, "iterate", striking_iterate)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    if place == "last" and iteration == 0:
        pytest.skip("the checkpoint before the first iteration is written before interrupts are handled")
    finished = train(Counter(RETURNS), folder, 5)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert not armed[0]
    assert not finished
    assert train(Counter(RETURNS), folder, 5, resume=True)
    assert _content(folder) == _content(whole)
    assert not [path for path in (folder.path / "checkpoints").iterdir() if path.name.startswith(".")]


def test_a_signal_that_the_parent_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts, interrupts.welcome():
            os.kill(os.getpid(), signal.SIGINT)
        interrupts.check()
    finally:
        signal.signal(signal.SIGINT, before)
