"""Ants that walk at a speed, in a direction or to a place which the task chooses (Finn et al., 2017, section 5.3)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from envs.argument_checks import not_negative, one_of, positive, two_numbers
from envs.locomotion import forward_velocity, noisy_start
from envs.mujoco_rendering import Mark
from envs.mujoco_tasks import MujocoTask, States
from envs.parameter_ranges import Choice, Disc, Interval
from envs.task_distribution import Array, TaskArrays
from maml_rl.rl.environments.task_env import Task

if TYPE_CHECKING:
    import mujoco

__all__ = ["ant_dir", "ant_goal", "ant_vel"]

_TIMESTEP = 0.01  # of ant.xml, in s
_HEIGHTS = (0.2, 1.0)  # of the torso of a healthy ant, in m

_Gain: TypeAlias = Callable[[States, States, TaskArrays], Array]
"""(states before, states after, tasks) -> what a task rewards, [n]."""


class _Costs(NamedTuple):
    """What all ants' rewards have in common; see `ant_vel`."""

    control_cost: float
    contact_cost: float
    survival: float
    terminates: bool


def ant_vel(
    velocity_range: tuple[float, float] = (0.0, 3.0),
    control_cost: float = 0.005,
    contact_cost: float = 0.0005,
    survival: float = 0.05,
    terminates: bool = True,
    frame_skip: int = 5,
    action_scale: float = 1.0,
    horizon: int = 200,
) -> MujocoTask:
    """An ant with r = 1 - |v - g| - control_cost sum u^2 - contact_cost sum clip(f, -1, 1)^2 + survival.

    v is its mean forward speed over the step, u the motors' signals, f the outer forces on its bodies. Physics are
    those of Gymnasium's Ant-v5, and so is the observation without contact forces, [27]. Task: ``{"velocity": g}`` in
    m/s. An episode ends when the torso's height leaves [0.2, 1] m.

    Args:
        velocity_range: g is uniform in it.
        control_cost: of the squared motor signals, as in cbfinn/maml_rl.
        contact_cost: of the squared forces, as in cbfinn/maml_rl.
        survival: for each step that the ant has not fallen, as in cbfinn/maml_rl.
        terminates: whether a fallen ant's episode ends.
        frame_skip: physics steps of 0.01 s for each action; rllab's ant took 0.02 s.
        action_scale: actions in [-action_scale, action_scale] are mapped to the motors' [-1, 1].
        horizon: steps of an episode.

    Raises:
        ValueError: a number out of range.
    """
    seconds = frame_skip * _TIMESTEP

    def caption(before: States, after: States, task: Task) -> str:
        return f"v {float(forward_velocity(before, after, seconds)[0]):5.2f} m/s   goal {task['velocity']:.2f} m/s"

    return _ant(
        "AntVel",
        lambda before, after, tasks: 1.0 - np.abs(forward_velocity(before, after, seconds) - tasks["velocity"]),
        _Costs(control_cost, contact_cost, survival, terminates),
        parameters={"velocity": Interval(*two_numbers(velocity_range=velocity_range))},
        caption=caption,
        mark=lambda task: Mark(arrow=(1.0, 0.0)),
        frame_skip=frame_skip,
        action_scale=action_scale,
        horizon=horizon,
    )


def ant_dir(
    directions: Literal["forward_backward", "all"] = "forward_backward",
    control_cost: float = 0.005,
    contact_cost: float = 0.0005,
    survival: float = 0.05,
    terminates: bool = True,
    frame_skip: int = 5,
    action_scale: float = 1.0,
    horizon: int = 200,
) -> MujocoTask:
    """An ant that is rewarded with its speed along a direction, with the costs and arguments of `ant_vel`.

    Task: ``{"angle": a}`` in radians, 0 for forward.

    Args:
        directions: "forward_backward" (0 or pi) or "all" (uniform in [-pi, pi]).

    Raises:
        ValueError: a number out of range, or other directions.
    """
    one_of(("forward_backward", "all"), directions=directions)
    angles = Choice((0.0, np.pi)) if directions == "forward_backward" else Interval(-np.pi, np.pi)
    seconds = frame_skip * _TIMESTEP

    def along(before: States, after: States, angle: Any) -> Array:
        forward, left = (after.qpos[:, :2] - before.qpos[:, :2]).T / seconds
        speed: Array = np.cos(angle) * forward + np.sin(angle) * left
        return speed

    def caption(before: States, after: States, task: Task) -> str:
        speed = float(along(before, after, task["angle"])[0])
        return f"v {speed:5.2f} m/s along {np.degrees(task['angle']):.0f} degrees"

    return _ant(
        "AntDir",
        lambda before, after, tasks: along(before, after, tasks["angle"]),
        _Costs(control_cost, contact_cost, survival, terminates),
        parameters={"angle": angles},
        caption=caption,
        mark=lambda task: Mark(arrow=(float(np.cos(task["angle"])), float(np.sin(task["angle"])))),
        frame_skip=frame_skip,
        action_scale=action_scale,
        horizon=horizon,
    )


