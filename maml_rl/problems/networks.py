"""Small networks to be trained, on real images and on sine waves."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import conv2d, cross_entropy

from maml_rl.core.estimators.seeded import seeded_uniform
from maml_rl.core.initialisation import Seeded, linear_layers, xavier_uniform
from maml_rl.core.types import Params
from maml_rl.problems.problem import DataLoss, TrainingProblem
from maml_rl.supervised.networks.mlp import mlp
from maml_rl.supervised.task_distribution import Labelled

__all__ = ["classifier", "convolutional_classifier", "sine_regression"]

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}
_BATCH, _WAVE = 500, 501  # streams


def classifier(
    name: str,
    training: Labelled,
    held_out: Labelled,
    hidden: Sequence[int] = (32,),
    activation: Literal["relu", "tanh"] = "relu",
    batch: int = 64,
) -> TrainingProblem:
    """A multi-layer perceptron on images [E, ...]; the seed draws weights and batches. Loss: cross-entropy.

    Args:
        name: how tables call it.
        training: images and labels that steps draw from, with replacement.
        held_out: those of the held-out loss and accuracy, all at once.
        hidden: units of each hidden layer.
        activation: of the hidden layers.
        batch: images in a step.
    """
    inputs, classes = training.inputs.flatten(1), int(training.targets.max()) + 1
    sizes = [inputs.shape[1], *hidden, classes]
    network = mlp(sizes, ACTIVATIONS[activation])

    def logits(params: Params, images: Tensor) -> Tensor:
        return network.apply(params, images.to(params["layer0.weight"]), 0, None)[0]

    def loss(params: Params, seed: Tensor, k: Tensor) -> Tensor:
        chosen = _drawn(seed + k, batch, len(inputs))
        return cross_entropy(logits(params, inputs[chosen]), training.targets[chosen])

    def initial(seed: Tensor) -> Params:
        return linear_layers(sizes, Seeded(seed), inputs.dtype)

    others = held_out._replace(inputs=held_out.inputs.flatten(1))
    return TrainingProblem(name, initial, loss, *_on_others(logits, others))


def convolutional_classifier(
    name: str, training: Labelled, held_out: Labelled, channels: Sequence[int] = (8, 16), batch: int = 32
) -> TrainingProblem:
    """Layers of 3 x 3 convolutions with stride 2 and ReLU, and a linear one, on images [E, C, H, W].

    Args:
        name: how tables call it.
        training: images and labels that steps draw from, with replacement.
        held_out: those of the held-out loss and accuracy, all at once.
        channels: of each convolution.
        batch: images in a step.
    """
    images, classes = training.inputs, int(training.targets.max()) + 1
    widths = [images.shape[1], *channels]
    side = images.shape[-1]
    for _ in channels:
        side = math.ceil(side / 2)

    def initial(seed: Tensor) -> Params:
        source, params = Seeded(seed), {}
        for layer, (before, after) in enumerate(zip(widths, channels, strict=False)):
            draw = xavier_uniform((after, before, 3, 3), 9 * before, 9 * after, source)
            params[f"convolution{layer}.weight"] = draw.to(images)
            params[f"convolution{layer}.bias"] = torch.zeros(after, dtype=images.dtype, device=seed.device)
        return {**params, **linear_layers([channels[-1] * side**2, classes], source, images.dtype, name="head")}

    def logits(params: Params, seen: Tensor) -> Tensor:
        seen = seen.to(params["head0.weight"])
        for layer in range(len(channels)):
            weight, bias = params[f"convolution{layer}.weight"], params[f"convolution{layer}.bias"]
            seen = torch.relu(conv2d(seen, weight, bias, stride=2, padding=1))
        return seen.flatten(1) @ params["head0.weight"].T + params["head0.bias"]

    def loss(params: Params, seed: Tensor, k: Tensor) -> Tensor:
        chosen = _drawn(seed + k, batch, len(images))
        return cross_entropy(logits(params, images[chosen]), training.targets[chosen])

    return TrainingProblem(name, initial, loss, *_on_others(logits, held_out))


def sine_regression(hidden: Sequence[int] = (32, 32), batch: int = 32) -> TrainingProblem:
    """A sine wave on [-5, 5] of Finn et al. (2017), whose amplitude and phase the seed draws, learned from scratch by a
    tanh network. Loss: half the mean squared error.

    Args:
        hidden: units of each hidden layer.
        batch: points in a step; ten times as many make the held-out loss.
    """
    sizes = [1, *hidden, 1]
    network = mlp(sizes, torch.tanh)

    def error(points: int, stream: int) -> DataLoss:
        def loss(params: Params, seed: Tensor, k: Tensor) -> Tensor:
            dtype = params["layer0.weight"].dtype
            amplitude, phase = seeded_uniform(seed, 2, stream=_WAVE, dtype=dtype).unbind()
            x = 10 * seeded_uniform(seed + k, points, 1, stream=stream, dtype=dtype) - 5
            wanted = (0.1 + 4.9 * amplitude) * torch.sin(x + math.pi * phase)
            return (network.apply(params, x, 0, None)[0] - wanted).square().mean() / 2

        return loss

    def initial(seed: Tensor) -> Params:
        return linear_layers(sizes, Seeded(seed), torch.float32)

    name = f"sine, {'-'.join(map(str, hidden))}"
    return TrainingProblem(name, initial, error(batch, _BATCH), error(10 * batch, _BATCH + 10))


def _on_others(logits: Callable[[Params, Tensor], Tensor], held_out: Labelled) -> tuple[DataLoss, DataLoss]:
    """Cross-entropy and accuracy on all of the held-out data."""

    def loss(params: Params, seed: Tensor, k: Tensor) -> Tensor:
        return cross_entropy(logits(params, held_out.inputs), held_out.targets)

    def accuracy(params: Params, seed: Tensor, k: Tensor) -> Tensor:
        scores = logits(params, held_out.inputs)
        return (scores.argmax(-1) == held_out.targets).to(scores.dtype).mean()

    return loss, accuracy


def _drawn(seed: Tensor, count: int, among: int) -> Tensor:
    """Places of examples, with replacement."""
    return (seeded_uniform(seed, count, stream=_BATCH, dtype=torch.float64) * among).long()
