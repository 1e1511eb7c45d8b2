"""The recurrent policy: stepwise as fused, a gated recurrent unit by hand, what it reads, and who acts in a film."""

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from maml_rl.rl.recurrent.gru_policy import GRUMemory, recurrent_for
from maml_rl.rl.sampling.actors import Player
from tests.rl.recurrent.played import SMALL, parameters

BOX, PLANE = gym.spaces.Box(-1.0, 1.0, (3,)), gym.spaces.Box(np.float32([-1, -2]), np.float32([1, 0.5]))


@pytest.mark.parametrize("actions", [gym.spaces.Discrete(4, start=2), PLANE], ids=["discrete", "box"])
@pytest.mark.parametrize("encoder", [[], [5, 4]], ids=str)
def test_steps_give_what_the_fused_sequence_gives(actions: gym.Space[Any], encoder: list[int]) -> None:
    policy = recurrent_for(replace(SMALL, encoder=encoder), BOX, actions)
    params, rng = parameters(policy), torch.Generator().manual_seed(0)
    observations = torch.randn(2, 3, 50, 3, generator=rng, dtype=torch.float64)
    rewards = torch.randn(2, 3, 50, generator=rng, dtype=torch.float64)
    starts = (torch.rand(2, 3, 50, generator=rng) < 0.2).double()
    if isinstance(actions, gym.spaces.Discrete):
        taken = torch.randint(4, (2, 3, 50), generator=rng)
    else:
        taken = 2 * torch.randn(2, 3, 50, 2, generator=rng, dtype=torch.float64)
    flat = [part.flatten(0, 1) for part in (observations, taken, rewards, starts)]
    fused = policy.sequence(params, *flat)
    log_probs = fused.distribution.log_prob(flat[1])
    memory = policy.begin((2, 3), observations[..., 0])
    for t in range(50):
        begun = policy.begin_episode(memory)
        memory = memory._replace(starts=torch.where(starts[:, :, t] > 0, begun.starts, memory.starts))
        output, memory = policy.step(params, memory, observations[:, :, t])
        memory = policy.remember(memory, taken[:, :, t], rewards[:, :, t])
        torch.testing.assert_close(output.values.flatten(), fused.values[:, t], rtol=0, atol=1e-12)
        stepwise = output.distribution.log_prob(taken[:, :, t]).flatten()
        torch.testing.assert_close(stepwise, log_probs[:, t], rtol=0, atol=1e-11)


def test_the_recurrence_is_a_gated_recurrent_unit() -> None:
    """h' = (1 - z) n + z h (Cho et al., 2014), by hand."""
    policy = recurrent_for(replace(SMALL, encoder=[]), BOX, PLANE)
    params, rng = parameters(policy), torch.Generator().manual_seed(0)
    x, h = torch.randn(1, 7, generator=rng).double(), torch.randn(1, 6, generator=rng).double()
    given = (x @ params["gru.weight_ih"].T + params["gru.bias_ih"]).split(6, -1)
    kept = (h @ params["gru.weight_hh"].T + params["gru.bias_hh"]).split(6, -1)
    reset, update = torch.sigmoid(given[0] + kept[0]), torch.sigmoid(given[1] + kept[1])
    expected = (1 - update) * torch.tanh(given[2] + reset * kept[2]) + update * h
    _, memory = policy.step(params, GRUMemory(h, x[:, 3:5], x[:, 5], x[:, 6]), x[:, :3])
    torch.testing.assert_close(memory.hidden, expected, rtol=0, atol=1e-12)


def test_actions_are_read_clipped_or_one_hot() -> None:
    box, discrete = recurrent_for(SMALL, BOX, PLANE), recurrent_for(SMALL, BOX, gym.spaces.Discrete(3, start=5))
    like = torch.zeros((), dtype=torch.float64)
    taken = torch.tensor([[0.3, 9.0], [-7.0, -1.5]], dtype=torch.float64)
    paid = torch.tensor([1.0, -2.0], dtype=torch.float64)
    memory = box.remember(box.begin_episode(box.begin((2,), like)), taken, paid)
    assert memory.codes.tolist() == [[0.3, 0.5], [-1.0, -1.5]]
    assert torch.equal(memory.rewards, paid)
    assert not memory.starts.any()
    assert discrete.remember(discrete.begin((2,), like), torch.tensor([2, 0]), paid).codes.tolist() == [
        [0, 0, 1],
        [1, 0, 0],
    ]
    with pytest.raises(ValueError, match="Discrete and one-dimensional Box"):
        recurrent_for(SMALL, BOX, gym.spaces.MultiBinary(3))


def test_who_acts_in_a_film_remembers_what_the_sampler_would() -> None:
    policy = recurrent_for(SMALL, BOX, PLANE)
    params = parameters(policy)
    seen = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    player, actions, rewards = Player(policy.actor(), params), [], []
    for episode in seen:
        player.begin_episode()
        for observation in episode:
            actions.append(torch.from_numpy(player.act(observation.numpy())))
            rewards.append(float(observation.sum()))
            player.see(rewards[-1])
    starts = torch.tensor([[1.0, 0, 0, 0, 1, 0, 0, 0]], dtype=torch.float64)
    paid, taken = torch.tensor([rewards], dtype=torch.float64), torch.stack(actions)[None]
    output = policy.sequence(params, seen.flatten(0, 1)[None], taken, paid, starts)
    torch.testing.assert_close(taken, output.distribution.mode(), rtol=1e-12, atol=1e-13)
