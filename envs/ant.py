"""Ants that walk at a speed, in a direction or to a place which the task chooses (Finn et al., 2017, section 5.3)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from envs.definition import Array, TaskArrays, not_negative, positive, two_numbers
from envs.mujoco_tasks import MujocoTask, States, single, vector
from envs.painting import Mark
from envs.ranges import Choice, Disc, Interval
from envs.single import SingleTaskEnv
from envs.vector import NativeTaskVectorEnv
from maml_rl.rl.environments.task_env import Task

if TYPE_CHECKING:
    import mujoco

__all__ = ["ant_dir", "ant_dir_vector", "ant_goal", "ant_goal_vector", "ant_vel", "ant_vel_vector"]

_TIMESTEP = 0.01  # of ant.xml, in s
_HEIGHTS = (0.2, 1.0)  # of the torso of a healthy ant, in m

Gain = Callable[[States, States, TaskArrays], Array]
"""(states before, states after, tasks) -> what a task rewards, [n]."""


def _initial(model: "mujoco.MjModel", rng: np.random.Generator) -> tuple[Array, Array]:
    """Ant-v5's: positions of the model file plus U[-0.1, 0.1], velocities 0.1 N(0, 1)."""
    positions = model.qpos0 + rng.uniform(low=-0.1, high=0.1, size=model.nq)
    velocities = 0.1 * rng.standard_normal(model.nv)
    return positions, velocities


def _contact_forces(model: "mujoco.MjModel", data: "mujoco.MjData") -> Array:
    """Forces and torques on each body from outside, clipped, [6 bodies], as Ant-v5 takes them."""
    forces: Array = np.clip(data.cfrc_ext, -1.0, 1.0).ravel()
    return forces


def _terminated(after: States, tasks: TaskArrays) -> NDArray[np.bool_]:
    height = after.qpos[:, 2]
    finite = np.isfinite(after.qpos).all(-1) & np.isfinite(after.qvel).all(-1)
    fallen: NDArray[np.bool_] = ~(finite & (height >= _HEIGHTS[0]) & (height <= _HEIGHTS[1]))
    return fallen


def _ant(
    name: str,
    gain: Gain,
    control_cost: float = 0.005,
    contact_cost: float = 0.0005,
    survival: float = 0.05,
    terminates: bool = True,
    **parts: Any,
) -> MujocoTask:
    """r = gain - control_cost sum_i u_i^2 - contact_cost sum_j clip(f_j, -1, 1)^2 + survival."""
    not_negative(control_cost=control_cost, contact_cost=contact_cost, survival=survival)
    if not isinstance(terminates, bool):
        raise ValueError(f"`terminates` must be true or false, got {terminates!r}.")

    def reward(before: States, controls: Array, after: States, tasks: TaskArrays) -> Array:
        alive = survival * ~_terminated(after, tasks) if terminates else survival
        costs = control_cost * np.square(controls).sum(-1)
        if contact_cost:
            costs = costs + contact_cost * np.square(after.measured).sum(-1)
        return gain(before, after, tasks) - costs + alive

    if terminates:
        parts["terminated"] = _terminated
    return MujocoTask(
        name=name,
        xml="ant.xml",
        observe=lambda states: np.concatenate([states.qpos[:, 2:], states.qvel], axis=1),
        reward=reward,
        initial=_initial,
        measure=_contact_forces if contact_cost else None,
        **parts,
    )


def _velocity_over(frame_skip: int) -> Callable[[States, States], Array]:
    """Velocity in the plane over an environment step, [n, 2] in m/s."""
    seconds = frame_skip * _TIMESTEP

    def velocity(before: States, after: States) -> Array:
        moved: Array = (after.qpos[:, :2] - before.qpos[:, :2]) / seconds
        return moved

    return velocity


def _vel(velocity_range: tuple[float, float] = (0.0, 3.0), frame_skip: int = 5, **numbers: Any) -> MujocoTask:
    low, high = two_numbers(velocity_range=velocity_range)
    velocity = _velocity_over(frame_skip)

    def caption(before: States, after: States, task: Task) -> str:
        return f"v {float(velocity(before, after)[0, 0]):5.2f} m/s   goal {task['velocity']:.2f} m/s"

    return _ant(
        "AntVel",
        lambda before, after, tasks: 1.0 - np.abs(velocity(before, after)[:, 0] - tasks["velocity"]),
        parameters={"velocity": Interval(low, high)},
        frame_skip=frame_skip,
        caption=caption,
        mark=lambda task: Mark(arrow=(1.0, 0.0)),
        **numbers,
    )


