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
from tests.run.counter import Config, System, count, new_run, resumed_run

CONFIG = Config(iterations=5)


def _content(folder: RunFolder) -> tuple[Any, ...]:
    best, last = folder.load("best"), folder.load("last")
    with (folder.path / "progress.csv").open() as file:
        rows = [(row["iteration"], row["env_steps"]) for row in csv.DictReader(file)]
    return best["iteration"], best["best"], last["iteration"], last["best"], last["totals"], count(last["state"]), rows


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("place", "iteration"),
    # The checkpoint before the first iteration is written before interrupts are handled.
    [(place, at) for place in ("best", "last", "write", "iterate") for at in (0, 1, 3) if (place, at) != ("last", 0)],
)
def test_an_interrupted_and_resumed_run_equals_an_uninterrupted_one(
    number: int, place: str, iteration: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = new_run(tmp_path / "whole", CONFIG)
    assert train(whole)

    armed = [True]

    def strike(here: str, at: int) -> None:
        if armed[0] and here == place and at == iteration:
            armed[0] = False
            os.kill(os.getpid(), number)

    save, write, iterate = RunFolder.save, Records.write, System.iterate

    def striking_save(self: RunFolder, which: str, content: dict[str, Any]) -> None:
        strike(which, content["iteration"])
        save(self, which, content)

    def striking_write(self: Records, at: int, metrics: dict[str, float]) -> None:
        strike("write", at)
        write(self, at, metrics)

    def striking_iterate(self: System, state: dict[str, Any], at: int) -> Any:
        strike("iterate", at)
        return iterate(self, state, at)

    run = new_run(tmp_path / "run", CONFIG)
    monkeypatch.setattr(RunFolder, "save", striking_save)
    monkeypatch.setattr(Records, "write", striking_write)
    monkeypatch.setattr(System, "iterate", striking_iterate)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    finished = train(run)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert not armed[0]
    assert not finished
    assert train(resumed_run(tmp_path / "run", CONFIG))
    assert _content(run.folder) == _content(whole.folder)
    assert not [path for path in (run.folder.path / "checkpoints").iterdir() if path.name.startswith(".")]


def test_a_signal_that_the_parent_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts, interrupts.welcome():
            os.kill(os.getpid(), signal.SIGINT)
        interrupts.check()
    finally:
        signal.signal(signal.SIGINT, before)
