"""Half-cheetahs that run at a speed or in a direction which the task chooses (Finn et al., 2017, section 5.3)."""

from typing import TYPE_CHECKING, Any

import numpy as np

from envs.definition import Array, TaskArrays, not_negative, two_numbers
from envs.mujoco_tasks import MujocoTask, States, single, vector
from envs.painting import Mark
from envs.ranges import Choice, Interval
from envs.single import SingleTaskEnv
from envs.vector import NativeTaskVectorEnv
from maml_rl.rl.environments.task_env import Task

if TYPE_CHECKING:
    import mujoco

__all__ = ["half_cheetah_dir", "half_cheetah_dir_vector", "half_cheetah_vel", "half_cheetah_vel_vector"]

_TIMESTEP = 0.01  # of half_cheetah.xml, in s


def _initial(model: "mujoco.MjModel", rng: np.random.Generator) -> tuple[Array, Array]:
    """HalfCheetah-v5's: positions of the model file plus U[-0.1, 0.1], velocities 0.1 N(0, 1)."""
    positions = model.qpos0 + rng.uniform(low=-0.1, high=0.1, size=model.nq)
    velocities = 0.1 * rng.standard_normal(model.nv)
    return positions, velocities


def _observe(states: States) -> Array:
    """All but the forward position."""
    return np.concatenate([states.qpos[:, 1:], states.qvel], axis=1)


def _vel(
    velocity_range: tuple[float, float] = (0.0, 2.0), control_cost: float = 0.05, frame_skip: int = 5, **numbers: Any
) -> MujocoTask:
    not_negative(control_cost=control_cost)
    low, high = two_numbers(velocity_range=velocity_range)
    speed = _speed_over(frame_skip)

    def reward(before: States, controls: Array, after: States, tasks: TaskArrays) -> Array:
        """-|v - g| - c sum_i u_i^2."""
        cost: Array = np.square(controls).sum(-1)
        return -np.abs(speed(before, after) - tasks["velocity"]) - control_cost * cost

    def caption(before: States, after: States, task: Task) -> str:
        return f"v {float(speed(before, after)[0]):5.2f} m/s   goal {task['velocity']:.2f} m/s"

    return MujocoTask(
        name="HalfCheetahVel",
        xml="half_cheetah.xml",
        parameters={"velocity": Interval(low, high)},
        observe=_observe,
        reward=reward,
        initial=_initial,
        frame_skip=frame_skip,
        caption=caption,
        **numbers,
    )


def _dir(control_cost: float = 0.05, frame_skip: int = 5, **numbers: Any) -> MujocoTask:
    not_negative(control_cost=control_cost)
    speed = _speed_over(frame_skip)

    def reward(before: States, controls: Array, after: States, tasks: TaskArrays) -> Array:
        """d v - c sum_i u_i^2."""
        cost: Array = np.square(controls).sum(-1)
        return tasks["direction"] * speed(before, after) - control_cost * cost

    def caption(before: States, after: States, task: Task) -> str:
        wanted = "forward" if task["direction"] > 0 else "backward"
        return f"v {float(speed(before, after)[0]):5.2f} m/s   goal {wanted}"

    return MujocoTask(
        name="HalfCheetahDir",
        xml="half_cheetah.xml",
        parameters={"direction": Choice((-1.0, 1.0))},
        observe=_observe,
        reward=reward,
        initial=_initial,
        frame_skip=frame_skip,
        caption=caption,
        mark=lambda task: Mark(arrow=(task["direction"], 0.0)),
        **numbers,
    )


def _speed_over(frame_skip: int) -> Any:
    """Forward speed over an environment step, in m/s, as a function of the states before and after it."""
    seconds = frame_skip * _TIMESTEP

    def speed(before: States, after: States) -> Array:
        forward: Array = (after.qpos[:, 0] - before.qpos[:, 0]) / seconds
        return forward

    return speed


def half_cheetah_vel(render_mode: str | None = None, **numbers: Any) -> SingleTaskEnv:
    """A half-cheetah that is rewarded with r = -|v - g| - control_cost * sum u^2, v its forward speed over the step.

    Physics and observation, [17], are those of Gymnasium's HalfCheetah-v5. Task: ``{"velocity": g}`` in m/s. Episodes
    end at the horizon only.

    Args:
        render_mode: None or "rgb_array".
        **numbers: velocity_range ((0, 2)): g is uniform in it; ProMP and VariBAD take (0, 3). control_cost (0.05).
            frame_skip (5): physics steps of 0.01 s for each action; rllab, and so the paper, took 1. action_scale (1):
            actions in [-action_scale, action_scale] are mapped to the motors' [-1, 1]; ProMP and pytorch-maml-rl take
            10. horizon (200).

    Raises:
        ValueError: a number out of range.
    """
    return single(_vel(**numbers), render_mode)


def half_cheetah_vel_vector(
    num_envs: int, max_episode_steps: int | None = None, num_threads: int | None = None, **numbers: Any
) -> NativeTaskVectorEnv:
    """`num_envs` half-cheetahs at once; arguments as in `half_cheetah_vel` and `envs.mujoco_tasks.vector`."""
    return vector(_vel(**numbers), num_envs, max_episode_steps, num_threads)


def half_cheetah_dir(render_mode: str | None = None, **numbers: Any) -> SingleTaskEnv:
    """A half-cheetah that is rewarded with r = d v - control_cost * sum u^2, v its forward speed over the step.

    Task: ``{"direction": d}``, 1 for forward or -1 for backward. All else is as in `half_cheetah_vel`, but for
    velocity_range.

    Raises:
        ValueError: a number out of range.
    """
    return single(_dir(**numbers), render_mode)


def half_cheetah_dir_vector(
    num_envs: int, max_episode_steps: int | None = None, num_threads: int | None = None, **numbers: Any
) -> NativeTaskVectorEnv:
    """`num_envs` half-cheetahs at once; arguments as in `half_cheetah_dir` and `envs.mujoco_tasks.vector`."""
    return vector(_dir(**numbers), num_envs, max_episode_steps, num_threads)
