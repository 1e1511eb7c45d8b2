"""Noise from seeds: the published generator's words, statistics, and independence of mapping."""

import torch

from maml_rl.core.estimators import seeded_normal, seeded_uniform

MASK = 2**64 - 1


def _splitmix(state: int) -> int:
    """One word of SplitMix64, in whole numbers without an end."""
    word = (state + 0x9E3779B97F4A7C15) & MASK
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & MASK
    return word ^ (word >> 31)


def test_the_words_are_those_of_splitmix64() -> None:
    assert _splitmix(0) == 0xE220A8397B1DCDAF  # the reference implementation's first word from state 0
    for seed, stream in ((0, 0), (5, 3), (2**61 + 7, 1)):
        state = _splitmix((_splitmix(seed) + stream) & MASK)
        words = [_splitmix((state + place * 0x9E3779B97F4A7C15) & MASK) for place in range(6)]
        uniform = seeded_uniform(torch.tensor(seed), 2, 3, stream=stream, dtype=torch.float64)
        assert uniform.reshape(-1).tolist() == [(word >> 11) * 2.0**-53 for word in words]


def test_normal_numbers_are_standard_and_those_of_other_seeds_and_streams_are_others() -> None:
    seeds = torch.arange(400)
    mapped = torch.func.vmap(lambda seed: seeded_normal(seed, 25, 10, dtype=torch.float64))(seeds)
    assert mapped.shape == (400, 25, 10)
    assert torch.equal(mapped[7], seeded_normal(torch.tensor(7), 25, 10, dtype=torch.float64))
    other = seeded_normal(torch.tensor(7), 25, 10, stream=1, dtype=torch.float64)
    rows = torch.cat([mapped.reshape(400, -1), other.reshape(1, -1)])
    count = rows.numel()
    assert abs(float(rows.mean())) < 4 / count**0.5
    assert abs(float(rows.var()) - 1) < 4 * (2 / count) ** 0.5
    assert abs(float((rows < 1).double().mean()) - 0.8413447) < 4 * (0.1335 / count) ** 0.5
    between = torch.corrcoef(rows) - torch.eye(401)
    assert float(between.abs().max()) < 6 / 250**0.5


def test_every_precision_stays_below_one() -> None:
    for dtype, bits in ((torch.float32, 24), (torch.float16, 11), (torch.bfloat16, 8)):
        uniform = seeded_uniform(torch.tensor(3), 20000, dtype=dtype)
        assert uniform.dtype == dtype
        assert float(uniform.max()) < 1
        assert float(uniform.min()) >= 0
        assert torch.equal((uniform.double() * 2**bits).round(), uniform.double() * 2**bits)
    assert bool(seeded_normal(torch.tensor(3), 20000).isfinite().all())
