"""The page: one HTML file that needs no other and no network, with charts, tables and films of the compared runs."""

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from maml_rl import __version__
from maml_rl.run.errors import RunFault
from maml_rl.run.files import write_text
from maml_rl.run.report.gather import LeftOut
from maml_rl.run.report.groups import Group
from maml_rl.run.report.palette import templates
from maml_rl.run.report.sections import sections
from maml_rl.run.report.tables import plural

__all__ = ["page", "write_page"]


def write_page(text: str, path: Path) -> Path:
    """Writes the page.

    Raises:
        RunFault: the file cannot be written.
    """
    try:
        write_text(path, text)
    except OSError as error:
        raise RunFault(f"{path} could not be written: {error.strerror or error}") from error
    return path


def page(
    groups: Sequence[Group],
    left_out: Sequence[LeftOut],
    warnings: Sequence[str],
    title: str,
    log: bool = False,
) -> str:
    """The whole page as text.

    Names, labels and file names are text wherever they stand, and no script runs but Plotly's and the page's own,
    whose hashes the page's security policy names.

    Args:
        groups: at least one.
        left_out: what could not be shown.
        warnings: what makes the comparison less than fair.
        title: of the page.
        log: whether the curves over steps of adaptation have a logarithmic axis.
    """
    environment = Environment(loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined)
    scripts = [get_plotlyjs(), _own_file("page.js")]
    parts = sections(groups, log)
    figures = [json.loads(chart.figure.to_json()) for section in parts for chart in section.charts]
    omitted = [f"{entry.name}{' (wholly)' if entry.wholly else ''}: {entry.reason}" for entry in left_out]
    return environment.get_template("page.html").render(
        title=title,
        summary=_summary(groups),
        notices=[("Not quite alike", warnings), ("Left out", omitted)],
        sections=parts,
        data={"figures": figures, "templates": templates()},
        style=Markup(_own_file("page.css")),
        scripts=[Markup(script) for script in scripts],
        script_sources=" ".join(f"'{_hash(script)}'" for script in scripts),
        version=__version__,
    )


def _summary(groups: Sequence[Group]) -> str:
    count = f"{plural(sum(len(group.runs) for group in groups), 'run')} in {plural(len(groups), 'group')}."
    several = [f"{group.name}: {plural(len(group.runs), 'run')}" for group in groups if len(group.runs) > 1]
    if not several:
        return f"{count} Every group is a single run, so nothing here is a mean over seeds."
    return f"{count} Curves of a group are means over its runs ({'; '.join(several)}), with each run faintly behind."


def _own_file(name: str) -> str:
    return resources.files(__package__).joinpath("templates").joinpath(name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """A script's hash as a content security policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
