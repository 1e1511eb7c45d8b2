"""Bernoulli bandits: k arms whose chances of a reward the task chooses (Duan et al., 2016, section 3.1)."""

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from envs.argument_checks import whole
from envs.array_tasks import ArrayTask
from envs.counter_based_random import draw_key, uniform
from envs.parameter_ranges import Interval
from envs.task_distribution import Array, TaskArrays, TaskDistribution

__all__ = ["bandit"]

_KEY, _TIME, _ARM = range(3)


class _Pulls:
    """A state is the episode's key, the pulls so far and the last arm."""

    def initial(self, rng: np.random.Generator) -> Array:
        return np.array([draw_key(rng), 0.0, -1.0])

    def advance(self, states: Array, controls: Array) -> Array:
        return np.stack([states[:, _KEY], states[:, _TIME] + 1, controls], axis=1)


def bandit(arms: int = 5, horizon: int = 10) -> ArrayTask:
    """A bandit whose arms pay 1 with chances that the task chooses, and 0 otherwise.

    Nothing is observed: the observation is 1, [1]. Task: ``{"chances": [p_1, ..., p_k]}``, each uniform in [0, 1].

    Args:
        arms: k.
        horizon: pulls in an episode.

    Raises:
        ValueError: a number that is not whole and positive.
    """
    whole(arms=arms, horizon=horizon)

    def reward(before: Array, controls: Array, after: Array, tasks: TaskArrays) -> Array:
        """1 with the arm's chance, else 0."""
        chances = np.take_along_axis(tasks["chances"], controls.astype(int)[:, None], axis=1)[:, 0]
        return (uniform(before[:, _KEY], before[:, _TIME]) < chances).astype(np.float64)

    distribution = TaskDistribution(
        name="Bandit",
        parameters={"chances": Interval((0.0,) * arms, (1.0,) * arms)},
        observation_space=spaces.Box(0.0, 1.0, (1,), np.float64),
        action_space=spaces.Discrete(arms),
        horizon=horizon,
        observe=lambda states: np.ones((len(states), 1)),
        control=lambda actions: actions.astype(np.float64),
        reward=reward,
        terminated=lambda after, tasks: np.zeros(len(after), bool),
        render=lambda states, task: _picture(states[1:, _ARM].astype(int), np.asarray(task["chances"])),
        references=lambda task, steps: {
            "optimal": steps * max(task["chances"]),
            "random": steps * float(np.mean(task["chances"])),
        },
    )
    return ArrayTask(distribution, _Pulls())


def _picture(pulls: NDArray[np.int64], chances: Array, height: int = 360, width: int = 480) -> NDArray[np.uint8]:
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
