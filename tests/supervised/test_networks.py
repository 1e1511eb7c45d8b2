"""Networks: initial weights, modules of one's own, what each architecture allows; losses, and the paper's sinusoids."""

import numpy as np
import pytest
import torch
from torch import nn

from maml_rl.core import constant, final, sgd, unrolled
from maml_rl.supervised.losses import CRITERIA, accuracy
from maml_rl.supervised.networks import Adaptation, NetworkConfig, architecture_of, from_module, network_for
from maml_rl.supervised.sinusoid import Sinusoid
from tests.supervised.problems import DTYPE, RATE, PlainMLP, regressor, sines, tanh_mlp


def _seeded(seed: int) -> nn.Module:
    """The module that its own constructor makes when the network's generator has this seed."""
    word = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(seed)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(word)
        return PlainMLP()


def test_a_module_is_a_network() -> None:
    tasks, ours = sines(), tanh_mlp()
    wrapped = from_module(PlainMLP)
    drawn = wrapped.initial(torch.Generator().manual_seed(0), DTYPE)
    assert drawn.keys() == ours.initial(torch.Generator().manual_seed(0), DTYPE).keys()
    again = wrapped.initial(torch.Generator().manual_seed(0), DTYPE)
    assert all(torch.equal(drawn[name], again[name]) for name in drawn)
    first, second = (
        regressor(network, sgd(constant(RATE))).meta_loss({"network": drawn}, {}, tasks, 2, unrolled(), final())
        for network in (wrapped, ours)
    )
    for name in drawn:
        one, other = (result.gradient["network"][name] for result in (first, second))
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
    assert all(torch.equal(drawn[name], leaf.detach()) for name, leaf in _seeded(0).named_parameters())
    assert wrapped.head == ours.head == "layer2."
    with pytest.raises(ValueError, match=r"must be a torch\.nn\.Module"):
        from_module(lambda: 3)  # type: ignore[arg-type, return-value]
    with pytest.raises(ValueError, match=r"buffers: 0\.running_mean"):
        from_module(lambda: nn.Sequential(nn.BatchNorm1d(3)))


def test_initial_weights() -> None:
    params = network_for(NetworkConfig(initial_std=0.01), (1,), 1).initial(torch.Generator().manual_seed(0), DTYPE)
    weight = params["layer1.weight"]
    assert weight.shape == (40, 40)
    assert float(weight.abs().max()) <= 0.02
    assert float(weight.std()) == pytest.approx(0.0088, rel=0.05)  # a normal cut at two sigma has 0.88 of its spread
    glorot = network_for(NetworkConfig(), (1,), 1).initial(torch.Generator().manual_seed(0), DTYPE)["layer1.weight"]
    assert float(glorot.abs().max()) <= (6 / 80) ** 0.5
    assert float(glorot.std()) == pytest.approx((6 / 80) ** 0.5 / 3**0.5, rel=0.05)


def test_networks_refuse_what_they_cannot_take() -> None:
    with pytest.raises(ValueError, match="takes images"):
        network_for(NetworkConfig(id="conv4"), (3,), 5)
    with pytest.raises(ValueError, match="at least 16 x 16"):
        network_for(NetworkConfig(id="conv4", downsampling="max_pool"), (1, 8, 8), 5)
    with pytest.raises(ValueError, match="there is no network 'mpl'"):
        network_for(NetworkConfig(id="mpl"), (3,), 5)
    with pytest.raises(ValueError, match="cannot be made"):
        network_for(NetworkConfig(id="torch.nn:Missing"), (3,), 5)
    for wrong in ({"hidden": [0]}, {"filters": 0}, {"norm_steps": 0}, {"initial_std": -1.0}):
        with pytest.raises(ValueError, match="network"):
            NetworkConfig(**wrong)  # type: ignore[arg-type]


def test_every_option_of_the_network_belongs_to_an_architecture() -> None:
    known = {name for id in ("mlp", "conv4", "module:function") for name in architecture_of(id).options}
    assert known | {"id"} == set(NetworkConfig.__dataclass_fields__)


@pytest.mark.parametrize(
    ("options", "adaptation", "message"),
    [
        ({"norm_steps": 3}, Adaptation(2), "3 would leave sets untrained with `inner.steps` 2"),
        ({"norm_steps": 2}, Adaptation(0), "at most 1"),
        ({"norm_steps": 2}, Adaptation(2, implicit=True), "`norm_steps` 2, which keeps sets for the steps"),
        ({"norm": "running"}, Adaptation(2, implicit=True), "`network.norm` is 'running'"),
        ({"norm": "running", "adapt_norm": True}, Adaptation(2, displacement=True), "moves what is adapted"),
        ({}, Adaptation(2, displacement=True), "moves what is adapted and nothing else"),
    ],
)
def test_conv4_refuses_what_its_normalisation_cannot_do(options: dict, adaptation: Adaptation, message: str) -> None:
    conv4 = architecture_of("conv4")
    with pytest.raises(ValueError, match=message):
        conv4.require(NetworkConfig(id="conv4", **options), adaptation)
    conv4.require(NetworkConfig(id="conv4", **{**options, "norm": "none"}), adaptation)
    architecture_of("mlp").require(NetworkConfig(**options), adaptation)


def test_sinusoids_are_the_papers() -> None:
    tasks = Sinusoid().sample(np.random.default_rng(0), 4000, 5, 5, "train")
    amplitude, phase = (torch.from_numpy(tasks.parameters[name])[:, None, None] for name in ("amplitude", "phase"))
    for part in (tasks.support, tasks.query):
        torch.testing.assert_close(part.targets, amplitude * torch.sin(part.inputs - phase))
    for values, least, most in ((amplitude, 0.1, 5.0), (phase, 0.0, np.pi), (tasks.support.inputs, -5.0, 5.0)):
        assert least <= float(values.min()) < least + 0.01 * (most - least)
        assert most - 0.01 * (most - least) < float(values.max()) <= most
        assert float(values.mean()) == pytest.approx((least + most) / 2, rel=0.03, abs=0.05)


def test_the_accuracy_of_what_is_not_finite_is_not_a_number() -> None:
    logits = torch.zeros(2, 3, 2)
    logits[1, 2, 0] = torch.nan
    shares = accuracy(logits, torch.zeros(2, 3, dtype=torch.long))
    assert float(shares[0]) == 1.0
    assert bool(shares[1].isnan())


def test_accuracy_is_the_share_of_right_answers() -> None:
    logits = torch.tensor([[[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.0, 4.0], [5.0, 0.0, 0.0]]])
    assert accuracy(logits, torch.tensor([[0, 1, 2, 1]])).tolist() == [0.75]


def test_the_error_of_a_task_is_its_loss() -> None:
    criterion, generator = CRITERIA["regression"], torch.Generator().manual_seed(0)
    predictions, targets = (torch.randn(3, 5, 2, generator=generator, dtype=DTYPE) for _ in range(2))
    each = [criterion.loss(*pair) for pair in zip(predictions, targets, strict=True)]
    torch.testing.assert_close(criterion.measure(predictions, targets), torch.stack(each))
