"""The supervised system: what its values mean together, what it refuses, and that a state is all there is."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from maml_rl.supervised.networks import NetworkConfig
from maml_rl.supervised.task_distribution import DistributionConfig
from maml_rl.systems.maml import MAML
from maml_rl.systems.maml_config import Config, HeldOutConfig, InnerConfig, OuterConfig, mode_at, objective_at

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


@pytest.fixture
def letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Arguments of a configuration on small images made here."""
    monkeypatch.setenv("MAML_RL_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for kind in range(9):
        folder = tmp_path / "letters" / f"kind{kind}"
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


def _trained(config: Config, iterations: int) -> dict[str, Any]:
    system = MAML(config)
    state = system.initial_state()
    for iteration in range(iterations):
        state, _ = system.iterate(state, iteration)
    return state


def _same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return all(torch.equal(first["params"][name], second["params"][name]) for name in first["params"])


def test_training_lowers_the_error_of_held_out_tasks() -> None:
    outer = OuterConfig(rate=5e-3)
    config = Config(**{**SMALL, "network": NetworkConfig(hidden=[40, 40]), "tasks": 10, "outer": outer})
    system = MAML(config)
    start, state = system.initial_state(), _trained(config, 500)
    before, after = (system.evaluate([each], 1, 7, 100).values for each in (start, state))
    assert after[1].mean() < 0.6 * before[1].mean()
    assert after[1].mean() < 0.7 * after[0].mean()


def test_an_iteration_depends_on_the_state_and_its_number_only() -> None:
    config = Config(**SMALL)
    whole = _trained(config, 6)
    system, state = MAML(config), _trained(config, 3)
    for iteration in range(3, 6):
        state, _ = system.iterate(state, iteration)
    assert _same(whole, state)
    assert not _same(whole, _trained(Config(**{**SMALL, "seed": 2}), 6))


def test_an_iteration_leaves_the_state_that_came_in() -> None:
    system = MAML(Config(**SMALL))
    state = system.initial_state()
    copies = {kind: {name: leaf.clone() for name, leaf in state["adam"][kind].items()} for kind in state["adam"]}
    params = {name: leaf.clone() for name, leaf in state["params"].items()}
    system.iterate(state, 0)
    system.validate(state, 4)
    system.evaluate([state], 3, 0, 5)
    assert all(torch.equal(params[name], leaf) for name, leaf in state["params"].items())
    assert all(torch.equal(copies[k][name], leaf) for k in copies for name, leaf in state["adam"][k].items())


def test_components_that_are_off_change_nothing(letters: dict[str, Any]) -> None:
    network = NetworkConfig(id="conv4", filters=4)
    plain = Config(**{**letters, "network": network, "inner": InnerConfig(steps=2, rate=0.1)})
    # Annealing that is over, no epoch of first order, a cosine that ends where it begins: MAML.
    off = Config(
        **{
            **letters,
            "network": network,
            "inner": InnerConfig(steps=2, rate=[0.1, 0.1], first_order_epochs=0),
            "outer": OuterConfig(objective="annealed", annealing_epochs=0, final_rate=1e-3),
        }
    )
    assert _same(_trained(plain, 6), _trained(off, 6))


@pytest.mark.parametrize(
    "change",
    [
        {"inner": InnerConfig(steps=2, rate=0.1, learned_rates=True)},
        {"inner": InnerConfig(steps=2, rate=0.1, first_order_epochs=1)},
        {"inner": InnerConfig(steps=2, rate=0.1, mode="first_order")},
        {"inner": InnerConfig(steps=2, rate=0.1, learned_rates="per_scalar")},
        {"inner": InnerConfig(steps=2, rate=0.1, adapts="head")},
        {"outer": OuterConfig(objective="annealed")},
        {"outer": OuterConfig(objective="uniform")},
        {"outer": OuterConfig(objective=[0.5, 0.0, 0.5])},
        {"outer": OuterConfig(final_rate=1e-5)},
        {"outer": OuterConfig(clip=1e-3)},
        {"network": NetworkConfig(id="conv4", filters=4, norm_steps=2)},
        {"network": NetworkConfig(id="conv4", filters=4, adapt_norm=True)},
        {
            "network": NetworkConfig(id="conv4", filters=4, adapt_norm=True),
            "outer": OuterConfig(update="displacement"),
        },
    ],
    ids=lambda change: str(change)[:60],
)
def test_each_component_alone_changes_training(letters: dict[str, Any], change: dict[str, Any]) -> None:
    base = {**letters, "network": NetworkConfig(id="conv4", filters=4), "inner": InnerConfig(steps=2, rate=0.1)}
    plain, changed = _trained(Config(**base), 12), _trained(Config(**{**base, **change}), 12)
    common = [name for name in plain["params"] if plain["params"][name].shape == changed["params"][name].shape]
    assert any(not torch.equal(plain["params"][name], changed["params"][name]) for name in common)


def test_meta_rate_mode_and_objective_follow_the_epoch_of_the_iteration() -> None:
    inner = InnerConfig(steps=2, first_order_epochs=1)
    outer = OuterConfig(objective="annealed", annealing_epochs=3, rate=1e-3, final_rate=1e-5)
    config = Config(**{**SMALL, "inner": inner, "outer": outer, "epoch": 4, "iterations": 16})
    system = MAML(config)
    state, called = system.initial_state(), []
    whole = system.learner.meta_loss

    def watched(*arguments: Any) -> Any:
        called.append((arguments[3].name, [point.weight for point in arguments[4].points(2)]))
        return whole(*arguments)

    system.learner.meta_loss = watched  # type: ignore[method-assign]
    rates = []
    for iteration in (0, 4, 7, 8, 12):
        rates.append(system.iterate(state, iteration)[1]["meta_rate"])
    assert [mode for mode, _ in called] == ["first_order"] * 3 + ["unrolled"] * 2
    expected = [[1 / 2, 1 / 2], [1 / 3, 2 / 3], [1 / 3, 2 / 3], [1 / 6, 5 / 6], [1.0]]
    for (_, weights), wanted in zip(called, expected, strict=True):
        assert weights == pytest.approx(wanted)
    cosines = [1e-5 + (1e-3 - 1e-5) * (1 + np.cos(np.pi * epoch / 4)) / 2 for epoch in (0, 1, 1, 2, 3)]
    assert rates == pytest.approx(cosines)


def test_the_clip_cuts_each_entry_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    keep = lambda params, gradient, moments, rate: (seen.append(gradient), (params, moments))[1]  # noqa: E731
    monkeypatch.setattr("maml_rl.systems.maml.adam_step", keep)
    for clip in (None, 0.05):
        system = MAML(Config(**{**SMALL, "outer": OuterConfig(clip=clip)}))
        system.iterate(system.initial_state(), 0)
    free, clipped = seen
    assert max(float(leaf.max()) for leaf in free.values()) > 0.05
    assert min(float(leaf.min()) for leaf in free.values()) < -0.05
    for name, leaf in free.items():
        assert torch.equal(clipped[name], leaf.clamp(-0.05, 0.05))


def test_training_validation_and_evaluation_draw_different_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(**{**SMALL, "tasks": 10})
    system, seen = MAML(config), []
    draw = system.draw

    def watched(*arguments: Any) -> Any:
        seen.append(draw(*arguments))
        return seen[-1]

    monkeypatch.setattr(system, "draw", watched)
    state = system.initial_state()
    system.iterate(state, 0)
    system.validate(state, 4)
    for split in ("train", "validation", "test"):
        system.evaluate([state], 1, config.seed, 10, split=split)  # type: ignore[arg-type]
    amplitudes = [set(tasks.parameters["amplitude"].tolist()) for tasks in seen]
    assert [len(each) for each in amplitudes] == [10] * 5
    assert len(set().union(*amplitudes)) == 50


def test_modes_and_objectives_follow_the_epoch() -> None:
    inner = InnerConfig(first_order_epochs=3)
    assert [mode_at(inner, epoch).name for epoch in (0, 3, 4)] == ["first_order", "first_order", "unrolled"]
    outer = OuterConfig(objective="annealed", annealing_epochs=10)
    assert [point.weight for point in objective_at(outer, 5).points(5)] == pytest.approx([0.1] * 4 + [0.6])


def test_the_implicit_system_learns() -> None:
    inner = InnerConfig(steps=8, rate=0.005, mode="implicit", proximal=5.0)
    network, outer = NetworkConfig(hidden=[40, 40]), OuterConfig(rate=3e-3)
    config = Config(**{**SMALL, "network": network, "inner": inner, "tasks": 10, "outer": outer})
    system = MAML(config)
    start, state = system.initial_state(), _trained(config, 200)
    before, after = (system.evaluate([each], 8, 7, 100).values[-1].mean() for each in (start, state))
    assert after < 0.8 * before


def test_running_statistics_are_part_of_the_state(letters: dict[str, Any]) -> None:
    config = Config(**{**letters, "network": NetworkConfig(id="conv4", filters=4, norm="running", norm_steps=1)})
    system, state = MAML(config), _trained(config, 3)
    assert set(state["statistics"]) == {f"block{i}.norm.{kind}" for i in range(4) for kind in ("mean", "var")}
    plain = system.evaluate([state], 1, 0, 5)
    moved = {**state, "statistics": {name: leaf + 0.5 for name, leaf in state["statistics"].items()}}
    assert not torch.equal(plain.outputs[-1], system.evaluate([moved], 1, 0, 5).outputs[-1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inner": InnerConfig(mode="implicit")}, "`inner.mode` 'implicit' needs the pull of `inner.proximal`"),
        (
            {"inner": InnerConfig(mode="implicit", proximal=1.0), "outer": OuterConfig(objective="uniform")},
            "goes with the objective 'final', got 'uniform'",
        ),
        (
            {"inner": InnerConfig(mode="implicit", proximal=1.0), "outer": OuterConfig(objective="annealed")},
            "goes with the objective 'final', got 'annealed'",
        ),
        (
            {"inner": InnerConfig(mode="implicit", proximal=1.0), "network": NetworkConfig(id="conv4")},
            "`network.adapt_norm` is false",
        ),
        (
            {
                "inner": InnerConfig(mode="implicit", proximal=1.0),
                "network": NetworkConfig(id="conv4", adapt_norm=True, norm_steps=3),
            },
            "'transductive' with `norm_steps` 3",
        ),
        (
            {
                "inner": InnerConfig(mode="implicit", proximal=1.0),
                "network": NetworkConfig(id="conv4", adapt_norm=True, norm="running"),
            },
            "`network.norm` is 'running'",
        ),
        ({"inner": InnerConfig(mode="implicit", proximal=1.0, steps=0)}, "at least one inner step"),
        (
            {"inner": InnerConfig(steps=0), "outer": OuterConfig(objective="uniform")},
            "does not go with `inner.steps` 0",
        ),
        ({"inner": InnerConfig(steps=2), "outer": OuterConfig(objective=[0.5, 0.5])}, "K \\+ 1 = 3 entries"),
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
        (
            {"inner": InnerConfig(mode="implicit", proximal=1.0, adapts="head"), "network": NetworkConfig()},
            "`inner.adapts` must be 'all', got 'head'",
        ),
        ({"tasks": 0}, "`tasks` must be at least 1"),
        ({"seed": -1}, "`seed` must be in"),
    ],
)
def test_impossible_combinations_are_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config(**{**SMALL, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learned_rates": True, "proximal": 1.0}, "two different rules"),
        ({"learned_rates": True, "steps": 0}, "needs inner steps"),
        ({"first_order_epochs": 3, "mode": "first_order"}, "goes with the mode 'unrolled'"),
        ({"steps": -1}, "inner.steps"),
        ({"adapts": []}, "at least one parameter"),
        ({"proximal": float("nan")}, "inner.proximal"),
        ({"rate": float("nan")}, "learning rates"),
    ],
)
def test_impossible_inner_loops_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InnerConfig(**arguments)


def test_a_network_must_return_what_the_tasks_ask_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "networks_of_somebody_else.py").write_text(
        "import torch\n"
        "def flat(shape, outputs): return torch.nn.Sequential(torch.nn.Linear(1, outputs), torch.nn.Flatten(0))\n"
        "def narrow(shape, outputs): return torch.nn.Linear(7, outputs)\n"
        "def broken(shape, outputs): raise RuntimeError('no network today')\n"
        "def right(shape, outputs): return torch.nn.Linear(1, outputs)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, message in (
        ("flat", r"must return \[E, outputs\] = \(5, 1\) for E = 5 inputs, got \(5,\)"),
        ("narrow", "does not take the tasks' inputs"),
        ("broken", "cannot be made: no network today"),
    ):
        with pytest.raises(ValueError, match=message):
            MAML(Config(**{**SMALL, "network": NetworkConfig(id=f"networks_of_somebody_else:{name}")}))
    MAML(Config(**{**SMALL, "network": NetworkConfig(id="networks_of_somebody_else:right")}))


