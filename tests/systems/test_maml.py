"""The supervised system in training: what its values mean together, and that a state is all there is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from maml_rl.core.tree import map_tree
from maml_rl.supervised.networks import NetworkConfig
from maml_rl.supervised.task_distribution import DistributionConfig
from maml_rl.systems.inner import InnerConfig
from maml_rl.systems.maml import Config, System
from maml_rl.systems.maml_config import HeldOutConfig, OuterConfig
from maml_rl.systems.system import State

SMALL: dict[str, Any] = {
    "network": NetworkConfig(hidden=[8], initial_std=0.5),
    "tasks": 4,
    "support": 5,
    "query": 5,
    "epoch": 4,
    "report_every": 2,
    "iterations": 40,
    "precision": "float64",
    "torch_threads": 1,
    "test": HeldOutConfig(steps=2, validation_tasks=10),
}
CONV = NetworkConfig(id="conv4", filters=4)


@pytest.fixture
def letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Arguments of a configuration on small images made here."""
    monkeypatch.setenv("MAML_RL_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for index in range(9):
        folder = tmp_path / "letters" / f"letter{index}"
        folder.mkdir(parents=True)
        base = rng.integers(0, 255, (16, 16))
        for image in range(4):
            pixels = np.clip(base + rng.normal(0, 20, base.shape), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{image}.png")
    arguments = {"ways": 2, "size": 16, "channels": 1, "shares": [0.4, 0.3, 0.3]}
    return {
        **SMALL,
        "distribution": DistributionConfig("class_folders", arguments),
        "data": str(tmp_path / "letters"),
        "support": 1,
        "query": 2,
    }


def trained(config: Config, iterations: int) -> State:
    """The state after so many iterations."""
    system = System(config)
    state = system.initial_state()
    for iteration in range(iterations):
        state, _ = system.iterate(state, iteration)
    return state


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_same(first[name], second[name]) for name in first)
    return torch.equal(first, second)


def _errors(system: System, state: State, steps: int) -> np.ndarray:
    return system.evaluate([state], system.Options(steps=steps, seed=7, tasks=100)).values.mean(1)


def test_training_lowers_the_error_of_held_out_tasks() -> None:
    outer = OuterConfig(learning_rate=5e-3)
    config = Config(**{**SMALL, "network": NetworkConfig(hidden=[40, 40]), "tasks": 10, "outer": outer})
    system = System(config)
    before, after = (_errors(system, state, 1) for state in (system.initial_state(), trained(config, 500)))
    assert after[1] < 0.6 * before[1]
    assert after[1] < 0.7 * after[0]


def test_the_implicit_system_learns() -> None:
    inner = InnerConfig(steps=8, learning_rate=0.005, mode="implicit", proximal=5.0)
    network, outer = NetworkConfig(hidden=[40, 40]), OuterConfig(learning_rate=3e-3)
    config = Config(**{**SMALL, "network": network, "inner": inner, "tasks": 10, "outer": outer})
    system = System(config)
    before, after = (_errors(system, state, 8) for state in (system.initial_state(), trained(config, 200)))
    assert after[-1] < 0.8 * before[-1]


def test_an_iteration_depends_on_the_state_and_its_number_only() -> None:
    config = Config(**SMALL)
    whole = trained(config, 6)
    system, state = System(config), trained(config, 3)
    for iteration in range(3, 6):
        state, _ = system.iterate(state, iteration)
    assert _same(whole, state)
    assert not _same(whole["meta"], trained(Config(**{**SMALL, "seed": 2}), 6)["meta"])


def test_an_iteration_leaves_the_state_that_came_in() -> None:
    inner = InnerConfig(steps=2, learned_rates=True)
    system = System(Config(**{**SMALL, "inner": inner}))
    state = system.initial_state()
    before = map_tree(torch.clone, state)
    system.iterate(state, 0)
    system.validate(state, 4)
    system.evaluate([state], system.Options(steps=3, tasks=5))
    assert _same(before, state)


def test_a_state_has_groups_of_meta_parameters_and_the_optimisers_memory() -> None:
    state = System(Config(**{**SMALL, "inner": InnerConfig(steps=3, learned_rates=True)})).initial_state()
    assert state.keys() == {"meta", "statistics", "optimiser"}
    assert state["meta"]["rates"].keys() == state["meta"]["network"].keys()
    assert state["meta"]["rates"]["layer0.weight"].tolist() == [0.01] * 3
    assert "rates/layer0.weight" in state["optimiser"]["mean"]


def test_components_that_are_off_change_nothing(letters: dict[str, Any]) -> None:
    plain = Config(**{**letters, "network": CONV, "inner": InnerConfig(steps=2, learning_rate=0.1)})
    # Annealing that is over, no iteration of first order, a cosine that ends where it begins: MAML.
    off = Config(
        **{
            **letters,
            "network": CONV,
            "inner": InnerConfig(steps=2, learning_rate=[0.1, 0.1], first_order_iterations=0),
            "outer": OuterConfig(objective="annealed", annealing_epochs=0, final_learning_rate=1e-3),
        }
    )
    assert _same(trained(plain, 6), trained(off, 6))


@pytest.mark.parametrize(
    "change",
    [
        {"inner": InnerConfig(steps=2, learning_rate=0.1, learned_rates=True)},
        {"inner": InnerConfig(steps=2, learning_rate=0.1, first_order_iterations=8)},
        {"inner": InnerConfig(steps=2, learning_rate=0.1, mode="first_order")},
        {"inner": InnerConfig(steps=2, learning_rate=0.1, learned_rates="per_scalar")},
        {"inner": InnerConfig(steps=2, learning_rate=0.1, adapts="head")},
        {"inner": InnerConfig(steps=2, learning_rate=0.1, rule="momentum")},
        {"inner": InnerConfig(steps=2, learning_rate=0.1, rule="adam")},
        {"outer": OuterConfig(objective="annealed")},
        {"outer": OuterConfig(objective="uniform")},
        {"outer": OuterConfig(objective=[0.5, 0.0, 0.5])},
        {"outer": OuterConfig(final_learning_rate=1e-5)},
        {"outer": OuterConfig(clip=1e-3)},
        {"network": NetworkConfig(id="conv4", filters=4, norm_steps=2)},
        {"network": NetworkConfig(id="conv4", filters=4, adapt_norm=True)},
        {
            "network": NetworkConfig(id="conv4", filters=4, adapt_norm=True),
            "outer": OuterConfig(update="displacement"),
        },
        {"inner": InnerConfig(steps=2, learning_rate=0.1, mode="implicit", proximal=2.0)},
    ],
    ids=lambda change: str(change)[:60],
)
def test_each_component_alone_changes_training(letters: dict[str, Any], change: dict[str, Any]) -> None:
    base = {**letters, "network": CONV, "inner": InnerConfig(steps=2, learning_rate=0.1)}
    plain, changed = (trained(Config(**{**base, **more}), 12)["meta"]["network"] for more in ({}, change))
    common = [name for name in plain if plain[name].shape == changed[name].shape]
    assert any(not torch.equal(plain[name], changed[name]) for name in common)


def test_learning_rate_mode_and_objective_follow_the_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = InnerConfig(steps=2, first_order_iterations=8)
    outer = OuterConfig(objective="annealed", annealing_epochs=3, learning_rate=1e-3, final_learning_rate=1e-5)
    config = Config(**{**SMALL, "inner": inner, "outer": outer, "epoch": 4, "iterations": 16})
    system, calls = System(config), []
    meta_loss = system.learner.meta_loss

    def watched(*arguments: Any) -> Any:
        calls.append((arguments[4].name, [point.weight for point in arguments[5].points(2)]))
        return meta_loss(*arguments)

    monkeypatch.setattr(system.learner, "meta_loss", watched)
    state = system.initial_state()
    rates = [system.iterate(state, iteration)[1]["meta_learning_rate"] for iteration in (0, 4, 7, 8, 12)]
    assert [mode for mode, _ in calls] == ["first_order"] * 3 + ["unrolled"] * 2
    expected = [[1 / 2, 1 / 2], [1 / 3, 2 / 3], [1 / 3, 2 / 3], [1 / 6, 5 / 6], [1.0]]
    for (_, weights), wanted in zip(calls, expected, strict=True):
        assert weights == pytest.approx(wanted)
    cosines = [1e-5 + (1e-3 - 1e-5) * (1 + np.cos(np.pi * epoch / 4)) / 2 for epoch in (0, 1, 1, 2, 3)]
    assert rates == pytest.approx(cosines)


def test_the_clip_cuts_each_entry_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    keep = lambda meta, gradient, memory, rate: (seen.append(gradient["network"]), (meta, memory))[1]  # noqa: E731
    monkeypatch.setattr("maml_rl.core.meta_optimisers.adam_step", keep)
    for clip in (None, 0.05):
        system = System(Config(**{**SMALL, "outer": OuterConfig(clip=clip)}))
        system.iterate(system.initial_state(), 0)
    free, clipped = seen
    assert max(float(leaf.max()) for leaf in free.values()) > 0.05
    assert min(float(leaf.min()) for leaf in free.values()) < -0.05
    for name, leaf in free.items():
        assert torch.equal(clipped[name], leaf.clamp(-0.05, 0.05))


def test_training_validation_and_evaluation_draw_different_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(**{**SMALL, "tasks": 10})
    system, seen = System(config), []
    draw = system.draw

    def watched(*arguments: Any) -> Any:
        seen.append(draw(*arguments))
        return seen[-1]

    monkeypatch.setattr(system, "draw", watched)
    state = system.initial_state()
    system.iterate(state, 0)
    system.validate(state, 4)
    for split in ("train", "validation", "test"):
        system.evaluate([state], system.Options(steps=1, seed=config.seed, tasks=10, split=split))  # type: ignore[arg-type]
    amplitudes = [set(tasks.parameters["amplitude"].tolist()) for tasks in seen]
    assert [len(each) for each in amplitudes] == [10] * 5
    assert len(set().union(*amplitudes)) == 50


def test_running_statistics_are_part_of_the_state(letters: dict[str, Any]) -> None:
    config = Config(**{**letters, "network": NetworkConfig(id="conv4", filters=4, norm="running", norm_steps=1)})
    system, state = System(config), trained(config, 3)
    assert set(state["statistics"]) == {f"block{i}.norm.{name}" for i in range(4) for name in ("mean", "var")}
    before = system.initial_state()["statistics"]
    assert not any(torch.equal(leaf, before[name]) for name, leaf in state["statistics"].items())
    moved = {**state, "statistics": {name: leaf + 0.5 for name, leaf in state["statistics"].items()}}
    tasks = system.draw(0, 2, 2, 5, "test")
    plain, shifted = (system.predict([each], tasks, tasks.query.inputs, 1) for each in (state, moved))
    assert not torch.equal(plain[-1], shifted[-1])


def test_validation_is_due_at_an_epochs_end() -> None:
    system = System(Config(**SMALL))
    state = system.initial_state()
    due, early = system.validate(state, 4), system.validate(state, 3)
    assert due["validation_score"] == -due["validation_error"] < 0
    assert np.isnan([early["validation_error"], early["validation_score"]]).all()
    assert due.keys() == early.keys()
    assert {system.roles.selection, system.roles.learning_curve} <= due.keys()
    lost = {**state, "meta": map_tree(lambda leaf: leaf * float("nan"), state["meta"])}
    assert system.validate(lost, 4)["validation_score"] == -float("inf")


def test_a_loss_that_is_not_finite_names_its_tasks() -> None:
    system = System(Config(**SMALL))
    state = system.initial_state()
    state["meta"]["network"]["layer0.weight"] *= float("nan")
    with pytest.raises(FloatingPointError, match="meta-loss of task 0, 1, 2, 3 is not finite"):
        system.iterate(state, 0)
