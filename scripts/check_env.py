#!/usr/bin/env python
"""Checks a task environment: python scripts/check_env.py --environment.id my_package:MyTask-v0."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from maml_rl.rl.environments.checking import check_task_env
from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.run.cli import exit_code, settings_of
from maml_rl.run.offscreen import draw_offscreen


@dataclass(frozen=True)
class Options:
    """What to check.

    Attributes:
        environment: the task environment.
    """

    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)


def main(argv: Sequence[str]) -> int:
    """Prints the findings, a line each; ends with 1 if one of them is serious."""
    options: Options = settings_of(Options, argv, __doc__ or "")
    draw_offscreen()
    findings = check_task_env(options.environment)
    for finding in findings:
        print(f"{'error' if finding.serious else 'note'}: {finding.text}")
    serious = any(finding.serious for finding in findings)
    verdict = "cannot be trained on as it is" if serious else "can be trained on"
    print(f"{options.environment.id} {verdict}.")
    return int(serious)


if __name__ == "__main__":
    sys.exit(exit_code(main))