def test_a_loss_that_is_not_finite_names_its_tasks() -> None:
    system = MAML(Config(**SMALL))
    state = system.initial_state()
    state["params"]["layer0.weight"] = state["params"]["layer0.weight"] * float("nan")
    with pytest.raises(FloatingPointError, match="meta-loss of task 0, 1, 2, 3 is not finite"):
        system.iterate(state, 0)


MINE = '''
import numpy as np
import torch
from maml_rl.supervised.task_distribution import Labelled, TaskBatch


class Lines:
    """y = a x."""

    kind, input_shape, outputs = "regression", (1,), 1

    def __init__(self, fault=None):
        self.fault = fault
        if fault == "kind":
            self.kind = "guessing"
        if fault == "constructor":
            raise TypeError("no lines today")
        if fault == "shape":
            self.input_shape = 1
        if fault == "key":
            raise KeyError("lost")

    def sample(self, generator, tasks, support, query, split):
        slopes = generator.normal(size=(tasks, 1, 1))
        x = torch.from_numpy(generator.normal(size=(tasks, support + query, 1)))
        y = x * torch.from_numpy(slopes)
        if self.fault == "targets":
            y = y[..., 0]
        if self.fault == "inputs":
            x = x[..., 0]
        if self.fault == "examples":
            support -= 1
        if self.fault == "tuple":
            return x, y
        if self.fault == "index":
            raise IndexError("no such line")
        if self.fault == "parameters":
            return TaskBatch(Labelled(x[:, :support], y[:, :support]), Labelled(x[:, support:], y[:, support:]),
                             {"slope": 1.0})
        if self.fault == "numpy":
            x = x.numpy()
        return TaskBatch(Labelled(x[:, :support], y[:, :support]), Labelled(x[:, support:], y[:, support:]),
                         {"slope": slopes[:, 0, 0]})


class Half:
    kind, outputs = "regression", 1
'''


