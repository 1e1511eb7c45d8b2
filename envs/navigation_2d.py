"""2D navigation: a point walks to a goal it does not see (Finn et al., 2017, section 5.3)."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from envs.argument_checks import one_of, positive, whole
from envs.array_tasks import ArrayTask
from envs.parameter_ranges import Interval, Outside, Range, Semicircle
from envs.task_distribution import Array, TaskArrays, TaskDistribution, scaled_box
from maml_rl.rl.environments.task_env import Task

__all__ = ["navigation_2d"]


class _Point:
    """x' = x + u, from the origin; a step that would touch an obstacle is not taken.

    Args:
        obstacles: discs, [m, 3]: the two coordinates of the centre and the radius.
    """

    def __init__(self, obstacles: Array) -> None:
        self._centres, self._radii = obstacles[:, :2], obstacles[:, 2]

    def initial(self, rng: np.random.Generator) -> Array:
        return np.zeros(2)

    def advance(self, states: Array, controls: Array) -> Array:
        if not len(self._radii):
            return states + controls
        from_centres = states[:, None] - self._centres
        length = np.maximum(np.square(controls).sum(-1), 1e-300)[:, None]
        # Where on its way, 0 to 1, the point comes closest to each centre.
        closest = np.clip(-(from_centres * controls[:, None]).sum(-1) / length, 0.0, 1.0)
        distances = np.square(from_centres + closest[..., None] * controls[:, None]).sum(-1)
        free = (distances > np.square(self._radii)).all(-1)
        return states + free[:, None] * controls


def navigation_2d(
    goal_range: float = 0.5,
    horizon: int = 100,
    max_step: float = 0.1,
    action_scale: float = 0.1,
    goal_radius: float = 0.01,
    reward: Literal["distance", "squared_distance"] = "distance",
    goals: Literal["square", "semicircle"] = "square",
    obstacles: Sequence[Sequence[float]] = (),
) -> ArrayTask:
    """One point that starts at the origin and walks at most `max_step` along each axis and step.

    Observation: its position, [2]. Task: ``{"goal": [x, y]}``. An episode ends at the goal or at the horizon.

    Args:
        goal_range: the goal is uniform in [-goal_range, goal_range]^2.
        horizon: steps of an episode.
        max_step: along each axis.
        action_scale: actions in [-action_scale, action_scale] are mapped to [-max_step, max_step]; 0.1 leaves them as
            they are (the paper), 1 is cbfinn/maml_rl's normalised policy.
        goal_radius: the episode ends once both |dx| and |dy| are below it.
        reward: "distance" (minus the distance to the goal after the step, as both public codes have it) or
            "squared_distance" (as the paper's text has it).
        goals: "square", or "semicircle", on the upper half of the circle of radius goal_range.
        obstacles: discs [x, y, radius] which the point cannot enter: a step that would touch one is not taken. No goal
            lies in one.

    Raises:
        ValueError: a number that is not positive, another reward or other goals, or obstacles that cover the start.
    """
    discs = _checked_discs(obstacles)
    positive(goal_range=goal_range, max_step=max_step, action_scale=action_scale, goal_radius=goal_radius)
    whole(horizon=horizon)
    one_of(("distance", "squared_distance"), reward=reward)
    one_of(("square", "semicircle"), goals=goals)
    places: Range = Interval((-goal_range,) * 2, (goal_range,) * 2) if goals == "square" else Semicircle(goal_range)

    def rewards(states: Array, controls: Array, after: Array, tasks: TaskArrays) -> Array:
        squared = ((after - tasks["goal"]) ** 2).sum(-1)
        return -squared if reward == "squared_distance" else -np.sqrt(squared)

    def terminated(after: Array, tasks: TaskArrays) -> NDArray[np.bool_]:
        return np.all(np.abs(after - tasks["goal"]) < goal_radius, axis=-1)

    def render(states: Array, task: Task) -> NDArray[np.uint8]:
        return _picture(states, np.asarray(task["goal"]), goal_range * 1.4, goal_radius, discs)

    distribution = TaskDistribution(
        name="Navigation2D",
        parameters={"goal": places if not len(discs) else Outside(places, tuple(map(tuple, discs.tolist())))},
        observation_space=spaces.Box(-max_step * horizon, max_step * horizon, (2,), np.float64),
        action_space=scaled_box(2, action_scale),
        horizon=horizon,
        observe=np.copy,
        control=lambda actions: actions * (max_step / action_scale),
        reward=rewards,
        terminated=terminated,
        render=render,
    )
    distribution.sample_tasks(1, np.random.default_rng(0))  # refuses obstacles that leave no goal
    return ArrayTask(distribution, _Point(discs))


def _checked_discs(obstacles: Sequence[Sequence[float]]) -> Array:
    try:
        discs = np.array([[float(number) for number in disc] for disc in obstacles])
    except (TypeError, ValueError):
        discs = np.full((1, 1), np.nan)
    if not discs.size:
        return np.zeros((0, 3))
    if discs.ndim != 2 or discs.shape[1] != 3 or not np.isfinite(discs).all() or (discs[:, 2] <= 0).any():
        raise ValueError(f"`obstacles` must be discs [x, y, radius] with positive radii, got {obstacles!r}.")
    if (np.hypot(discs[:, 0], discs[:, 1]) <= discs[:, 2]).any():
        raise ValueError(f"`obstacles` must leave the start at the origin free, got {obstacles!r}.")
    return discs


def _picture(
    states: Array, goal: Array, reach: float, goal_radius: float, obstacles: Array, size: int = 480
) -> NDArray[np.uint8]:
    """The path so far in blue on white, the start as a small ring, the goal as a red disc, obstacles in grey."""
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
    for x, y, radius in obstacles:
        disc(np.array([x, y]), radius / reach * size / 2, fill="#999999")
    disc(goal, max(7.0, goal_radius / reach * size / 2), fill="#d62728")
    disc(np.zeros(2), 6, outline="#555555", width=2)
    if len(states) > 1:
        draw.line([pixel(state) for state in states], fill="#1f77b4", width=3)
    disc(states[-1], 6, fill="#1f77b4")
    return np.asarray(picture)
