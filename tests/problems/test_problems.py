"""Trainings as functions of seeds: known minima, other implementations, and what their wrappers change."""

import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from maml_rl.core.estimators import Lifetimes, full_unroll
from maml_rl.core.rules.sgd import gradient
from maml_rl.core.types import InnerState, Meta, Params, Rule
from maml_rl.problems import (
    FUNCTIONS,
    TrainingProblem,
    bowl,
    classifier,
    convolutional_classifier,
    lifetime,
    noisy,
    problem_of,
    quadratic,
    reparameterised,
    sine_regression,
    softmax_of_clusters,
    sparse,
)
from maml_rl.supervised.task_distribution import Labelled

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = Labelled(torch.rand(50, 1, 5, 5, generator=GENERATOR), torch.arange(50) % 3)
OTHERS = Labelled(torch.rand(20, 1, 5, 5, generator=GENERATOR), torch.arange(20) % 3)
PROBLEMS: dict[str, TrainingProblem] = {
    **FUNCTIONS,
    "quadratic": quadratic(6),
    "bowl": bowl(6),
    "softmax": softmax_of_clusters(),
    "classifier": classifier("images", IMAGES, OTHERS, (7, 6), batch=8),
    "convolutional": convolutional_classifier("images", IMAGES, OTHERS, (3, 4), batch=8),
    "sine": sine_regression((5,)),
    "noisy": noisy(bowl(6), 0.5),
    "sparse": sparse(quadratic(6), 0.3),
    "reparameterised": reparameterised(classifier("images", IMAGES, OTHERS, (7,)), 10.0),
}
SEED, STEP = torch.tensor(11), torch.tensor(4)
every_problem = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)


@every_problem
def test_an_instance_is_its_seed_alone_and_many_are_mapped(problem: TrainingProblem) -> None:
    seeds = torch.tensor([11, 12, 11])
    together = torch.func.vmap(problem.initial)(seeds)
    for loss in (problem.loss, problem.held_out):
        values = torch.func.vmap(loss, (0, 0, None))(together, seeds, STEP)
        assert values[0] == values[2]
        assert values.isfinite().all()
        torch.testing.assert_close(loss(problem.initial(SEED), SEED, STEP), values[0])
    leaves = list(together.values())
    assert all(torch.equal(leaf[0], leaf[2]) for leaf in leaves)
    if problem.name != "softmax of clusters":  # begins at zero; its data differ
        assert any(not torch.equal(leaf[0], leaf[1]) for leaf in leaves)
    slopes = torch.func.grad(problem.loss)(problem.initial(SEED), SEED, STEP)
    assert all(leaf.isfinite().all() for leaf in slopes.values())


@pytest.mark.parametrize(
    ("name", "minimum"),
    [("booth", (1, 3)), ("matyas", (0, 0)), ("rosenbrock", (1, 1)), ("beale", (3, 0.5)), ("ackley", (0, 0))],
)
def test_functions_have_their_published_minima(name: str, minimum: tuple[float, float]) -> None:
    at = {"x": torch.tensor(minimum, dtype=torch.float64)}
    least = FUNCTIONS[name].loss(at, SEED, STEP)
    assert least.item() == pytest.approx(0, abs=5e-6)
    for shift in ((0.1, 0), (0, -0.1), (-0.1, 0.1)):
        assert FUNCTIONS[name].loss({"x": at["x"] + torch.tensor(shift)}, SEED, STEP) > least


def _as_module(params: Params) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()] if "layer0.weight" in params else []
    for name, leaf in params.items():
        if not name.endswith("weight"):
            continue
        bias = params[name.replace("weight", "bias")]
        if name.startswith("head"):
            layers.append(nn.Flatten())
        layer = (
            nn.Conv2d(leaf.shape[1], leaf.shape[0], 3, 2, 1) if leaf.dim() == 4 else nn.Linear(*reversed(leaf.shape))
        )
        layer.load_state_dict({"weight": leaf, "bias": bias})
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("name", ["classifier", "convolutional"])
def test_networks_are_those_of_torch(name: str) -> None:
    problem, params = PROBLEMS[name], PROBLEMS[name].initial(SEED)
    expected = nn.functional.cross_entropy(_as_module(params)(OTHERS.inputs), OTHERS.targets)
    torch.testing.assert_close(problem.held_out(params, SEED, STEP), expected.detach())
    mean = torch.stack([problem.loss(params, SEED, torch.tensor(k)) for k in range(400)])
    whole = nn.functional.cross_entropy(_as_module(params)(IMAGES.inputs), IMAGES.targets).item()
    assert mean.mean().item() == pytest.approx(whole, abs=4 * mean.std().item() / 20)
    assert mean.std() > 0