def _dir(
    directions: Literal["forward_backward", "all"] = "forward_backward", frame_skip: int = 5, **numbers: Any
) -> MujocoTask:
    if directions not in ("forward_backward", "all"):
        raise ValueError(f"`directions` must be 'forward_backward' or 'all', got {directions!r}.")
    velocity = _velocity_over(frame_skip)
    angles = Choice((0.0, np.pi)) if directions == "forward_backward" else Interval(-np.pi, np.pi)

    def along(before: States, after: States, angle: Any) -> Array:
        forward, left = velocity(before, after).T
        speed: Array = np.cos(angle) * forward + np.sin(angle) * left
        return speed

    def caption(before: States, after: States, task: Task) -> str:
        return (
            f"v {float(along(before, after, task['angle'])[0]):5.2f} m/s along {np.degrees(task['angle']):.0f} degrees"
        )

    return _ant(
        "AntDir",
        lambda before, after, tasks: along(before, after, tasks["angle"]),
        parameters={"angle": angles},
        frame_skip=frame_skip,
        caption=caption,
        mark=lambda task: Mark(arrow=(float(np.cos(task["angle"])), float(np.sin(task["angle"])))),
        **numbers,
    )


def _goal(
    goals: Literal["square", "disc"] = "square", goal_range: float = 3.0, frame_skip: int = 5, **numbers: Any
) -> MujocoTask:
    positive(goal_range=goal_range)
    if goals not in ("square", "disc"):
        raise ValueError(f"`goals` must be 'square' or 'disc', got {goals!r}.")
    places = Disc(goal_range) if goals == "disc" else Interval((-goal_range,) * 2, (goal_range,) * 2)

    def away(after: States, goal: Any) -> Array:
        distance: Array = np.abs(after.qpos[:, :2] - goal).sum(-1)
        return distance

    return _ant(
        "AntGoal",
        lambda before, after, tasks: 4.0 - away(after, tasks["goal"]),
        parameters={"goal": places},
        frame_skip=frame_skip,
        caption=lambda before, after, task: f"{float(away(after, task['goal'])[0]):.2f} m from the goal, |dx| + |dy|",
        mark=lambda task: Mark(position=(*task["goal"], 0.2)),
        **numbers,
    )


def ant_vel(render_mode: str | None = None, **numbers: Any) -> SingleTaskEnv:
    """An ant with r = 1 - |v - g| - control_cost sum u^2 - contact_cost sum clip(f, -1, 1)^2 + survival.

    v is its forward speed over the step, u the motors' signals, f the outer forces on its bodies. Physics are those of
    Gymnasium's Ant-v5, and so is the observation without contact forces, [27]. Task: ``{"velocity": g}`` in m/s. An
    episode ends when the torso's height leaves [0.2, 1] m.

    Args:
        render_mode: None or "rgb_array".
        **numbers: velocity_range ((0, 3)): g is uniform in it. control_cost (0.005), contact_cost (0.0005), survival
            (0.05): as in cbfinn/maml_rl. terminates (True): whether a fallen ant's episode ends. frame_skip (5):
            physics steps of 0.01 s for each action; rllab's ant took 0.02 s. action_scale (1). horizon (200).

    Raises:
        ValueError: a number out of range.
    """
    return single(_vel(**numbers), render_mode)


def ant_vel_vector(
    num_envs: int, max_episode_steps: int | None = None, num_threads: int | None = None, **numbers: Any
) -> NativeTaskVectorEnv:
    """`num_envs` ants at once; arguments as in `ant_vel` and `envs.mujoco_tasks.vector`."""
    return vector(_vel(**numbers), num_envs, max_episode_steps, num_threads)


def ant_dir(render_mode: str | None = None, **numbers: Any) -> SingleTaskEnv:
    """An ant that is rewarded with its speed along a direction, with the costs of `ant_vel`.

    Task: ``{"angle": a}`` in radians, 0 for forward. Arguments as in `ant_vel`, with directions ("forward_backward", 0
    or pi, or "all", uniform in [-pi, pi]) instead of velocity_range.

    Raises:
        ValueError: a number out of range, or other directions.
    """
    return single(_dir(**numbers), render_mode)


def ant_dir_vector(
    num_envs: int, max_episode_steps: int | None = None, num_threads: int | None = None, **numbers: Any
) -> NativeTaskVectorEnv:
    """`num_envs` ants at once; arguments as in `ant_dir` and `envs.mujoco_tasks.vector`."""
    return vector(_dir(**numbers), num_envs, max_episode_steps, num_threads)


def ant_goal(render_mode: str | None = None, **numbers: Any) -> SingleTaskEnv:
    """An ant that is rewarded with 4 - |dx| - |dy|, its distance to a place in m, with the costs of `ant_vel`.

    Task: ``{"goal": [x, y]}`` in m. Arguments as in `ant_vel`, with goals ("square", uniform in [-goal_range,
    goal_range]^2, or "disc", uniform in the disc of that radius, as ProMP and VariBAD have it) and goal_range (3)
    instead of velocity_range.

    Raises:
        ValueError: a number out of range, or other goals.
    """
    return single(_goal(**numbers), render_mode)


def ant_goal_vector(
    num_envs: int, max_episode_steps: int | None = None, num_threads: int | None = None, **numbers: Any
) -> NativeTaskVectorEnv:
    """`num_envs` ants at once; arguments as in `ant_goal` and `envs.mujoco_tasks.vector`."""
    return vector(_goal(**numbers), num_envs, max_episode_steps, num_threads)
