#!/usr/bin/env python
"""Writes the tables and figures of all pages from the stored numbers: python scripts/results.py [--check true].

`docs/results/pages` holds what the pages say, with a field wherever a number stands:

    {2d-navigation/seed-? best; 0 1 2 3; .2f}          values after 0 to 3 steps, mean over the runs that match
    {ant-vel/seed-1 best:gain; 1 2; .0f ±}             another measure, with half the width of its 95% interval
    {estimators/tabular-mdp/ppo/* last; 1 1-0; .2f sd}  a value and a difference, with the standard deviation over runs
    {curve rl2/bandit; return_after; last 10; .1f}     mean of a learning curve's last ten rows
    {curve omniglot-5way-1shot/seed-1; minutes; 500; .1f}    the row of iteration 500; `median` for that of all rows
    {benchmark; sinusoid.maml_rl; .0f}                 a number of benchmark.json
    {optimiser-search/random-1 last; formula; words}   a column that is no number

A format may go on with `min` (instead of the mean over runs), `M` (in millions) and `x100` (in percent).
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # for its neighbours, however this file was loaded

from result_figures import content_of, draw, is_current
from stored_numbers import StoredNumbers

from maml_rl.run.cli import exit_code, settings_of
from maml_rl.run.errors import UsageError

TABLE = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.S)


@dataclass(frozen=True)
class Options:
    """What to do.

    Attributes:
        check: only say which tables, sentences and figures are stale; the exit code is 1 if any is.
        root: the folder with `README.md` and `docs`.
    """

    check: bool = False
    root: str = str(Path(__file__).resolve().parents[1])


def main(argv: Sequence[str]) -> int:
    """Writes what is stale, or says it; a sentence is only held against the numbers, its words stay the author's."""
    options: Options = settings_of(Options, argv, __doc__ or "")
    root, write = Path(options.root), not options.check
    store = StoredNumbers(root / "docs/results")
    stale = stale_tables(root, store, write) + stale_figures(store, write)
    wrong = sentences_not_said(root, store) + tables_not_shown(root)
    for message in stale:
        print(f"{'written' if write else 'stale'}: {message}")
    for message in wrong:
        print(f"stale: {message}")
    return 1 if wrong or (stale and not write) else 0


def pages(root: Path) -> list[Path]:
    """README and the documentation."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def sections(root: Path, name: str) -> dict[str, list[str]]:
    """The parts of a file in `docs/results/pages`: a title after `==`, then lines; `#` starts a remark."""
    parts: dict[str, list[str]] = {}
    for line in (root / "docs/results/pages" / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            lines = parts.setdefault(line[3:], [])
        elif line and not line.startswith("#"):
            lines.append(line)
    return parts


def stale_tables(root: Path, store: StoredNumbers, write: bool) -> list[str]:
    """Tables between `<!-- table: name -->` and `<!-- end -->` that are not what the numbers say.

    Raises:
        UsageError: a page wants a table that `tables.txt` has not.
    """
    templates = sections(root, "tables.txt")
    tables = {name: "\n".join(store.filled(line, " | ") for line in lines) for name, lines in templates.items()}
    stale = []
    for page in pages(root):
        old = page.read_text(encoding="utf-8")
        for _, name, _ in TABLE.findall(old):
            if name not in tables:
                raise UsageError(f"{page.name} shows the table {name}, docs/results/pages/tables.txt has none.")
        new = TABLE.sub(lambda match: f"{match[1]}{tables[match[2]]}\n{match[3]}", old)
        pairs = zip(TABLE.finditer(old), TABLE.finditer(new), strict=True)
        stale += [f"{page.relative_to(root)}: table {before[2]}" for before, after in pairs if before[0] != after[0]]
        if write and new != old:
            page.write_text(new, encoding="utf-8")
    return stale


def tables_not_shown(root: Path) -> list[str]:
    """Tables of `tables.txt` that no page has a place for."""
    shown = {name for page in pages(root) for _, name, _ in TABLE.findall(page.read_text(encoding="utf-8"))}
    return [f"no page shows the table {name}" for name in sections(root, "tables.txt") if name not in shown]


def sentences_not_said(root: Path, store: StoredNumbers) -> list[str]:
    """Sentences of `sentences.txt` that a page does not say, whatever its line breaks."""
    wrong = []
    for page, lines in sections(root, "sentences.txt").items():
        text = " ".join((root / page).read_text(encoding="utf-8").split())
        expected = [store.filled(line, " / ") for line in lines]
        wrong += [f"{page} does not say: {sentence}" for sentence in expected if sentence not in text]
    return wrong


def stale_figures(store: StoredNumbers, write: bool) -> list[str]:
    """Figures of `figures.txt` that are not drawn from the stored numbers, or were changed since."""
    stale = []
    for title, entries in sections(store.folder.parents[1], "figures.txt").items():
        name, *style = title.split()
        content, path = content_of(store, style, entries), store.folder / name
        if not is_current(content, path):
            stale.append(f"docs/results/{name}")
            if write:
                draw(content, path)
    return stale


if __name__ == "__main__":
    sys.exit(exit_code(main))
