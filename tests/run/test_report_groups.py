"""Runs in groups: what is gathered, what is averaged, what differs, and what is left out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maml_rl.run.errors import UsageError
from maml_rl.run.report.differences import differences, warnings_about
from maml_rl.run.report.gather import gather
from maml_rl.run.report.groups import grouped, half_width, mean_adaptation, mean_curve
from tests.run.run_folders import RETURN, change_json, write_evaluation, write_run, write_validated_run

CHEETAH = "environment: {id: 'envs:HalfCheetahDir-v0', arguments: {%s}, threads: 4}\n"


def test_runs_that_differ_in_their_seed_only_are_a_group(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name, seed, "") for name, seed in (("a", 1), ("b", 2), ("c", 3))]
    folders.append(write_run(tmp_path / "d", 3, "torch_threads: 2\n"))
    folders.append(write_run(tmp_path / "e", 4, "outer: {max_kl: 0.02}\n"))
    folders.append(write_evaluation(tmp_path / "f", RETURN, np.ones((2, 6))))
    groups = grouped(gather(folders).runs)
    assert [[run.name for run in group.runs] for group in groups] == [["a", "b", "c", "d"], ["e"], ["f"]]
    assert groups[0].name == "a, b, c, d"
    assert any("same seed" in warning for warning in warnings_about(groups))


def test_a_folder_of_its_own_names_a_group(tmp_path: Path) -> None:
    wider = "outer: {max_kl: 0.02}\n"
    folders = [write_run(tmp_path / "maml" / name, seed) for seed, name in enumerate("ab")]
    folders += [write_run(tmp_path / "wide" / name, seed, wider) for seed, name in enumerate("ab")]
    assert [group.name for group in grouped(gather(folders).runs)] == ["maml", "wide"]
    folders.append(write_run(tmp_path / "wide" / "c", 3, "outer: {max_kl: 0.03}\n"))
    assert [group.name for group in grouped(gather(folders).runs)] == ["maml", "wide/a, wide/b", "wide/c"]


def test_many_runs_are_named_by_the_first_and_the_last(tmp_path: Path) -> None:
    (group,) = grouped(gather([write_run(tmp_path / f"a-rather-long-name-{seed}", seed) for seed in range(4)]).runs)
    assert group.name == "a-rather-long-name-0 to a-rather-long-name-3"


def test_labels_make_groups_and_say_what_else_differs(tmp_path: Path) -> None:
    wider = "outer: {max_kl: 0.02}\n"
    folders = [write_run(tmp_path / "a", 1, ""), write_run(tmp_path / "b", 2, wider), write_run(tmp_path / "c", 3)]
    groups = grouped(gather(folders, ["x", "x", "y"]).runs)
    assert [(group.name, [run.name for run in group.runs]) for group in groups] == [
        ("x", ["x (a)", "x (b)"]),
        ("y", ["y"]),
    ]
    assert "the runs called x differ in more than their seed: outer.max_kl." in warnings_about(groups)


@pytest.mark.parametrize(("count", "factor"), [(2, 12.706205), (3, 4.3026527), (12, 2.2009852), (101, 1.9839715)])
def test_intervals_over_seeds_are_students(count: int, factor: float) -> None:
    values = np.random.default_rng(0).normal(size=(count, 5))
    expected = factor * np.std(values, axis=0, ddof=1) / np.sqrt(count)
    np.testing.assert_allclose(half_width(values), expected, rtol=1e-6)
    curve = mean_curve([(np.arange(5.0), each) for each in values])
    np.testing.assert_allclose(curve.means, values.mean(0))
    np.testing.assert_allclose(curve.widths, expected, rtol=1e-6)


def test_a_single_seed_has_no_interval() -> None:
    assert np.isnan(half_width(np.ones((1, 4)))).all()
    curve = mean_curve([(np.arange(4.0), np.ones(4))])
    assert (curve.widths, curve.over) == (None, "")


def test_means_are_where_all_seeds_have_points() -> None:
    first = (np.array([0.0, 2.0, 4.0]), np.array([0.0, 2.0, 4.0]))
    second = (np.array([1.0, 3.0, 9.0]), np.array([3.0, 5.0, 11.0]))
    curve = mean_curve([first, second])
    np.testing.assert_allclose(curve.places, [1, 2, 3, 4])
    np.testing.assert_allclose(curve.means, [2, 3, 4, 5])  # between x and x + 2
    apart = mean_curve([first, (first[0] + 9, first[1])])
    assert len(apart.places) == 0


def test_adaptation_is_a_mean_over_seeds_or_tasks(tmp_path: Path) -> None:
    (group,) = grouped(gather([write_run(tmp_path / str(seed), seed) for seed in (1, 2, 3)]).runs)
    over_seeds, over_tasks = mean_adaptation(group.adaptations), mean_adaptation(group.adaptations[:1])
    assert over_seeds is not None
    assert over_tasks is not None
    assert (over_seeds.over, over_tasks.over) == ("seeds", "tasks")
    means = np.array([each.means for each in group.adaptations])
    np.testing.assert_allclose(over_seeds.means, means.mean(0))
    np.testing.assert_allclose(over_seeds.widths, half_width(means))
    np.testing.assert_allclose(over_tasks.widths, group.adaptations[0].intervals)
    assert mean_adaptation(group.adaptations, "success") is None


def test_the_best_states_evaluation_is_preferred(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a")
    write_evaluation(folder / "last", RETURN, np.full((3, 6), 9.0), arrays=False)
    (run,) = gather([folder]).runs
    assert run.place == "best"
    (folder / "best" / "evaluation.json").unlink()
    (run,) = gather([folder]).runs
    assert run.place == "last"
    assert run.per_task is None


def test_only_what_differs_is_listed(tmp_path: Path) -> None:
    runs = gather([write_run(tmp_path / "a", 1, "inner: {rate: 0.1}\n"), write_run(tmp_path / "b", 2, "inner: {}\n")])
    assert differences(runs.runs) == {"inner.rate": ["0.1", "–"], "seed": ["1", "2"]}  # noqa: RUF001
    rows = differences(gather([write_run(tmp_path / "c"), write_validated_run(tmp_path / "d")]).runs)
    assert rows["system"] == ["maml_trpo", "maml"]
    assert rows["distribution.id"] == ["–", "sinusoid"]  # noqa: RUF001


def test_what_is_damaged_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    names = ("whole", "without", "cut", "header", "truncated", "evaluation", "arrays", "others", "older", "listed")
    runs = {name: write_run(tmp_path / name, seed) for seed, name in enumerate(names)}
    (runs["without"] / "config.yaml").unlink()
    (runs["cut"] / "config.yaml").write_text("system: maml_trpo\npolicy: {hid")
    (runs["listed"] / "config.yaml").write_text("- 1\n")
    (runs["header"] / "progress.csv").write_text("iteration,return_after,env_steps\n")
    with (runs["truncated"] / "progress.csv").open("a") as file:
        file.write("3,-4,-3.0")
    (runs["evaluation"] / "best" / "evaluation.json").write_text('{"mean": [1.0, ')
    arrays = runs["arrays"] / "best" / "evaluation.npz"
    arrays.write_bytes(arrays.read_bytes()[:300])
    np.savez(runs["others"] / "best" / "evaluation.npz", values=np.ones((3, 6, 4)))
    (runs["older"] / "metrics.json").unlink()
    (tmp_path / "empty").mkdir()
    picture = tmp_path / "adaptation.png"
    picture.write_bytes(b"")
    shown, left_out = gather([*runs.values(), tmp_path / "empty", runs["whole"], picture])
    assert [run.name for run in shown] == ["whole", "header", "truncated", "evaluation", "arrays", "others", "older"]
    reasons = {entry.name: entry.reason.replace(str(tmp_path / entry.name), "<>") for entry in left_out}
    for name, reason in (
        ("without", "<> is not a run folder: it has no config.yaml"),
        ("cut", "<>/config.yaml is not YAML"),
        ("listed", "<>/config.yaml is not a configuration"),
        ("header", "<>/progress.csv has no point of a learning curve yet"),
        ("truncated", "the last row of <>/progress.csv is half-written"),
        ("evaluation", "<>/best/evaluation.json is damaged"),
        ("arrays", "<>/best/evaluation.npz is damaged"),
        ("others", "<>/best/evaluation.npz does not belong to the evaluation.json beside it"),
        ("older", "<> has a progress.csv and no metrics.json: the run was made by an older version"),
        ("empty", "<> has neither a learning curve"),
        ("whole", "<> is named twice"),
        ("adaptation.png", "<> is a file, not the folder of a run."),
    ):
        assert reasons.pop(name).startswith(reason)
    assert not reasons
    assert all("\n" not in entry.reason for entry in left_out)


def test_nothing_left_is_one_line(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name) for name in "ab"]
    for folder in folders:
        (folder / "config.yaml").unlink()
    with pytest.raises(UsageError, match=r"^there is nothing to compare\. a: .*b: "):
        gather(folders)
    with pytest.raises(UsageError, match="there is no folder"):
        gather([tmp_path / "nowhere"])


def test_unlike_tasks_are_warned_of(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / "a"), write_run(tmp_path / "b", 1, CHEETAH % "frame_skip: 1", tasks=5)]
    warnings = warnings_about(grouped(gather(folders).runs))
    assert warnings[0].startswith("the runs are of different tasks: envs:HalfCheetahVel-v0 (a), envs:HalfCheetahDir")
    assert "the evaluations are of different tasks." in warnings
    folders = [write_run(tmp_path / "c", 1, CHEETAH % "frame_skip: 1, horizon: 50")]
    folders += [write_run(tmp_path / "d", 2, (CHEETAH % "frame_skip: 5").replace("4", "8"), place="last")]
    assert warnings_about(grouped(gather(folders).runs)) == [
        "the runs set environment.arguments.frame_skip of their task differently: 1 (c), 5 (d).",
        "some runs set environment.arguments.horizon (50), others leave the task's default: alike only if it is the "
        "same.",
        "the evaluations differ in checkpoint: best (c), last (d).",
    ]


def test_evaluations_done_differently_are_warned_of(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name, seed) for seed, name in enumerate("ab")]
    ours = {"shots": 1, "run": "a", "iteration": 3, "seconds": 1.0, "steps": 3, "device": "cpu"}
    theirs = {"shots": 5, "run": "b", "iteration": 9, "seconds": 2.0, "steps": 5, "device": "cuda"}
    change_json(folders[0] / "best" / "evaluation.json", settings=ours)
    change_json(folders[1] / "best" / "evaluation.json", settings=theirs, axis="episodes")
    assert warnings_about(grouped(gather(folders).runs)) == [
        "the evaluations differ in shots: 1 (a), 5 (b).",
        "the evaluations differ in axis: gradient steps (a), episodes (b).",
    ]


def test_more_steps_are_no_other_rates(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name, seed) for seed, name in enumerate("abc")]

    def warnings_with(*rates: Any) -> list[str]:
        for folder, each in zip(folders, rates, strict=True):
            change_json(folder / "best" / "evaluation.json", settings={"learning_rates": each})
        return warnings_about(grouped(gather(folders).runs))

    assert warnings_with([0.1, 0.05, 0.05], [0.1], [0.1, 0.05, 0.05, 0.05, 0.05]) == []
    assert warnings_with([0.1, 0.05, 0.05], [0.1], []) == []
    assert warnings_with([0.1, 0.05, 0.05], [0.1], [0.2, 0.2]) == [
        "the evaluations differ in learning_rates: 0.1, 0.05 (a), 0.1 (b), 0.2 (c)."
    ]
