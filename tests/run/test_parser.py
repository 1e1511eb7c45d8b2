"""Command lines and files as dataclasses: lists, files under words, and help for several dataclasses at once."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from maml_rl.run.cli import settings_of, settings_of_each
from maml_rl.run.errors import UsageError
from maml_rl.run.parser import early_options


@dataclass(frozen=True)
class Inner:
    """A group.

    Attributes:
        rate: a number.
    """

    rate: float = 0.5


@dataclass(frozen=True)
class Options:
    """What is asked.

    Attributes:
        steps: numbers.
        names: words.
        mode: one of two.
        inner: a group.
        size: a number, if any.
    """

    steps: list[int] | None = None
    names: list[str] = field(default_factory=list)
    mode: Literal["slow", "fast"] = "slow"
    inner: Inner = field(default_factory=Inner)
    size: int | None = 3


def _read(*argv: str) -> Options:
    return settings_of(Options, argv, "")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--steps", "0", "1", "3"], Options(steps=[0, 1, 3])),
        (["--steps", "[0, 1]", "--mode", "fast"], Options(steps=[0, 1], mode="fast")),
        (["--steps=[2]"], Options(steps=[2])),
        (["--names", "a b", "1", "--steps", "4"], Options(names=["a b", "1"], steps=[4])),
        (["--inner.rate", "2"], Options(inner=Inner(2.0))),
        (["--size", "null"], Options(size=None)),
    ],
)
def test_words_become_values(argv: list[str], expected: Options) -> None:
    assert _read(*argv) == expected


def test_files_give_way_to_words_and_to_later_files(tmp_path: Path) -> None:
    first, second, empty = tmp_path / "a.yaml", tmp_path / "b.yaml", tmp_path / "c.yaml"
    first.write_text("mode: fast\nsize: 7\ninner: {rate: 1}\n")
    second.write_text("size: null\n")
    empty.write_text("# nothing\n")
    assert _read("--config", str(first)) == Options(mode="fast", size=7, inner=Inner(1.0))
    argv = ["--mode", "slow", "--config", str(first), f"--config={second}", "--config", str(empty)]
    assert _read(*argv) == Options(size=None, inner=Inner(1.0))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--steps", "0", "x"], "`steps` must be a list of whole numbers or null, got [0, 'x']."),
        (["--mode", "none"], "`mode` must be 'slow' or 'fast', got none."),
        (["--inner.rate", "quick"], "`inner.rate` must be a number, got quick."),
        (["--size", "1.5"], "`size` must be a whole number or null, got 1.5."),
        (["--sizes", "1"], "unrecognized arguments: --sizes 1; --help lists those there are."),
        (["--mode"], "argument --mode: expected one argument"),
    ],
)
def test_what_does_not_fit_is_told_by_what_the_option_takes(argv: list[str], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        _read(*argv)
    assert str(refused.value) == message


def test_dataclasses_of_one_name_stand_side_by_side() -> None:
    @dataclass(frozen=True)
    class Inner:
        """Another of the same name.

        Attributes:
            speed: a number.
        """

        speed: float = 1.0

    first, second = settings_of_each([globals()["Inner"], Inner], ["--rate", "2", "--speed", "3"], "")
    assert (first.rate, second.speed) == (2.0, 3.0)


def test_some_options_are_read_before_the_others_are_known() -> None:
    argv = ["--run", "a", "--steps", "-1", "--config=x.yaml", "--runs", "c", "--run", "b"]
    assert early_options(argv, "run", "config") == (
        {"run": ["a", "b"], "config": ["x.yaml"]},
        ["--steps", "-1", "--runs", "c"],
    )
    with pytest.raises(UsageError, match="expected one argument"):
        early_options(["--run"], "run")