def test_a_distribution_from_elsewhere_plugs_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lines_of_somebody_else.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("lines_of_somebody_else", None)
    config = Config(**{**SMALL, "distribution": DistributionConfig("lines_of_somebody_else:Lines")})
    assert MAML(config).evaluate([_trained(config, 2)], 2, 0, 3).values.shape == (3, 3)

    def made(name: str, **arguments: Any) -> MAML:
        distribution = DistributionConfig(f"lines_of_somebody_else:{name}", arguments)
        return MAML(Config(**{**SMALL, "distribution": distribution}))

    with pytest.raises(ValueError, match="lacks input_shape, sample"):
        made("Half")
    with pytest.raises(ValueError, match="cannot be imported"):
        made("Nothing")
    with pytest.raises(ValueError, match="no lines today"):
        made("Lines", fault="constructor")
    with pytest.raises(ValueError, match="'regression' or 'classification', got 'guessing'"):
        made("Lines", fault="kind")
    for name, fault in (("TaskBatch", "tuple"), ("Labelled of two tensors", "numpy")):
        with pytest.raises(ValueError, match=name):
            made("Lines", fault=fault)
    with pytest.raises(ValueError, match=r"KeyError: 'lost'"):
        made("Lines", fault="key")
    for fault in ("inputs", "targets", "examples"):
        part = "inputs" if fault == "examples" else fault
        with pytest.raises(ValueError, match=f"support {part} must be"):
            made("Lines", fault=fault)
    with pytest.raises(ValueError, match="there is no distribution 'sinus'"):
        MAML(Config(**{**SMALL, "distribution": DistributionConfig("sinus")}))
    with pytest.raises(ValueError, match="`sample` failed: IndexError: no such line"):
        made("Lines", fault="index")
    with pytest.raises(ValueError, match="`input_shape` must be a tuple of sizes, got 1"):
        made("Lines", fault="shape")
    with pytest.raises(ValueError, match=r"parameter 'slope' must be \[N, ...\], N = 1, got \(\)"):
        made("Lines", fault="parameters")
    (tmp_path / "not_python.py").write_text("def (:\n")
    for name in ("not_python:Lines", ".relative:Lines", "math:pi"):
        with pytest.raises(ValueError, match="distribution"):
            MAML(Config(**{**SMALL, "distribution": DistributionConfig(name)}))


def test_labels_are_whole_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "labels_of_somebody_else.py").write_text(
        "import torch\n"
        "from maml_rl.supervised.task_distribution import Labelled, TaskBatch\n"
        "class Coins:\n"
        "    kind, input_shape, outputs = 'classification', (1,), 2\n"
        "    def sample(self, generator, tasks, support, query, split):\n"
        "        part = lambda shots: Labelled(torch.zeros(tasks, 2 * shots, 1), torch.rand(tasks, 2 * shots) * 1.9)\n"
        "        return TaskBatch(part(support), part(query), {})\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match=r"targets must be whole numbers, got torch\.float32"):
        MAML(Config(**{**SMALL, "distribution": DistributionConfig("labels_of_somebody_else:Coins")}))
