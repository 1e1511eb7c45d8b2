"""From an environment's id to a vector of task environments: native where there is one, else Sync or Async."""

import inspect
import multiprocessing
import re
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, cast

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from maml_rl.rl.environments.task_env import HasHorizon, Task, TaskEnv, VectorTaskEnv, task_env_of
from maml_rl.rl.environments.task_observation import TaskAwareObservation, VectorTaskAwareObservation

__all__ = [
    "EnvironmentConfig",
    "EnvironmentError",
    "SingleTaskEnvs",
    "held_out",
    "horizon_of",
    "make_single",
    "make_vector",
    "spec_of",
]

_RESERVED = {"id", "max_episode_steps", "num_envs", "render_mode", "vectorization_mode", "vector_kwargs", "wrappers"}


class EnvironmentError(ValueError):
    """An environment that cannot be made, or that lacks what a task environment needs."""


@dataclass(frozen=True)
class EnvironmentConfig:
    """Which task environment, and how it is run.

    Attributes:
        id: Gymnasium id; "package:Name-v0" imports the package first.
        arguments: keyword arguments of the environment's constructor.
        vector_arguments: further ones of a native vector version, such as num_threads.
        held_out: arguments that differ where held-out tasks are wanted, in evaluating and rendering: another split.
        backend: "auto" takes the native vector version if there is one, else "sync".
        max_episode_steps: the horizon T, where it is not to be the environment's own.
        show_task: appends the task's numbers to each observation, in the order of their names: the oracle, which knows
            what the others have to find out.
    """

    id: str = "envs:Navigation2D-v0"
    arguments: dict[str, Any] = field(default_factory=dict)
    vector_arguments: dict[str, Any] = field(default_factory=dict)
    held_out: dict[str, Any] = field(default_factory=dict)
    backend: Literal["auto", "native", "sync", "async"] = "auto"
    max_episode_steps: int | None = None
    show_task: bool = False

    def __post_init__(self) -> None:
        if self.max_episode_steps is not None and self.max_episode_steps < 1:
            raise ValueError(f"`environment.max_episode_steps` must be at least 1, got {self.max_episode_steps}.")
        taken = sorted(_RESERVED & {*self.arguments, *self.held_out, *self.vector_arguments})
        if taken:
            raise ValueError(
                f"`environment.arguments` cannot hold {', '.join(taken)}: the sampler sets it. The horizon is "
                "environment.max_episode_steps or an argument of the environment's own."
            )


def held_out(config: EnvironmentConfig) -> EnvironmentConfig:
    """The environment of held-out tasks."""
    return replace(config, arguments={**config.arguments, **config.held_out}, held_out={})


def make_single(config: EnvironmentConfig, **extra: Any) -> gym.Env:
    """One environment, for rendering or for drawing tasks; observations flattened where they are not vectors.

    Raises:
        EnvironmentError: unknown id, constructor failure, or missing task methods.
    """
    spec_of(config)
    kwargs = {**config.arguments, **extra}
    env = _attempt(config, partial(gym.make, config.id, max_episode_steps=config.max_episode_steps, **kwargs))
    if not isinstance(env.unwrapped, TaskEnv):
        missing = [name for name in ("sample_tasks", "set_task") if not hasattr(env.unwrapped, name)]
        raise EnvironmentError(
            f"environment {config.id!r} is not a task distribution: {type(env.unwrapped).__name__} lacks "
            f"{' and '.join(missing)}. Implement the two methods of maml_rl.rl.environments.task_env.TaskEnv."
        )
    flat = isinstance(env.observation_space, gym.spaces.Box) and len(env.observation_space.shape) == 1
    if not flat:
        env = gym.wrappers.FlattenObservation(env)
    return _attempt(config, partial(TaskAwareObservation, env)) if config.show_task else env


def make_vector(config: EnvironmentConfig, count: int) -> VectorTaskEnv:
    """`count` environments that step together, each with its own task.

    Raises:
        EnvironmentError: unknown id, constructor failure, missing task methods, or a backend there is none of.
    """
    if config.backend in ("auto", "native"):
        native = _native(config, count) if spec_of(config).vector_entry_point is not None else None
        if native is not None:
            if not config.show_task:
                return native
            return _attempt(config, partial(VectorTaskAwareObservation, cast(VectorEnv[Any, Any, Any], native)))
        if config.backend == "native":
            raise EnvironmentError(
                f"environment {config.id!r} has no native vector version that is a "
                "maml_rl.rl.environments.task_env.VectorTaskEnv; use backend 'sync'."
            )
    if config.vector_arguments:
        raise EnvironmentError("`vector_arguments` are for native vector versions; backend sync or async has none.")
    return SingleTaskEnvs(config, count)


def horizon_of(config: EnvironmentConfig, envs: VectorTaskEnv) -> int:
    """Steps T after which every episode has ended: the configuration's, else the environment's `horizon`, else its
    registration's.

    Raises:
        EnvironmentError: neither the configuration nor the environment names one.
    """
    own, wanted = envs.horizon, config.max_episode_steps
    if wanted is not None and own is not None and wanted > own:
        raise EnvironmentError(
            f"`environment.max_episode_steps` {wanted} is beyond the environment's own horizon {own}."
        )
    steps = wanted or own or spec_of(config).max_episode_steps
    if steps is None:
        raise EnvironmentError(f"environment {config.id!r} has no horizon; set environment.max_episode_steps.")
    return int(steps)


def spec_of(config: EnvironmentConfig) -> EnvSpec:
    """The environment's registration; imports the package that the id names.

    Raises:
        EnvironmentError: no such package or id.
    """
    module, _, name = config.id.rpartition(":")

    def load() -> EnvSpec:
        if module:
            __import__(module)
        return gym.spec(name)

    return _attempt(config, load)


