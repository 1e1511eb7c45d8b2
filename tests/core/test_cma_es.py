"""CMA-ES as a meta-optimiser: it is the package's own search, it goes on to the bit, and bad scores cost themselves."""

import io
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from maml_rl.core.cma_es import cma_es
from maml_rl.core.types import Meta

CENTRE = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
START: Meta = {"a": {"x": torch.zeros(2, dtype=torch.float64), "y": torch.zeros(1, dtype=torch.float64)}}


def _bowl(population: Meta) -> tuple[Tensor, Any]:
    rows = torch.cat([population["a"]["x"], population["a"]["y"]], 1)
    return ((rows - CENTRE).square() * torch.tensor([1.0, 10.0, 100.0])).sum(1), len(rows)


def _searched(count: int, problem: Any = _bowl, meta: Meta = START, memory: Any = None, first: int = 0) -> Any:
    pytest.importorskip("cmaes")
    search = cma_es(8, 0.5, lambda iteration: 100 + iteration)
    memory = search.init(meta) if memory is None else memory
    for iteration in range(first, count):
        update = search.update(meta, memory, problem, iteration)
        meta, memory = update.meta, update.memory
        assert update.aux == 8
    return meta, memory


def test_it_finds_the_bottom_of_a_stretched_bowl() -> None:
    meta, memory = _searched(80)
    found = torch.cat([meta["a"]["x"], meta["a"]["y"]])
    torch.testing.assert_close(found, CENTRE, rtol=0, atol=1e-3)
    assert memory["generation"] == 80


def test_it_is_the_search_of_the_package() -> None:
    """One object that lives on, with the same random numbers, comes to the same mean and covariance."""
    cmaes = pytest.importorskip("cmaes")
    search = cmaes.CMA(mean=np.zeros(3), sigma=0.5, population_size=8, seed=0)
    for iteration in range(15):
        search.reseed_rng(100 + iteration)
        asked = [search.ask() for _ in range(8)]
        scales = np.array([1.0, 10.0, 100.0])
        search.tell([(row, float((scales * (row - CENTRE.numpy()) ** 2).sum())) for row in asked])
    _, memory = _searched(15)
    np.testing.assert_allclose(memory["mean"].numpy(), vars(search)["_mean"], rtol=1e-9)
    np.testing.assert_allclose(memory["covariance"].numpy(), vars(search)["_C"], rtol=1e-9, atol=1e-12)
    assert memory["sigma"] == pytest.approx(vars(search)["_sigma"], rel=1e-9)


def test_a_stored_search_goes_on_to_the_bit() -> None:
    _, whole = _searched(12)
    meta, half = _searched(5)
    file = io.BytesIO()
    torch.save(half, file)
    file.seek(0)
    _, resumed = _searched(12, meta=meta, memory=torch.load(file, weights_only=True), first=5)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(torch.as_tensor(whole[name]), torch.as_tensor(resumed[name])) for name in whole)


def test_scores_that_are_no_numbers_are_the_worst() -> None:
    def holes(population: Meta) -> tuple[Tensor, Any]:
        scores, count = _bowl(population)
        return torch.where(population["a"]["x"][:, 0] < 0, torch.nan, scores), count

    meta, _ = _searched(70, holes)
    torch.testing.assert_close(meta["a"]["x"], CENTRE[:2], rtol=0, atol=1e-3)
    _, lost = _searched(3, lambda population: (torch.full((8,), torch.nan), 8))
    assert torch.isfinite(lost["mean"]).all()


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cmaes", None)
    search = cma_es(8, 0.5, lambda iteration: iteration)
    with pytest.raises(ValueError, match=r"CMA-ES needs the extra 'cma': pip install 'maml_rl\[cma\]'"):
        search.update(START, search.init(START), _bowl, 0)
