"""Task environments as one vector environment of Stable-Baselines3, which resets by itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from maml_rl.rl.environments.task_env import Task, VectorTaskEnv

__all__ = ["TaskVecEnv"]


class TaskVecEnv(VecEnv):  # type: ignore[misc]  # its own hints are partial
    """Any `VectorTaskEnv`, the native ones above all, for any algorithm of Stable-Baselines3.

    One call steps all sub-environments; what is added is a dictionary for each and the resets. Each sub-environment
    keeps its task until `set_tasks`.

    Args:
        envs: the task environments.
        tasks: a task for each of them, or one for all; drawn where nothing is given.
        seed: of the tasks that are drawn and of the episodes.
    """

    def __init__(self, envs: VectorTaskEnv, tasks: Task | Sequence[Task] | None = None, seed: int = 0) -> None:
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)
        self.envs = envs
        self._actions: Any = None
        self._succeeded = np.zeros(envs.num_envs, bool)
        self._first_seed: int | None = seed
        if tasks is None:
            tasks = envs.sample_tasks(envs.num_envs, np.random.default_rng(seed))
        each = [tasks] * envs.num_envs if isinstance(tasks, dict) else tasks
        if not isinstance(each, (list, tuple)) or not all(isinstance(task, dict) for task in each):
            raise ValueError(f"`tasks` must be a task, which is a dictionary, or a list of them, got {tasks!r}.")
        self.set_tasks(each)

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Gives each sub-environment its task; all have to be reset then."""
        self.envs.set_tasks(tasks)
        self.tasks = list(tasks)

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Makes the next `reset` start all sub-environments from this seed, the i-th from seed + i."""
        self._first_seed = seed
        return [None if seed is None else seed + index for index in range(self.num_envs)]

    def reset(self) -> NDArray[Any]:
        """Starts all episodes: the first observations, [n, O]."""
        seed, self._first_seed = self._first_seed, None
        observations, _ = self.envs.reset(seed=seed)
        self._succeeded[:] = False
        self.reset_infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        return np.asarray(observations)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keeps the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_], list[dict[str, Any]]]:  # type: ignore[override]
        """Observations, rewards, ends and infos of one step; sub-environments whose episode ended start again.

        Where environments report success, ``info["is_success"]`` says whether the episode had one so far.
        """
        observations, rewards, terminated, truncated, info = self.envs.step(self._actions)
        done = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if "success" in info:
            self._succeeded |= np.asarray(info["success"], float) > 0
            for each, success in zip(infos, self._succeeded, strict=True):
                each["is_success"] = bool(success)
        if done.any():
            last = np.asarray(observations)
            for index in np.flatnonzero(done):
                infos[index]["terminal_observation"] = last[index].copy()
                infos[index]["TimeLimit.truncated"] = bool(truncated[index] and not terminated[index])
            self._succeeded[done] = False
            observations, _ = self.envs.reset(options={"reset_mask": done})
        return np.asarray(observations), np.asarray(rewards, np.float32), done, infos

    def close(self) -> None:
        """Frees what the environments hold."""
        self.envs.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute of the vector environment, once for each index."""
        value = None if attr_name == "render_mode" else getattr(self.envs, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuses: sub-environments have no attributes of their own; tasks go through `set_tasks`.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("sub-environments have no attributes of their own; set_tasks sets tasks.")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Refuses: sub-environments have no methods of their own.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("sub-environments have no methods of their own.")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """False for each."""
        return [False for _ in self._get_indices(indices)]