def _attempt(config: EnvironmentConfig, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception as error:
        reason = " ".join(str(error).split()).partition(" was raised from the environment creator for ")[0]
        unknown = re.search(r"got an unexpected keyword argument '(\w+)'", reason)
        if isinstance(error, TypeError) and unknown is not None:
            known = _constructor_arguments(config)
            if unknown[1] not in known:  # else something inside the constructor was called wrongly
                reason = f"its constructor has no argument {unknown[1]!r}{'; it has ' * bool(known)}{', '.join(known)}."
        raise EnvironmentError(f"environment {config.id!r} cannot be made: {reason}") from error


def _constructor_arguments(config: EnvironmentConfig) -> list[str]:
    """The arguments that a user may choose, by the constructor's signature; empty where it cannot be read."""
    with suppress(Exception):
        spec = gym.spec(config.id.rpartition(":")[2])
        constructor = load_env_creator(spec.entry_point) if isinstance(spec.entry_point, str) else spec.entry_point
        parameters = inspect.signature(cast(Callable[..., Any], constructor)).parameters.values()
        named = [each.name for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
        return [name for name in named if name not in {*_RESERVED, *spec.kwargs}]
    return []


def _native(config: EnvironmentConfig, count: int) -> VectorTaskEnv | None:
    """The native vector version, or None where it is not a task distribution."""
    kwargs = {**config.arguments, **config.vector_arguments}
    if config.max_episode_steps is not None:
        kwargs["max_episode_steps"] = config.max_episode_steps
    envs = _attempt(
        config, lambda: gym.make_vec(config.id, num_envs=count, vectorization_mode="vector_entry_point", **kwargs)
    )
    if not isinstance(envs, VectorTaskEnv):
        envs.close()
        return None
    mode = envs.metadata.get("autoreset_mode")
    if mode != AutoresetMode.DISABLED:
        raise EnvironmentError(f"the vector version of {config.id!r} must not reset by itself, got {mode}.")
    return envs


class _AssignableTask(gym.Wrapper):
    """Lets a vector environment's `set_attr` reach the environment's `set_task`."""

    @property
    def assigned_task(self) -> Task:
        raise AttributeError("assigned_task can only be set")

    @assigned_task.setter
    def assigned_task(self, task: Task) -> None:
        task_env_of(self.env).set_task(task)

    def set_wrapper_attr(self, name: str, value: Any, *, force: bool = True) -> bool:
        if name == "assigned_task":
            self.assigned_task = value
            return True
        return bool(super().set_wrapper_attr(name, value, force=force))


def _make_assignable(config: EnvironmentConfig) -> gym.Env:
    if multiprocessing.parent_process() is not None:  # in a worker: Ctrl-C is for the process that trains
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return _AssignableTask(make_single(config))


class SingleTaskEnvs:
    """Single task environments behind Gymnasium's SyncVectorEnv or AsyncVectorEnv; a `VectorTaskEnv`.

    Raises:
        EnvironmentError: see `make_single`.
    """

    def __init__(self, config: EnvironmentConfig, count: int) -> None:
        makers = [partial(_make_assignable, config)] * count
        self._drawing = make_single(config)
        vector = AsyncVectorEnv if config.backend == "async" else SyncVectorEnv
        self._envs: Any = _attempt(config, lambda: vector(makers, autoreset_mode=AutoresetMode.DISABLED))
        self.num_envs, self.metadata = count, {"autoreset_mode": AutoresetMode.DISABLED}
        inner = self._drawing.unwrapped
        self.horizon = inner.horizon if isinstance(inner, HasHorizon) else None
        self.single_observation_space = self._envs.single_observation_space
        self.single_action_space = self._envs.single_action_space

    def sample_tasks(self, count: int, rng: np.random.Generator) -> list[Task]:
        """Draws `count` tasks, in this process."""
        return task_env_of(self._drawing).sample_tasks(count, rng)

    def state_values(self, task: Task) -> tuple[np.ndarray, np.ndarray] | None:
        """Observations of all states [S, O] and the expected return from each, [S]; None where they are not known."""
        drawing = self._drawing
        return drawing.get_wrapper_attr("state_values")(task) if drawing.has_wrapper_attr("state_values") else None

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Gives each environment its task."""
        with _quiet_workers(self._envs):
            self._envs.set_attr("assigned_task", list(tasks))

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts all episodes, or those in ``options["reset_mask"]``: the observations, [n, O]."""
        with _quiet_workers(self._envs):
            return self._envs.reset(seed=seed, options=options)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Observations [n, O], rewards, terminations and truncations [n], and info of one step."""
        with _quiet_workers(self._envs):
            return self._envs.step(actions)

    def close(self, **kwargs: Any) -> None:
        """Closes the environments; worker processes are ended whatever they are doing."""
        self._drawing.close()
        with warnings.catch_warnings(), suppress(Exception):
            warnings.simplefilter("ignore")
            if isinstance(self._envs, AsyncVectorEnv):
                _end_workers(self._envs)
            else:
                self._envs.close()


def _end_workers(envs: AsyncVectorEnv) -> None:
    """Ends the worker processes, whatever they are doing: after an interrupt or a fault they may answer no more."""
    for process in envs.processes:
        process.terminate()
    for process in envs.processes:
        process.join(timeout=5)
    envs.closed = True


@contextmanager
def _quiet_workers(envs: Any) -> Iterator[None]:
    """AsyncVectorEnv logs the traceback of each failed worker and then raises; the exception says enough."""
    if not isinstance(envs, AsyncVectorEnv):
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*ERROR")
        try:
            yield
        except (BrokenPipeError, ConnectionResetError, EOFError) as error:
            raise RuntimeError("a worker process has died") from error
