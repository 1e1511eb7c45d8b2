"""What a learner reads of a rollout: where episodes end, what comes behind an end, and what is true of values."""

import pytest
import torch
from torch import Tensor

from maml_rl.rl.online.actor_critic import experience_of, targets_of
from maml_rl.rl.sampling.trajectories import Rollout
from tests.rl.online.learners import learner, normal

E, T, ENDS = 3, 6, 2


def _rollout(terminated: bool, truncated: bool) -> Rollout:
    """An episode of the first row ends after step 2, one of the second row with the rollout's last step."""
    flags = {name: torch.zeros(E, T, dtype=torch.bool) for name in ("terminated", "truncated")}
    for name, wanted in (("terminated", terminated), ("truncated", truncated)):
        flags[name][0, ENDS] = flags[name][1, -1] = wanted
    places, following = normal(0, E, T, 3), normal(1, E, T, 3)
    goes_on = ~(flags["terminated"] | flags["truncated"])[:, :-1, None]
    following[:, :-1] = torch.where(goes_on, places[:, 1:], following[:, :-1])
    starts = torch.zeros(E, T, dtype=torch.bool)
    actions = torch.zeros(E, T, dtype=torch.int64)
    return Rollout(places, following, actions, normal(2, E, T), normal(3, E, T), starts, **flags)


def _values(rollout: Rollout) -> tuple[Tensor, Tensor, Tensor]:
    one = learner()
    params = one.begin({}, torch.tensor(4))["params"]
    targets = targets_of(
        one.agent,
        params,
        experience_of(rollout),
        torch.tensor(0.9, dtype=torch.float64),
        torch.tensor(0.7, dtype=torch.float64),
    )
    values = one.agent.values(params, rollout.observations)
    torch.testing.assert_close(targets.returns - values, targets.advantages, rtol=1e-12, atol=1e-13)
    return targets.returns, values, one.agent.values(params, rollout.next_observations)


def _recursion(rollout: Rollout, following: Tensor, row: int, t: int) -> float:
    """G_t by its definition, with ends asked for one by one."""
    if rollout.terminated[row, t]:
        return float(rollout.rewards[row, t])
    value = float(following[row, t])
    if rollout.truncated[row, t] or t == T - 1:
        return float(rollout.rewards[row, t]) + 0.9 * value
    return float(rollout.rewards[row, t]) + 0.9 * (0.3 * value + 0.7 * _recursion(rollout, following, row, t + 1))


@pytest.mark.parametrize("ends", [(True, False), (False, True), (False, False)], ids=["task", "time limit", "no end"])
def test_an_end_stops_the_recursion_and_a_time_limit_leaves_the_value(ends: tuple[bool, bool]) -> None:
    rollout = _rollout(*ends)
    returns, _, following = _values(rollout)
    for row in range(E):
        for t in range(T):
            assert float(returns[row, t]) == pytest.approx(_recursion(rollout, following, row, t), rel=1e-12)


@pytest.mark.parametrize("ends", [(True, False), (False, True)], ids=["task", "time limit"])
def test_nothing_behind_an_end_reaches_back(ends: tuple[bool, bool]) -> None:
    rollout = _rollout(*ends)
    returns, *_ = _values(rollout)
    rollout.rewards[0, ENDS + 1 :] += 1.0
    rollout.observations[0, ENDS + 1 :] += 1.0
    rollout.next_observations[0, ENDS + 1 :] += 1.0
    others, *_ = _values(rollout)
    assert torch.equal(others[0, : ENDS + 1], returns[0, : ENDS + 1])
    assert not torch.equal(others[0, ENDS + 1 :], returns[0, ENDS + 1 :])
    rollout.next_observations[0, ENDS] += 1.0
    again, *_ = _values(rollout)
    assert torch.equal(again[0, ENDS], returns[0, ENDS]) == ends[0]


def test_the_rollout_itself_stays_as_it_is() -> None:
    rollout = _rollout(False, False)
    experience = experience_of(rollout)
    assert experience.goes_on[0].tolist() == [1.0] * (T - 1) + [0.0]
    assert not rollout.truncated.any()
    assert experience_of(_rollout(False, True)).goes_on[0].tolist() == [1, 1, 0, 1, 1, 0]
    assert experience_of(_rollout(False, True)).terminated.sum() == 0
