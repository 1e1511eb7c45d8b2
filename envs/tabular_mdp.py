"""Random Markov decision processes with few states, drawn by the task (Duan et al., 2016, section 3.2)."""

from collections.abc import Callable, Sequence

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from envs.argument_checks import whole
from envs.array_tasks import ArrayTask
from envs.counter_based_random import draw_key, normal, uniform
from envs.parameter_ranges import Normal, Simplex
from envs.task_distribution import Array, TaskArrays, TaskDistribution
from maml_rl.rl.environments.task_env import Task

__all__ = ["optimal_return", "random_return", "tabular_mdp"]

_KEY, _TIME, _PLACE = range(3)
_MOVES, _NOISE = 0, 1


class _Chain:
    """A state is the episode's key, the time step and the place, the Markov decision process's own state."""

    def initial(self, rng: np.random.Generator) -> Array:
        return np.array([draw_key(rng), 0.0, 0.0])

    def assign(self, tasks: Sequence[Task]) -> None:
        """Adds up the chances of each task's transitions; the last place takes what rounding leaves."""
        tables = {id(task): np.cumsum(np.asarray(task["transitions"], float), axis=-1)[..., :-1] for task in tasks}
        distinct = {key: index for index, key in enumerate(tables)}
        self._tables = np.stack(list(tables.values()))
        self._table_of = np.array([distinct[id(task)] for task in tasks])

    def advance(self, states: Array, controls: Array) -> Array:
        places, actions = states[:, _PLACE].astype(int), controls.astype(int)
        bounds = self._tables[self._table_of, places, actions]
        drawn = uniform(states[:, _KEY], states[:, _TIME], _MOVES)
        next_places = (drawn[:, None] >= bounds).sum(-1)
        return np.stack([states[:, _KEY], states[:, _TIME] + 1, next_places], axis=1)


def tabular_mdp(states: int = 10, actions: int = 5, horizon: int = 10) -> ArrayTask:
    """A Markov decision process with s states and a actions; an episode starts in the first state.

    Observation: the state as one-hot vector, [s]. Task: ``{"transitions": [s][a][s], "rewards": [s][a]}``: each row of
    probabilities from a flat Dirichlet distribution, each mean reward from N(1, 1). Rewards have variance 1 around
    their mean.

    Args:
        states: s.
        actions: a.
        horizon: steps of an episode.

    Raises:
        ValueError: a number that is not whole and positive.
    """
    whole(states=states, actions=actions, horizon=horizon)

    def reward(before: Array, controls: Array, after: Array, tasks: TaskArrays) -> Array:
        """N(m[s, a], 1)."""
        rows = np.arange(len(before))
        means: Array = tasks["rewards"][rows, before[:, _PLACE].astype(int), controls.astype(int)]
        return means + normal(before[:, _KEY], before[:, _TIME], _NOISE)

    distribution = TaskDistribution(
        name="TabularMDP",
        parameters={
            "transitions": Simplex((states, actions, states)),
            "rewards": Normal(1.0, 1.0, (states, actions)),
        },
        observation_space=spaces.Box(0.0, 1.0, (states,), np.float64),
        action_space=spaces.Discrete(actions),
        horizon=horizon,
        observe=lambda rows: np.eye(states)[rows[:, _PLACE].astype(int)],
        control=lambda chosen: chosen.astype(np.float64),
        reward=reward,
        terminated=lambda after, tasks: np.zeros(len(after), bool),
        render=lambda rows, task: _picture(rows[:, _PLACE].astype(int), np.asarray(task["rewards"])),
        references=lambda task, steps: {
            "optimal": optimal_return(task, steps),
            "random": random_return(task, steps),
        },
    )
    return ArrayTask(distribution, _Chain())


def optimal_return(task: Task, steps: int) -> float:
    """The best expected sum of rewards over `steps` steps, by backward induction (Bellman, 1957)."""
    return _induced(task, steps, np.max)


def random_return(task: Task, steps: int) -> float:
    """The expected sum of rewards over `steps` steps of uniformly random actions."""
    return _induced(task, steps, np.mean)


def _induced(task: Task, steps: int, choose: Callable[..., Array]) -> float:
    """V_t(s) = choose_a m[s, a] + sum_s' P[s, a, s'] V_{t+1}(s'), of the first state."""
    transitions, rewards = np.asarray(task["transitions"], float), np.asarray(task["rewards"], float)
    values = np.zeros(len(transitions))
    for _ in range(steps):
        values = choose(rewards + transitions @ values, axis=-1)
    return float(values[0])


def _picture(places: NDArray[np.int64], rewards: Array, height: int = 360, width: int = 480) -> NDArray[np.uint8]:
    """Mean rewards as a table of colours, a row for each state; a mark at the present one, and a path of the visits."""
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    states, actions = rewards.shape
    top, left, cell = 44, 70, (height - 52) / states
    across = min(cell * 1.4, (width * 0.45 - left) / actions)
    draw.text((8, 6), "mean rewards: red low, green high", "#333333", ImageFont.load_default(14))
    draw.text((width * 0.55, 6), "states over time", "#333333", ImageFont.load_default(14))
    for state in range(states):
        y = top + state * cell
        for action in range(actions):
            shade = float(np.clip((rewards[state, action] + 1) / 4, 0, 1))
            color = (int(225 - 180 * shade), int(70 + 130 * shade), 80)
            x = left + action * across
            draw.rectangle((x, y, x + max(across - 2, 1), y + max(cell - 2, 1)), fill=color)
        draw.text((30, y + cell / 2 - 8), str(state), "#333333", ImageFont.load_default(14))
        if state == places[-1]:
            draw.polygon([(52, y + cell / 2 - 6), (52, y + cell / 2 + 6), (64, y + cell / 2)], fill="#1f77b4")
    begin, room = width * 0.55, width * 0.42
    points = [
        (begin + room * time / max(1, len(places) - 1), top + (place + 0.5) * cell) for time, place in enumerate(places)
    ]
    if len(points) > 1:
        draw.line(points, fill="#1f77b4", width=2)
    for x, y in points:
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill="#1f77b4")
    return np.asarray(picture)
