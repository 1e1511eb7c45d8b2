"""2D navigation: a point walks to a goal it does not see (Finn et al., 2017, section 5.3)."""

from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from envs.definition import Array, Definition, Interval, TaskArrays, positive, scaled_box, whole
from envs.single import SingleTaskEnv
from envs.vector import NativeTaskVectorEnv
from maml_rl.rl.tasks import Task

__all__ = ["navigation_2d", "navigation_2d_vector"]


class _Point:
    """x' = x + u, from the origin."""

    def initial(self, rng: np.random.Generator) -> Array:
        return np.zeros(2)

    def advance(self, states: Array, controls: Array) -> Array:
        return states + controls


def _define(
    goal_range: float = 0.5,
    horizon: int = 100,
    max_step: float = 0.1,
    action_scale: float = 0.1,
    goal_radius: float = 0.01,
    reward: Literal["distance", "squared_distance"] = "distance",
) -> Definition:
    positive(goal_range=goal_range, max_step=max_step, action_scale=action_scale, goal_radius=goal_radius)
    whole(horizon=horizon)
    if reward not in ("distance", "squared_distance"):
        raise ValueError(f"`reward` must be 'distance' or 'squared_distance', got {reward!r}.")

    def rewards(states: Array, controls: Array, after: Array, tasks: TaskArrays) -> Array:
        squared = ((after - tasks["goal"]) ** 2).sum(-1)
        return -squared if reward == "squared_distance" else -np.sqrt(squared)

    def terminated(after: Array, tasks: TaskArrays) -> NDArray[np.bool_]:
        return np.all(np.abs(after - tasks["goal"]) < goal_radius, axis=-1)

    def paint(states: Array, task: Task, simulator: Any) -> NDArray[np.uint8]:
        return _paint(states, np.asarray(task["goal"]), goal_range * 1.4, goal_radius)

    return Definition(
        name="Navigation2D",
        parameters={"goal": Interval((-goal_range,) * 2, (goal_range,) * 2)},
        observation_space=spaces.Box(-max_step * horizon, max_step * horizon, (2,), np.float64),
        action_space=scaled_box(2, action_scale),
        horizon=horizon,
        observe=np.copy,
        control=lambda actions: actions * (max_step / action_scale),
        reward=rewards,
        terminated=terminated,
        paint=paint,
    )


def navigation_2d(render_mode: str | None = None, **numbers: Any) -> SingleTaskEnv:
    """One point that starts at the origin and walks at most `max_step` along each axis and step.

    Observation: its position, [2]. Task: ``{"goal": [x, y]}``. An episode ends at the goal or at the horizon.

    Args:
        render_mode: None or "rgb_array".
        **numbers: goal_range (0.5): the goal is uniform in [-goal_range, goal_range]^2. horizon (100). max_step (0.1).
            action_scale (0.1): actions in [-action_scale, action_scale] are mapped to [-max_step, max_step]; 0.1
            leaves them as they are (the paper), 1 is cbfinn/maml_rl's normalised policy. goal_radius (0.01): the
            episode ends once both |dx| and |dy| are below it. reward ("distance"): minus the distance to the goal
            after the step, as both public codes have it, or "squared_distance", as the paper's text has it.

    Raises:
        ValueError: a number that is not positive, or another reward.
    """
    return SingleTaskEnv(_define(**numbers), _Point(), render_mode)


def navigation_2d_vector(num_envs: int, max_episode_steps: int | None = None, **numbers: Any) -> NativeTaskVectorEnv:
    """`num_envs` points at once; arguments as in `navigation_2d`."""
    return NativeTaskVectorEnv(_define(**numbers), _Point(), num_envs, max_episode_steps)


def _paint(states: Array, goal: Array, reach: float, goal_radius: float, size: int = 480) -> NDArray[np.uint8]:
    """The path so far in blue on white, the start as a small ring, the goal as a red disc."""
    picture = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(picture)

    def pixel(point: Array) -> tuple[float, float]:
        x, y = (np.clip(point / reach, -1, 1) + 1) / 2 * (size - 1)
        return float(x), float(size - 1 - y)

    def disc(point: Array, radius: float, **style: Any) -> None:
        x, y = pixel(point)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), **style)

    draw.line([(0, size / 2), (size, size / 2)], fill="#dddddd")
    draw.line([(size / 2, 0), (size / 2, size)], fill="#dddddd")
    disc(goal, max(7.0, goal_radius / reach * size / 2), fill="#d62728")
    disc(np.zeros(2), 6, outline="#555555", width=2)
    if len(states) > 1:
        draw.line([pixel(state) for state in states], fill="#1f77b4", width=3)
    disc(states[-1], 6, fill="#1f77b4")
    return np.asarray(picture)
