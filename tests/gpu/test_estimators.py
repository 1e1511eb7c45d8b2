"""Estimators of meta-gradients on a CUDA device: the CPU's numbers in float64, with a generator of the CPU."""

import pytest
import torch

from maml_rl.core.estimators import Estimator
from maml_rl.core.tree import map_tree
from tests.core.lifetime_problems import ESTIMATORS, descent_data, descent_theta, seeded

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS.keys())
def test_estimates_equal_the_cpus(estimator: Estimator) -> None:
    results = []
    for device in ("cpu", "cuda"):
        theta = map_tree(lambda leaf, device=device: leaf.to(device), descent_theta())
        memory = estimator.init(theta, seeded(0))
        for call in range(4):
            data = map_tree(lambda leaf, device=device: leaf.to(device), descent_data(call, 6, 5))
            result = estimator.estimate(theta, memory, data, seeded(call))
            memory = result.memory
        assert result.gradient["rule"]["momentum"].device.type == memory["step"].device.type == device
        results.append(result)
    there = map_tree(lambda leaf: leaf.cpu(), (results[1].gradient, results[1].memory, results[1].losses))
    torch.testing.assert_close(there, (results[0].gradient, results[0].memory, results[0].losses), rtol=1e-9, atol=1e-9)
