"""Runs all checks of a task environment, in the order in which one builds on another."""

import warnings
from typing import Any

from maml_rl.rl.environments.checking.episodes import check_episodes, check_rendering, check_with_gymnasium
from maml_rl.rl.environments.checking.finding import CannotGoOn, Finding, one_line
from maml_rl.rl.environments.checking.spaces import check_held_out, check_horizon, check_spaces
from maml_rl.rl.environments.checking.tasks import check_tasks
from maml_rl.rl.environments.checking.vectors import check_vector_version, check_worker_processes
from maml_rl.rl.environments.vector import EnvironmentConfig, EnvironmentError, make_single

__all__ = ["check_task_env"]

_CHECKS = (
    check_spaces,
    check_horizon,
    check_held_out,
    check_tasks,
    check_episodes,
    check_with_gymnasium,
    check_rendering,
    check_vector_version,
    check_worker_processes,
)


def check_task_env(environment: str | EnvironmentConfig, **arguments: Any) -> list[Finding]:
    """Makes the environment, plays a few episodes, and holds it against what `TaskEnv` promises.

    Args:
        environment: a Gymnasium id such as "my_package:MyTask-v0", or a whole configuration.
        **arguments: of the environment's constructor, with an id.

    Returns:
        One finding for each fault; an empty list means that there is none.
    """
    config = EnvironmentConfig(environment, arguments) if isinstance(environment, str) else environment
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Gymnasium's warnings about each step: the checks say it once
        return _findings(config)


def _findings(config: EnvironmentConfig) -> list[Finding]:
    findings: list[Finding] = []
    try:
        env = make_single(config)
    except EnvironmentError as error:
        return [Finding(True, str(error))]
    try:
        for check in _CHECKS:
            findings += check(config, env)
    except CannotGoOn as error:
        findings.append(Finding(True, str(error)))
    except Exception as error:  # environments from elsewhere fail where nobody expects it
        findings.append(Finding(True, f"a check failed: {one_line(error)}"))
    try:
        env.close()
    except Exception as error:
        findings.append(Finding(False, f"close failed: {one_line(error)}"))
    return findings
