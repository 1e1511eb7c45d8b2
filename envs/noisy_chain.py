"""Noisy chain: a Markov reward process whose rewards alternate between noise and a signal (Xu et al., 2018)."""

from collections.abc import Sequence
from numbers import Real

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from envs.argument_checks import not_negative, two_numbers, whole
from envs.array_tasks import ArrayTask
from envs.counter_based_random import draw_key, normal
from envs.parameter_ranges import Choice, Interval, Range
from envs.task_distribution import Array, TaskArrays, TaskDistribution
from maml_rl.rl.environments.task_env import Task

__all__ = ["noisy_chain"]

_KEY, _PLACE = range(2)


class _Walk:
    """A state is the episode's key and the place in the chain, which is the time step too."""

    def initial(self, rng: np.random.Generator) -> Array:
        return np.array([draw_key(rng), 0.0])

    def advance(self, states: Array, controls: Array) -> Array:
        return states + np.array([0.0, 1.0])


def noisy_chain(
    states: int = 10, signal: float | Sequence[float] = 0.1, noise: float = 1.0, horizon: int | None = None
) -> ArrayTask:
    """A chain of states that are visited in order: nothing to decide, but returns to predict.

    The step that leaves state s pays N(0, noise^2) where s is even and `signal` where it is odd (Xu, van Hasselt and
    Silver, 2018, arXiv 1805.09801, section 3.1). The step that leaves the last state ends the episode.

    Observation: the state as one-hot vector, [states]; zeros behind the end. Action: 0, the only one. Task:
    ``{"signal": 0.1}``.

    Args:
        states: in the chain.
        signal: what odd states pay, or two bounds [low, high] that each task draws its own from.
        noise: standard deviation of what even states pay.
        horizon: steps after which an episode is truncated: one for each state where nothing is said, so that each
            episode reaches its end.

    Raises:
        ValueError: a number of states or steps that is not whole and positive, a negative deviation, a signal that is
            not finite, bounds in the wrong order.
    """
    steps = states if horizon is None else horizon
    whole(states=states, horizon=steps)
    not_negative(noise=noise)

    def reward(before: Array, controls: Array, after: Array, tasks: TaskArrays) -> Array:
        """The signal of odd states, the noise of even ones."""
        drawn = noise * normal(before[:, _KEY], before[:, _PLACE])
        return np.where(before[:, _PLACE] % 2 == 1, tasks["signal"], drawn)

    places = np.eye(states + 1, states)
    distribution = TaskDistribution(
        name="NoisyChain",
        parameters={"signal": _checked_signal(signal)},
        observation_space=spaces.Box(0.0, 1.0, (states,), np.float64),
        action_space=spaces.Discrete(1),
        horizon=steps,
        observe=lambda rows: places[rows[:, _PLACE].astype(int)],
        control=lambda actions: actions.astype(np.float64),
        reward=reward,
        terminated=lambda after, tasks: after[:, _PLACE] >= states,
        render=lambda rows, task: _picture(int(rows[-1, _PLACE]), _values(states, task), float(task["signal"])),
        state_values=lambda task: (places[:states].copy(), _values(states, task)),
    )
    return ArrayTask(distribution, _Walk())


def _values(states: int, task: Task) -> Array:
    """The expected return from each state, [states]: the signal times the odd states from there on."""
    odd = np.arange(states) % 2
    return float(task["signal"]) * odd[::-1].cumsum()[::-1]


def _checked_signal(signal: float | Sequence[float]) -> Range:
    if isinstance(signal, Sequence):
        return Interval(*two_numbers(signal=signal))
    if not isinstance(signal, Real) or not np.isfinite(signal):
        raise ValueError(f"`signal` must be a finite number or two bounds [low, high], got {signal!r}.")
    return Choice((float(signal),))


def _picture(place: int, values: Array, signal: float, height: int = 200, width: int = 640) -> NDArray[np.uint8]:
    """The chain as discs, red where they pay noise and blue where they pay the signal; a bar for each state's value."""
    image = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    draw.text((8, 8), f"blue: pays {signal:+.3g}   red: pays noise   grey: expected return from here", "#333333", font)
    step, middle, base, room = width / (len(values) + 1), 80, 170, 50
    radius, largest = min(0.36 * step, 24), max(np.abs(values).max(), 1e-12)
    draw.line([(step / 2, middle), (width - step / 2 - radius, middle)], fill="#cccccc", width=3)
    for state in range(len(values) + 1):
        x, colour = (state + 0.5) * step, ("#d62728", "#1f77b4")[state % 2]
        disc = (x - radius, middle - radius, x + radius, middle + radius)
        if state == len(values):
            draw.rectangle(disc, outline="#333333", width=6 if state == place else 1)
            continue
        draw.ellipse(disc, fill=colour, outline="#333333", width=6 if state == place else 0)
        top = base - room * values[state] / largest
        draw.rectangle((x - radius, min(base, top), x + radius, max(base, top)), fill="#bbbbbb")
    draw.line([(0, base), (width, base)], fill="#333333")
    return np.asarray(image)
