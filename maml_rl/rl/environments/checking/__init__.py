"""Checks of a task environment before anybody trains on it: what is missing, and how to mend it."""

from maml_rl.rl.environments.checking.all_checks import check_task_env
from maml_rl.rl.environments.checking.finding import Finding

__all__ = ["Finding", "check_task_env"]
