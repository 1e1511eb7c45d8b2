"""Meta-gradient reinforcement learning on a CUDA device: the CPU's numbers in float64, recorded or not."""

from dataclasses import replace

import pytest
import torch

from tests.systems.short_lifetimes import CASES, COLOURS, lived

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("name", ["unrolled", "trace", "bootstrapped", "recorded", "chain"])
def test_lifetimes_equal_the_cpus(name: str) -> None:
    here, there = (lived(replace(CASES[name], device=device), 3)[0] for device in ("cpu", "cuda"))
    for row, other in zip(here, there, strict=True):
        assert other == pytest.approx(row, rel=1e-8)


@pytest.mark.gpu
@needs_gpu
def test_compiled_lifetimes_equal_the_cpus() -> None:
    here, there = lived(COLOURS, 3)[0], lived(replace(COLOURS, device="cuda", traced=True, compiled=True), 3)[0]
    for row, other in zip(here, there, strict=True):
        assert other == pytest.approx(row, rel=1e-8)
