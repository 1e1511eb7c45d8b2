"""Half-cheetahs that run at a speed or in a direction which the task chooses (Finn et al., 2017, section 5.3)."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from envs.argument_checks import not_negative, two_numbers
from envs.locomotion import forward_velocity, noisy_start
from envs.mujoco_rendering import Mark
from envs.mujoco_tasks import MujocoTask, States
from envs.parameter_ranges import Choice, Interval, Range
from envs.task_distribution import Array, TaskArrays
from maml_rl.rl.environments.task_env import Task

__all__ = ["half_cheetah_dir", "half_cheetah_vel"]

_TIMESTEP = 0.01  # of half_cheetah.xml, in s


def half_cheetah_vel(
    velocity_range: tuple[float, float] = (0.0, 2.0),
    control_cost: float = 0.05,
    frame_skip: int = 5,
    action_scale: float = 1.0,
    horizon: int = 200,
) -> MujocoTask:
    """A half-cheetah that is rewarded with r = -|v - g| - control_cost * sum u^2, v its mean speed over the step.

    Physics and observation, [17], are those of Gymnasium's HalfCheetah-v5. Task: ``{"velocity": g}`` in m/s. Episodes
    end at the horizon only.

    Args:
        velocity_range: g is uniform in it; ProMP and VariBAD take (0, 3).
        control_cost: of the squared motor signals u.
        frame_skip: physics steps of 0.01 s for each action; rllab, and so the paper, took 1.
        action_scale: actions in [-action_scale, action_scale] are mapped to the motors' [-1, 1]; ProMP and
            pytorch-maml-rl take 10.
        horizon: steps of an episode.

    Raises:
        ValueError: a number out of range.
    """
    return _cheetah(
        name="HalfCheetahVel",
        parameters={"velocity": Interval(*two_numbers(velocity_range=velocity_range))},
        gain=lambda speed, tasks: -np.abs(speed - tasks["velocity"]),
        goal=lambda task: f"{task['velocity']:.2f} m/s",
        control_cost=control_cost,
        frame_skip=frame_skip,
        action_scale=action_scale,
        horizon=horizon,
    )


def half_cheetah_dir(
    control_cost: float = 0.05, frame_skip: int = 5, action_scale: float = 1.0, horizon: int = 200
) -> MujocoTask:
    """A half-cheetah that is rewarded with r = d v - control_cost * sum u^2, v its mean speed over the step.

    Task: ``{"direction": d}``, 1 for forward or -1 for backward. All else is as in `half_cheetah_vel`.

    Raises:
        ValueError: a number out of range.
    """
    return _cheetah(
        name="HalfCheetahDir",
        parameters={"direction": Choice((-1.0, 1.0))},
        gain=lambda speed, tasks: tasks["direction"] * speed,
        goal=lambda task: "forward" if task["direction"] > 0 else "backward",
        mark=lambda task: Mark(arrow=(task["direction"], 0.0)),
        control_cost=control_cost,
        frame_skip=frame_skip,
        action_scale=action_scale,
        horizon=horizon,
    )


def _cheetah(
    name: str,
    parameters: Mapping[str, Range],
    gain: Callable[[Array, TaskArrays], Array],
    goal: Callable[[Task], str],
    control_cost: float,
    frame_skip: int,
    **more: Any,
) -> MujocoTask:
    """r = gain(v, task) - control_cost sum_i u_i^2; pictures tell v and the task's goal."""
    not_negative(control_cost=control_cost)
    seconds = frame_skip * _TIMESTEP

    def reward(before: States, controls: Array, after: States, tasks: TaskArrays) -> Array:
        cost: Array = np.square(controls).sum(-1)
        return gain(forward_velocity(before, after, seconds), tasks) - control_cost * cost

    def caption(before: States, after: States, task: Task) -> str:
        return f"v {float(forward_velocity(before, after, seconds)[0]):5.2f} m/s   goal {goal(task)}"

    return MujocoTask(
        name=name,
        xml="half_cheetah.xml",
        parameters=parameters,
        observe=lambda states: np.concatenate([states.qpos[:, 1:], states.qvel], axis=1),
        reward=reward,
        initial=noisy_start,
        frame_skip=frame_skip,
        caption=caption,
        **more,
    )
