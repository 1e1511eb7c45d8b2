"""Initial weights as functions of a seed: the same mapped and one by one, and distributed as they should be."""

import math

import torch

from maml_rl.core.initialisation import Seeded, linear_layers, xavier_uniform
from maml_rl.core.tree import map_tree
from maml_rl.core.types import Params

SIZES = [5, 7, 3]


def _layers(seed: torch.Tensor) -> Params:
    return linear_layers(SIZES, Seeded(seed), torch.float64)


def test_mapped_over_seeds_they_are_those_of_each_seed() -> None:
    seeds = torch.tensor([0, 1, 2**61 + 5, -3])
    mapped = torch.func.vmap(_layers)(seeds)
    for n, seed in enumerate(seeds):
        alone = _layers(seed)
        assert mapped.keys() == alone.keys()
        assert all(torch.equal(mapped[name][n], leaf) for name, leaf in alone.items())
    weights = mapped["layer0.weight"].flatten(1)
    assert len({tuple(row.tolist()) for row in weights}) == len(seeds)


def test_a_draw_does_not_depend_on_the_shapes_of_those_before() -> None:
    source, other = Seeded(torch.tensor(3)), Seeded(torch.tensor(3))
    first, _ = source.uniform((2, 3)), other.uniform((200,))
    second, same = source.uniform((4, 5)), other.uniform((4, 5))
    assert torch.equal(second, same)
    assert not torch.equal(first.reshape(-1), second.reshape(-1)[:6])
    assert second.dtype == torch.float64


def test_draws_of_one_seed_are_independent() -> None:
    source = Seeded(torch.tensor(8))
    rows = torch.stack([source.uniform((2000,)) for _ in range(30)])
    between = torch.corrcoef(rows) - torch.eye(30)
    assert float(between.abs().max()) < 5 / 2000**0.5


def test_weights_have_the_bounds_and_moments_of_xaviers_uniform() -> None:
    """U[-b, b] has the mean 0 and the variance b^2 / 3, and its fourth moment is b^4 / 5."""
    bound, count = math.sqrt(6 / (5 + 7)), 400 * 35
    draw = torch.func.vmap(lambda seed: xavier_uniform((7, 5), 5, 7, Seeded(seed)))
    weights = draw(torch.arange(400)).reshape(-1)
    assert bound * 0.999 < float(weights.abs().max()) <= bound
    assert abs(float(weights.mean())) < 4 * bound / (3 * count) ** 0.5
    deviation = bound**2 * (1 / 5 - 1 / 9) ** 0.5 / count**0.5
    assert abs(float(weights.square().mean()) - bound**2 / 3) < 4 * deviation


def test_layers_begin_without_biases_and_in_the_type_that_is_asked_for() -> None:
    layers = _layers(torch.tensor(1))
    assert all(float(leaf.abs().max()) == 0.0 for name, leaf in layers.items() if name.endswith("bias"))
    single = linear_layers(SIZES, Seeded(torch.tensor(1)), torch.float32)
    assert all(torch.equal(leaf, layers[name].float()) for name, leaf in single.items())
    generators = [
        linear_layers(SIZES, source, torch.float64) for source in (torch.Generator(), Seeded(torch.tensor(1)))
    ]
    shapes = [map_tree(lambda leaf: leaf.new_zeros(leaf.shape), each) for each in generators]
    assert all(torch.equal(shapes[0][name], shapes[1][name]) for name in shapes[0])
