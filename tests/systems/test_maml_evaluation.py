"""Evaluations of the supervised system: options and their defaults, what is measured, and the fitted curves."""

from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from maml_rl.supervised.networks import NetworkConfig
from maml_rl.systems.inner import InnerConfig
from maml_rl.systems.maml import Config, System
from tests.systems.test_maml import SMALL, letters, trained

__all__ = ["letters"]


def test_options_take_what_is_missing_from_the_configuration() -> None:
    system = System(Config(**SMALL))
    options = system.resolve(system.Options())
    assert (options.steps, options.tasks, options.support, options.split, options.states) == (2, 600, 5, "test", 1)
    given = system.Options(steps=0, tasks=3, seed=4, ensemble=2, split="train", support=9, learning_rates=[0.1])
    assert system.resolve(given) == given
    assert given.states == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": -1}, "`steps` must be at least 0"),
        ({"support": 0}, "`support` must be at least 1"),
        ({"ensemble": 0}, "`ensemble` must be at least 1"),
        ({"learning_rates": []}, "`learning_rates` must be one or more"),
        ({"learning_rates": [-0.1]}, "finite numbers of at least 0"),
        ({"steps": 2, "learning_rates": [0.1] * 3}, "`learning_rates` has 3 entries, there are 2 gradient steps"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    system = System(Config(**SMALL))
    with pytest.raises(ValueError, match=message):
        system.resolve(system.Options(**options))


def test_a_split_with_too_few_images_is_refused(letters: dict[str, Any]) -> None:
    system = System(Config(**{**letters, "network": NetworkConfig(id="conv4", filters=2)}))
    system.resolve(system.Options(support=2))
    with pytest.raises(ValueError, match=r"3 \+ 2 images of each class are asked for"):
        system.resolve(system.Options(support=3))
    with pytest.raises(ValueError, match=r"3 \+ 2 images of each class are asked for"):
        System(Config(**{**letters, "support": 3})).prepare()


def test_an_error_is_measured_after_each_step_on_each_task() -> None:
    config = Config(**SMALL)
    system, state, calls = System(config), trained(config, 3), []
    options = system.Options(steps=3, tasks=6)
    result = system.evaluate([state, state], options, lambda done, total: calls.append((done, total)))
    assert (result.measure.name, result.measure.higher_is_better) == ("error", False)
    assert result.measure.title == "mean squared error"
    assert calls == [(1, 2), (2, 2)]
    tasks = system.draw(1000, 2, 2, 6, "test")
    outputs = system.predict([state], tasks, tasks.query.inputs, 3)
    expected = [((each - tasks.query.targets) ** 2).mean((1, 2)).numpy() for each in outputs]
    np.testing.assert_allclose(result.values, expected)
    assert result.tasks[1] == {name: values[1] for name, values in tasks.parameters.items()}
    assert result.protocol == "adapted on 5 examples each, measured on 5 (test split)"
    arguments = {"oracle": False}
    assert result.settings == {"distribution": "sinusoid", "arguments": arguments, "learning_rates": [0.01] * 3}


def test_accuracies_say_how_they_were_normalised(letters: dict[str, Any]) -> None:
    inner, network = InnerConfig(learned_rates=True), NetworkConfig(id="conv4", filters=2, norm="running")
    system = System(Config(**{**letters, "network": network, "inner": inner}))
    result = system.evaluate([system.initial_state()], system.Options(steps=1, tasks=4, split="train"))
    assert (result.measure.name, result.measure.higher_is_better) == ("accuracy", True)
    assert set(np.unique(result.values)) <= {0.0, 0.25, 0.5, 0.75, 1.0}
    assert result.protocol == "adapted on 2 examples each, measured on 4 (train split, running batch norm)"
    assert (result.settings["norm"], result.settings["learning_rates"]) == ("running", "learned")
    assert not result.figures


def test_options_change_what_is_measured() -> None:
    config = Config(**SMALL)
    system, states = System(config), [trained(config, iterations) for iterations in (4, 8)]

    def errors(*chosen: Any, **options: Any) -> np.ndarray:
        return system.evaluate(chosen or states[:1], system.Options(steps=2, tasks=5, **options)).values

    base = errors()
    for other in (errors(support=3), errors(split="validation"), errors(*states), errors(seed=5)):
        assert not np.allclose(other[-1], base[-1])
    np.testing.assert_allclose(errors(learning_rates=[0.0]), np.stack([base[0]] * 3))
    # The first step's own rate, then none.
    np.testing.assert_allclose(errors(learning_rates=[0.01, 0.0]), [base[0], base[1], base[1]])


def test_other_learning_rates_keep_the_rule_and_its_pull() -> None:
    pulled, free = (
        System(Config(**{**SMALL, "inner": InnerConfig(steps=2, proximal=proximal)})) for proximal in (30.0, 0.0)
    )
    state, options = free.initial_state(), free.Options(steps=3, tasks=5, learning_rates=[0.02])
    one, other = (system.evaluate([state], options).values for system in (pulled, free))
    np.testing.assert_allclose(one[1], other[1])
    assert not np.allclose(one[3], other[3])


def test_curves_of_an_ensemble_are_the_means_of_its_members() -> None:
    config = Config(**SMALL)
    system, states = System(config), [trained(config, iterations) for iterations in (4, 8)]
    tasks = system.draw(1000, 2, 2, 5, "test")
    curves = system.fitted_curves(states, tasks, 4)
    assert curves.truth.shape == (3, 200)
    assert sorted(curves.fitted) == [0, 1, 4]
    amplitude, phase = (tasks.parameters[name][:3, None] for name in ("amplitude", "phase"))
    np.testing.assert_allclose(curves.truth, amplitude * np.sin(curves.places - phase))
    places = torch.from_numpy(curves.places)[None, :, None].expand(5, -1, -1)
    members = [system.predict([state], tasks, places, 1)[1][:3, :, 0].numpy() for state in states]
    np.testing.assert_allclose(curves.fitted[1], (members[0] + members[1]) / 2)
    assert not np.allclose(members[0], members[1])


@pytest.mark.parametrize(("steps", "labels"), [(0, ["prediction"]), (1, ["before", "after 1 step"]),
                                               (2, ["before", "after 1 step", "after 2 steps"])])  # fmt: skip
def test_the_figure_shows_truth_examples_and_predictions(steps: int, labels: list[str]) -> None:
    system = System(Config(**SMALL))
    result = system.evaluate([system.initial_state()], system.Options(steps=steps, tasks=2))
    picture = result.figures["curves.png"]
    figure = Figure(figsize=picture.size)
    picture.draw(figure)
    assert picture.size == (8.4, 3.9)
    assert len(figure.axes) == 2
    assert [line.get_label() for line in figure.axes[0].lines] == ["truth", *labels, "5 examples"]