def test_noise_and_masks_have_the_plain_gradient_for_a_mean() -> None:
    plain, count = quadratic(6), 4000
    params = plain.initial(SEED)
    expected = torch.func.grad(plain.loss)(params, SEED, STEP)["x"]

    def slopes(problem: TrainingProblem) -> Tensor:
        return torch.func.vmap(torch.func.grad(problem.loss), (None, None, 0))(params, SEED, torch.arange(count))["x"]

    for problem, mean in ((noisy(plain, 0.5), expected), (sparse(plain, 0.3), 0.3 * expected)):
        each = slopes(problem)
        assert ((each.mean(0) - mean).abs() < 5 * each.std(0) / count**0.5).all()
        assert problem.loss(params, SEED, STEP) == plain.loss(params, SEED, STEP)
        assert problem.held_out(params, SEED, STEP) == plain.loss(params, SEED, STEP)
    torch.testing.assert_close(slopes(noisy(plain, 0.5)).std(0), torch.full((6,), 0.5), rtol=0.05, atol=0)
    assert ((slopes(sparse(plain, 0.3)) != 0).float().mean(0) - 0.3).abs().max() < 0.04


def test_other_units_are_the_same_problem() -> None:
    plain = classifier("images", IMAGES, OTHERS, (7,))
    other = reparameterised(plain, 10.0)
    params, scaled = plain.initial(SEED), other.initial(SEED)
    factors = {name: (leaf / scaled[name])[leaf != 0] for name, leaf in params.items() if "weight" in name}
    assert all((each - each[0]).abs().max() < 1e-4 * each[0] for each in factors.values())
    assert all(0.1 <= each[0] <= 10 for each in factors.values())
    assert len({round(float(each[0]), 4) for each in factors.values()}) == 2
    for loss, own in ((other.loss, plain.loss), (other.held_out, plain.held_out)):
        torch.testing.assert_close(loss(scaled, SEED, STEP), own(params, SEED, STEP))
    slopes, theirs = (
        torch.func.grad(problem.loss)(at, SEED, STEP) for problem, at in ((plain, params), (other, scaled))
    )
    for name, factor in factors.items():
        torch.testing.assert_close(theirs[name], factor[0] * slopes[name], rtol=1e-4, atol=1e-6)
    assert torch.equal(reparameterised(plain, 1.0).initial(SEED)["layer0.weight"], params["layer0.weight"])
    with pytest.raises(ValueError, match="`spread` must be finite and at least 1"):
        reparameterised(plain, 0.5)


def test_the_meta_gradient_of_a_training_is_that_of_ordinary_autograd() -> None:
    problem, length = quadratic(4), 6
    double = problem._replace(initial=lambda seed: {"x": problem.initial(seed)["x"].double()})

    def move(signal: Params, state: InnerState, meta: Meta, step: Any) -> InnerState:
        rate = meta["rates"]["x"].gather(0, step.long()[None])[0]
        return InnerState({"x": state.params["x"] - rate * signal["x"]})

    rule = Rule("listed rates", lambda params, meta: (), gradient, move)
    theta = {"rates": {"x": torch.linspace(0.1, 0.3, length, dtype=torch.float64)}}
    estimator = full_unroll(lifetime(double, lambda seed: rule, lambda k, data: 1.0 + k), Lifetimes(3, length))
    memory = estimator.init(theta, torch.Generator().manual_seed(5))
    estimate = estimator.estimate(theta, memory, (), torch.Generator())
    rates, total = theta["rates"]["x"].clone().requires_grad_(), torch.zeros((), dtype=torch.float64)
    for seed in memory["seed"]:
        x = double.initial(seed)["x"].requires_grad_()
        first = double.loss({"x": x}, seed, STEP).detach()
        for k in range(length):
            loss = double.loss({"x": x}, seed, STEP)
            total = total + (1 + k) * torch.log(loss / first + 1e-6) / length / 3
            x = x - rates[k] * torch.autograd.grad(loss, x, create_graph=True)[0]
    expected = torch.autograd.grad(total, rates)[0]
    torch.testing.assert_close(estimate.gradient["rates"]["x"], expected, rtol=1e-9, atol=1e-12)
    assert estimate.metrics["meta_loss"] == pytest.approx(total.item())


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("MAML_RL_OMNIGLOT"), reason="MAML_RL_OMNIGLOT names no folder with the images")
def test_characters_are_learned_from_the_real_images() -> None:
    problem = problem_of("omniglot-convolutions", os.environ["MAML_RL_OMNIGLOT"])
    params = problem.initial(SEED)
    assert params["head0.weight"].shape == (20, 16 * 4 * 4)
    before = problem.held_out(params, SEED, STEP)
    assert before.item() == pytest.approx(math.log(20), abs=0.3)
    for k in range(200):
        slopes = torch.func.grad(problem.loss)(params, SEED, torch.tensor(k))
        params = {name: leaf - 0.5 * slopes[name] for name, leaf in params.items()}
    assert problem.held_out(params, SEED, STEP) < before - 0.4


def test_characters_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has neither images_background"):
        problem_of("omniglot-convolutions", str(tmp_path))