def ant_goal(
    goals: Literal["square", "disc"] = "square",
    goal_range: float = 3.0,
    control_cost: float = 0.005,
    contact_cost: float = 0.0005,
    survival: float = 0.05,
    terminates: bool = True,
    frame_skip: int = 5,
    action_scale: float = 1.0,
    horizon: int = 200,
) -> MujocoTask:
    """An ant that is rewarded with 4 - |dx| - |dy|, its distance to a place in m, with the costs of `ant_vel`.

    Task: ``{"goal": [x, y]}`` in m. All other arguments are as in `ant_vel`.

    Args:
        goals: "square" (uniform in [-goal_range, goal_range]^2) or "disc" (uniform in the disc of radius goal_range,
            as in ProMP and VariBAD).
        goal_range: in m.

    Raises:
        ValueError: a number out of range, or other goals.
    """
    positive(goal_range=goal_range)
    one_of(("square", "disc"), goals=goals)
    places = Disc(goal_range) if goals == "disc" else Interval((-goal_range,) * 2, (goal_range,) * 2)

    def distance(after: States, goal: Any) -> Array:
        summed: Array = np.abs(after.qpos[:, :2] - goal).sum(-1)
        return summed

    return _ant(
        "AntGoal",
        lambda before, after, tasks: 4.0 - distance(after, tasks["goal"]),
        _Costs(control_cost, contact_cost, survival, terminates),
        parameters={"goal": places},
        caption=lambda before, after, task: (
            f"{float(distance(after, task['goal'])[0]):.2f} m from the goal, |dx| + |dy|"
        ),
        mark=lambda task: Mark(position=(*task["goal"], 0.2)),
        frame_skip=frame_skip,
        action_scale=action_scale,
        horizon=horizon,
    )


def _ant(name: str, gain: _Gain, costs: _Costs, **more: Any) -> MujocoTask:
    """r = gain - control_cost sum_i u_i^2 - contact_cost sum_j clip(f_j, -1, 1)^2 + survival."""
    control_cost, contact_cost, survival, terminates = costs
    not_negative(control_cost=control_cost, contact_cost=contact_cost, survival=survival)
    if not isinstance(terminates, bool):
        raise ValueError(f"`terminates` must be true or false, got {terminates!r}.")

    def reward(before: States, controls: Array, after: States, tasks: TaskArrays) -> Array:
        alive = survival * ~_fallen(after, tasks) if terminates else survival
        cost = control_cost * np.square(controls).sum(-1)
        if contact_cost:
            cost = cost + contact_cost * np.square(after.measured).sum(-1)
        return gain(before, after, tasks) - cost + alive

    if terminates:
        more["terminated"] = _fallen
    return MujocoTask(
        name=name,
        xml="ant.xml",
        observe=lambda states: np.concatenate([states.qpos[:, 2:], states.qvel], axis=1),
        reward=reward,
        initial=noisy_start,
        measure=_contact_forces if contact_cost else None,
        **more,
    )


def _contact_forces(model: "mujoco.MjModel", data: "mujoco.MjData") -> Array:
    """Forces and torques on each body from outside, clipped, [6 bodies], as Ant-v5 takes them."""
    forces: Array = np.clip(data.cfrc_ext, -1.0, 1.0).ravel()
    return forces


def _fallen(after: States, tasks: TaskArrays) -> NDArray[np.bool_]:
    height = after.qpos[:, 2]
    finite = np.isfinite(after.qpos).all(-1) & np.isfinite(after.qvel).all(-1)
    fallen: NDArray[np.bool_] = ~(finite & (height >= _HEIGHTS[0]) & (height <= _HEIGHTS[1]))
    return fallen
