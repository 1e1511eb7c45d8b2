"""Policies: initial values as published, one task and many alike."""

import math

import numpy as np
import pytest
import torch

from maml_rl.core.tree import expand
from maml_rl.rl.policies import PolicyConfig, categorical_mlp, gaussian_mlp


def test_initial_values_are_xavier_uniform_with_zero_biases_and_the_given_spread() -> None:
    params = gaussian_mlp(17, 6, (100, 100), initial_std=0.5).initial(torch.Generator().manual_seed(0), torch.float64)
    weight = params["layer1.weight"]
    bound = math.sqrt(6 / 200)
    assert weight.shape == (100, 100)
    assert float(weight.abs().max()) <= bound
    assert float(weight.var()) == pytest.approx(bound**2 / 3, rel=0.05)
    assert not params["layer1.bias"].any()
    torch.testing.assert_close(params["log_std"].exp(), torch.full((6,), 0.5, dtype=torch.float64))


@pytest.mark.parametrize("policy", [gaussian_mlp(4, 2, (8,)), categorical_mlp(4, 3, (8,), "tanh")])
def test_batched_parameters_give_what_each_task_gives_alone(policy) -> None:
    single = policy.initial(torch.Generator().manual_seed(0), torch.float64)
    params = {
        name: leaf + torch.arange(3.0, dtype=torch.float64).view(3, *[1] * (leaf.dim() - 1)) / 10
        for name, leaf in expand(single, 3).items()
    }
    observations = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    together = policy.act(params, observations)
    for task in range(3):
        alone = policy.act({name: leaf[task] for name, leaf in params.items()}, observations[task])
        for part, wanted in zip(together, alone, strict=True):
            torch.testing.assert_close(part[task], wanted, rtol=1e-13, atol=1e-13)


def test_the_spread_has_a_floor_with_zero_gradient_below_it() -> None:
    policy = gaussian_mlp(1, 1, (2,), minimum_std=0.1)
    params = policy.initial(torch.Generator(), torch.float64)
    params["log_std"] = torch.tensor([-9.0], dtype=torch.float64, requires_grad=True)
    spread = policy.act(params, torch.zeros(1, 1, dtype=torch.float64)).log_std
    assert float(spread.exp().detach()) == pytest.approx(0.1)
    spread.sum().backward()
    assert float(params["log_std"].grad) == 0.0


def test_noise_depends_on_the_generator_alone() -> None:
    for policy, shape in ((gaussian_mlp(1, 2), (5, 3, 2)), (categorical_mlp(1, 4), (5, 3, 4))):
        first, second = (policy.draw_noise(np.random.default_rng(3), (5, 3)) for _ in range(2))
        assert first.shape == shape
        assert first.dtype == np.float32
        assert np.array_equal(first, second)


def test_the_output_scale_is_that_of_the_last_layer_only() -> None:
    for make in (gaussian_mlp, categorical_mlp):
        plain, small = (
            make(3, 2, (4,), output_scale=scale).initial(torch.Generator().manual_seed(0), torch.float64)
            for scale in (1.0, 0.01)
        )
        assert plain.keys() == small.keys()
        for name, leaf in plain.items():
            assert torch.equal(small[name], leaf * 0.01 if name == "layer1.weight" else leaf)
    with pytest.raises(ValueError, match="output_scale"):
        PolicyConfig(output_scale=-1.0)


def test_parameters_that_all_tasks_share_act_as_copies_do() -> None:
    policy = gaussian_mlp(3, 2, (4,))
    params = policy.initial(torch.Generator().manual_seed(0), torch.float64)
    seen = torch.randn(5, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    shared = expand(params, 5)
    assert shared["layer0.weight"].stride(0) == 0
    copies = {name: leaf.contiguous() for name, leaf in shared.items()}
    torch.testing.assert_close(policy.act(shared, seen).mean, policy.act(copies, seen).mean, rtol=1e-13, atol=1e-14)
