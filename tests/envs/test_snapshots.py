"""Snapshots of vectors of environments, and the words that a random generator is stored in."""

import gymnasium as gym
import numpy as np
import pytest
from numpy.random import PCG64, Generator

from envs.generator_words import generator_of_words, generator_words
from envs.vector_env import NativeTaskVectorEnv


def _vector(**arguments: float) -> NativeTaskVectorEnv:
    made = gym.make_vec("envs:Navigation2D-v0", num_envs=3, vectorization_mode="vector_entry_point", **arguments)
    assert isinstance(made, NativeTaskVectorEnv)
    return made


@pytest.mark.parametrize("seed", [0, 1, 2**60 + 3])
@pytest.mark.parametrize("odd", [False, True], ids=["", "half a word left"])
def test_a_generator_goes_on_from_its_words(seed: int, odd: bool) -> None:
    """Draws of 32 bits take half a word and keep the other one."""
    generator = Generator(PCG64(seed))
    generator.normal(size=7)
    if odd:
        generator.integers(10, size=1, dtype=np.int32)
    words = generator_words(generator)
    assert words.shape == (6,)
    assert words.dtype == np.int64
    other = generator_of_words(words)
    assert generator.bit_generator.state == other.bit_generator.state
    for draw in (lambda one: one.integers(10, size=5, dtype=np.int32), lambda one: one.random(9)):
        np.testing.assert_array_equal(draw(generator), draw(other))


def test_a_vector_goes_on_from_a_snapshot_over_the_ends_of_episodes() -> None:
    one, other = _vector(horizon=5), _vector(horizon=5)
    tasks, rng = one.sample_tasks(3, np.random.default_rng(0)), np.random.default_rng(1)
    one.set_tasks(tasks)
    one.reset(seed=[3, 4, 5])
    one.step(rng.normal(size=(3, 2)))
    taken = one.snapshot()
    assert {name: len(array) for name, array in taken.items()} == {"states": 3, "elapsed": 3, "generators": 3}
    kept = {name: array.copy() for name, array in taken.items()}
    other.set_tasks(tasks)
    other.restore(taken)
    ended = 0
    for _ in range(12):
        actions = rng.normal(size=(3, 2))
        results = [envs.step(actions)[:4] for envs in (one, other)]
        for ours, wanted in zip(*results, strict=True):
            np.testing.assert_array_equal(ours, wanted)
        over = results[0][2] | results[0][3]
        if over.any():
            ended += 1
            fresh = [envs.reset(options={"reset_mask": over})[0] for envs in (one, other)]
            np.testing.assert_array_equal(*fresh)
    assert ended >= 2
    one.reset(seed=[6, 7, 8])
    one.step(rng.normal(size=(3, 2)))
    taken = one.snapshot()
    kept = {name: array.copy() for name, array in taken.items()}
    one.reset(seed=[7, 8, 9])  # writes into the states
    for name, array in kept.items():
        np.testing.assert_array_equal(taken[name], array)
    one.close()
    other.close()


def test_a_snapshot_needs_running_episodes() -> None:
    envs = _vector(horizon=1)
    envs.set_tasks(envs.sample_tasks(3, np.random.default_rng(0)))
    with pytest.raises(gym.error.ResetNeeded, match="a snapshot needs running episodes"):
        envs.snapshot()
    envs.reset(seed=0)
    envs.snapshot()
    envs.step(np.zeros((3, 2)))
    with pytest.raises(gym.error.ResetNeeded, match="reset all environments before"):
        envs.snapshot()
    envs.close()
