#!/usr/bin/env python
"""Checks a task environment: python scripts/check_env.py --environment.id my_package:MyTask-v0."""

import os
import sys

if "MUJOCO_GL" not in os.environ and not os.environ.get("DISPLAY") and sys.platform == "linux":
    os.environ["MUJOCO_GL"] = "egl"  # before MuJoCo is imported: draw without a screen

from collections.abc import Sequence
from dataclasses import dataclass, field

from maml_rl.rl.environments.checking import check_task_env
from maml_rl.rl.environments.vector import EnvironmentConfig
from maml_rl.run.cli import exit_code, settings_of


@dataclass(frozen=True)
class Options:
    """What to check.

    Attributes:
        environment: the task environment.
    """

    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)


def main(argv: Sequence[str]) -> int:
    """Prints what was found, a line each; ends with 1 if something is serious."""
    options: Options = settings_of(Options, argv, __doc__ or "")
    found = check_task_env(options.environment)
    for finding in found:
        print(f"{'error' if finding.serious else 'note'}: {finding.text}")
    serious = any(finding.serious for finding in found)
    verdict = "cannot be trained on as it is" if serious else "can be trained on"
    print(f"{options.environment.id} {verdict}.")
    return int(serious)


if __name__ == "__main__":
    sys.exit(exit_code(main))
