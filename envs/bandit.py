"""Bernoulli bandits: k arms whose chances of a reward the task chooses (Duan et al., 2016, section 3.1)."""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from envs.chance import draw_key, uniform
from envs.definition import Array, Definition, TaskArrays, whole
from envs.ranges import Interval
from envs.single import SingleTaskEnv
from envs.vector import NativeTaskVectorEnv

__all__ = ["bandit", "bandit_vector"]

_KEY, _TIME, _ARM = range(3)


class _Pulls:
    """A state is the episode's key, the pulls so far and the last arm."""

    def initial(self, rng: np.random.Generator) -> Array:
        return np.array([draw_key(rng), 0.0, -1.0])

    def advance(self, states: Array, controls: Array) -> Array:
        return np.stack([states[:, _KEY], states[:, _TIME] + 1, controls], axis=1)


def _define(arms: int = 5, horizon: int = 10) -> Definition:
    whole(arms=arms, horizon=horizon)

    def reward(before: Array, controls: Array, after: Array, tasks: TaskArrays) -> Array:
        """1 with the arm's chance, else 0."""
        chances = np.take_along_axis(tasks["chances"], controls.astype(int)[:, None], axis=1)[:, 0]
        return (uniform(before[:, _KEY], before[:, _TIME]) < chances).astype(np.float64)

    return Definition(
        name="Bandit",
        parameters={"chances": Interval((0.0,) * arms, (1.0,) * arms)},
        observation_space=spaces.Box(0.0, 1.0, (1,), np.float64),
        action_space=spaces.Discrete(arms),
        horizon=horizon,
        observe=lambda states: np.ones((len(states), 1)),
        control=lambda actions: actions.astype(np.float64),
        reward=reward,
        terminated=lambda after, tasks: np.zeros(len(after), bool),
        paint=lambda states, task, simulator: _paint(states[1:, _ARM].astype(int), np.asarray(task["chances"])),
        references=lambda task, steps: {
            "optimal": steps * max(task["chances"]),
            "random": steps * float(np.mean(task["chances"])),
        },
    )


def bandit(render_mode: str | None = None, **numbers: Any) -> SingleTaskEnv:
    """A bandit whose arms pay 1 with chances that the task chooses, and 0 otherwise.

    Nothing is observed: the observation is 1, [1]. Task: ``{"chances": [p_1, ..., p_k]}``, each uniform in [0, 1].

    Args:
        render_mode: None or "rgb_array".
        **numbers: arms (5): k. horizon (10): pulls in an episode.

    Raises:
        ValueError: a number that is not whole and positive.
    """
    return SingleTaskEnv(_define(**numbers), _Pulls(), render_mode)


def bandit_vector(num_envs: int, max_episode_steps: int | None = None, **numbers: Any) -> NativeTaskVectorEnv:
    """`num_envs` bandits at once; arguments as in `bandit`."""
    return NativeTaskVectorEnv(_define(**numbers), _Pulls(), num_envs, max_episode_steps)


def _paint(pulls: NDArray[np.int64], chances: Array, height: int = 360, width: int = 480) -> NDArray[np.uint8]:
    """A bar for each arm's chance in grey, the share of pulls that it got in blue, its pulls in figures."""
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    top, bottom, font = 40, height - 40, ImageFont.load_default(14)
    draw.text((8, 8), "grey: chance of a reward   blue: share of pulls", "#333333", ImageFont.load_default(16))
    step = width / len(chances)
    counts = np.bincount(pulls, minlength=len(chances)) if len(pulls) else np.zeros(len(chances), int)
    for arm, (chance, count) in enumerate(zip(chances, counts, strict=True)):
        left = arm * step + 0.15 * step
        for share, shift, color in ((chance, 0.0, "#bbbbbb"), (count / max(1, len(pulls)), 0.36, "#1f77b4")):
            begin = left + shift * step
            draw.rectangle((begin, bottom - share * (bottom - top), begin + 0.34 * step, bottom), fill=color)
        draw.text((left, bottom + 8), f"{count} pulls" if step > 60 else str(count), "#333333", font)
        if len(pulls) and pulls[-1] == arm:
            draw.line([(left, bottom + 30), (left + 0.7 * step, bottom + 30)], fill="#d62728", width=4)
    draw.line([(0, bottom), (width, bottom)], fill="#333333")
    return np.asarray(picture)
