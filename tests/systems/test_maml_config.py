"""Which combinations of a supervised configuration are refused, and by which name; what has no effect."""

from typing import Any

import pytest

from maml_rl.supervised.networks import NetworkConfig
from maml_rl.systems.inner import FirstThen, InnerConfig
from maml_rl.systems.maml import Config, System
from maml_rl.systems.maml_config import OuterConfig
from tests.systems.test_maml import SMALL

IMPLICIT: dict[str, Any] = {"mode": "implicit", "proximal": 1.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"inner": InnerConfig(**IMPLICIT), "outer": OuterConfig(objective="uniform")},
            "goes with the objective 'final', got 'uniform'",
        ),
        (
            {"inner": InnerConfig(**IMPLICIT), "outer": OuterConfig(objective="annealed")},
            "goes with the objective 'final', got 'annealed'",
        ),
        (
            {"inner": InnerConfig(**IMPLICIT, steps=3), "network": NetworkConfig(id="conv4", norm_steps=3)},
            "'transductive' with `norm_steps` 3",
        ),
        (
            {"inner": InnerConfig(**IMPLICIT), "network": NetworkConfig(id="conv4", norm="running")},
            "`network.norm` is 'running'",
        ),
        ({"inner": InnerConfig(**IMPLICIT, steps=0)}, "at least one inner step"),
        ({"inner": InnerConfig(**IMPLICIT, steps=2, learning_rate=FirstThen(0.1, 0.0))}, "positive learning rates"),
        (
            {"inner": InnerConfig(steps=0), "outer": OuterConfig(objective="uniform")},
            "does not go with `inner.steps` 0",
        ),
        (
            {"inner": InnerConfig(steps=0), "outer": OuterConfig(objective="annealed")},
            "does not go with `inner.steps` 0",
        ),
        ({"inner": InnerConfig(steps=2), "outer": OuterConfig(objective=[0.5, 0.5])}, "K \\+ 1 = 3 entries"),
        ({"inner": InnerConfig(adapts="context")}, "`inner.adapts` 'context' is for policies"),
        ({"epoch": 5, "report_every": 2}, "must be a multiple"),
        (
            {"inner": InnerConfig(steps=2), "network": NetworkConfig(id="conv4", norm_steps=3)},
            "`network.norm_steps` 3 would leave sets untrained",
        ),
        (
            {"inner": InnerConfig(steps=2, learned_rates=True), "outer": OuterConfig(update="displacement")},
            "no derivative in `inner.learned_rates`",
        ),
        ({"inner": InnerConfig(steps=0), "outer": OuterConfig(update="displacement")}, "at least one inner step"),
        ({"outer": OuterConfig(objective="uniform", update="displacement")}, "must be 'final', got 'uniform'"),
        (
            {"network": NetworkConfig(id="conv4"), "outer": OuterConfig(update="displacement")},
            "moves what is adapted and nothing else",
        ),
        ({"network": NetworkConfig(id="mpl")}, "there is no network 'mpl'"),
        ({"tasks": 0}, "`tasks` must be at least 1"),
        ({"seed": -1}, "`seed` must be in"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_impossible_combinations_are_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config(**{**SMALL, **arguments})


@pytest.mark.parametrize(
    "arguments",
    [
        {"inner": InnerConfig(**IMPLICIT, adapts="head")},
        {"inner": InnerConfig(**IMPLICIT), "network": NetworkConfig(id="conv4")},
        {"network": NetworkConfig(id="conv4", adapt_norm=True), "outer": OuterConfig(update="displacement")},
    ],
    ids=["implicit head", "implicit with a norm that is not adapted", "displacement of an adapted norm"],
)
def test_possible_combinations_are_not_refused(arguments: dict[str, Any]) -> None:
    assert Config(**{**SMALL, **arguments}).remarks() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learning_rate": 0.0}, "`outer.learning_rate` must be positive"),
        ({"final_learning_rate": 1.0}, "`outer.final_learning_rate` must be at most `outer.learning_rate` 0.001"),
        ({"clip": -1.0}, "`outer.clip` must be positive"),
        ({"chunk": -1}, "`outer.chunk` must be at least 0"),
        ({"objective": [0.5, 0.1]}, "`outer.objective`: `weights` must be finite"),
    ],
)
def test_impossible_meta_updates_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OuterConfig(**arguments)


def test_what_has_no_effect_is_remarked() -> None:
    network = NetworkConfig(norm="none", filters=3)
    inner = InnerConfig(damping=2.0)
    config = Config(**{**SMALL, "network": network, "inner": inner, "outer": OuterConfig(annealing_epochs=3)})
    assert config.remarks() == [
        "`network.filters` 3 has no effect with `network.id` 'mlp'.",
        "`network.norm` none has no effect with `network.id` 'mlp'.",
        "`inner.damping` 2.0 has no effect with `inner.mode` 'unrolled'.",
        "`outer.annealing_epochs` 3 has no effect with `outer.objective` 'final'.",
    ]
    network = NetworkConfig(id="conv4", norm="none", norm_steps=4, hidden=[3])
    outer = OuterConfig(update="displacement")
    config = Config(**{**SMALL, "network": network, "inner": InnerConfig(mode="first_order"), "outer": outer})
    assert config.remarks() == [
        "`network.hidden` [3] has no effect with `network.id` 'conv4'.",
        "`network.norm_steps` 4 has no effect with `network.norm` 'none'.",
        "`inner.mode` first_order has no effect with `outer.update` 'displacement'.",
    ]


def test_what_may_change_in_a_run_that_goes_on() -> None:
    assert Config.places == {"device", "data"}
    assert Config.extendable == {"iterations", "data"}
    assert Config().schedule_end() is None
    assert Config(outer=OuterConfig(final_learning_rate=1e-5)).schedule_end() == "outer.final_learning_rate"


def test_the_annealed_objective_follows_the_epoch() -> None:
    outer = OuterConfig(objective="annealed", annealing_epochs=10)
    assert [point.weight for point in outer.objective_at(5).points(5)] == pytest.approx([0.1] * 4 + [0.6])


def test_an_unknown_part_to_adapt_is_refused_before_work() -> None:
    system = System(Config(**{**SMALL, "inner": InnerConfig(adapts=["layer9"])}))
    with pytest.raises(ValueError, match=r"`inner\.adapts` \['layer9'\] names none of layer0\.weight"):
        system.prepare()
