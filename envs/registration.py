"""One call registers a task distribution with Gymnasium, as a single and as a vector environment."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator

from envs.single_env import SingleTaskEnv
from envs.vector_env import NativeTaskVectorEnv

__all__ = ["Definition", "EnvFactory", "make_single", "make_vector", "register"]


class EnvFactory(Protocol):
    """Makes the environments of one task distribution; `MujocoTask` and `ArrayTask` do."""

    def single(self, render_mode: str | None = None) -> SingleTaskEnv:
        """One environment."""

    @property
    def vector(self) -> Callable[..., NativeTaskVectorEnv]:
        """(num_envs, max_episode_steps, arguments of the simulation) -> that many environments that step at once."""


Definition: TypeAlias = Callable[..., EnvFactory]
"""(constructor arguments by name) -> what makes the environments. Its signature tells the known arguments."""


def register(env_id: str, definition: str | Definition) -> None:
    """Registers a task distribution with Gymnasium, so that `gym.make` and `gym.make_vec` know it.

    Args:
        env_id: such as "Arm-v0".
        definition: a function that returns a `MujocoTask` or an `ArrayTask`, or where it stands, "package.module:name",
            which is imported when an environment is made. Its arguments are the environment's constructor arguments.
    """
    gym.register(
        env_id,
        entry_point=f"{__name__}:make_single",
        vector_entry_point=f"{__name__}:make_vector",
        kwargs={"definition": definition},
    )


def make_single(definition: str | Definition, render_mode: str | None = None, **arguments: Any) -> SingleTaskEnv:
    """One environment of a registered task distribution.

    Raises:
        TypeError: an argument that the definition does not know.
        ValueError: an argument with a value that it does not accept.
    """
    define = _function(definition)
    _require_known(arguments, _parameters(define))
    return define(**arguments).single(render_mode)


def make_vector(
    definition: str | Definition, num_envs: int, max_episode_steps: int | None = None, **arguments: Any
) -> NativeTaskVectorEnv:
    """`num_envs` environments of a registered task distribution that step at once.

    Args:
        definition: see `register`.
        num_envs: how many.
        max_episode_steps: a horizon shorter than the distribution's.
        **arguments: of the definition, and of the simulation, such as num_threads of a MuJoCo task.

    Raises:
        TypeError: an argument that neither knows.
        ValueError: an argument with a value that is not accepted.
    """
    define = _function(definition)
    known = _parameters(define)
    vector = define(**{name: value for name, value in arguments.items() if name in known}).vector
    simulation = [name for name in _parameters(vector) if name not in ("num_envs", "max_episode_steps")]
    _require_known(arguments, [*known, *simulation])
    rest = {name: value for name, value in arguments.items() if name not in known}
    return vector(num_envs, max_episode_steps, **rest)


def _function(definition: str | Definition) -> Definition:
    function: Any = load_env_creator(definition) if isinstance(definition, str) else definition
    return function


def _parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def _require_known(arguments: Iterable[str], known: Iterable[str]) -> None:
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise TypeError(f"its constructor has no argument {unknown[0]!r}; it has {', '.join(known) or 'none'}.")
