"""Task distributions over somebody else's MuJoCo model: equal to MuJoCo's own loop, and faults named."""

from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest

from envs.mujoco_simulation import load_model
from envs.mujoco_tasks import MujocoTask, States
from envs.parameter_ranges import Interval

XML = """<mujoco><option timestep="0.01"/><worldbody><body><joint name="hinge" type="hinge" axis="0 1 0"/>
<geom type="capsule" fromto="0 0 0 0 0 1" size="0.1"/></body></worldbody>
<actuator><motor joint="hinge" ctrllimited="true" ctrlrange="-2 6"/><motor joint="hinge" gear="0.5"/></actuator>
</mujoco>"""


def _task(tmp_path: Path, **changes: Any) -> MujocoTask:
    path = tmp_path / "hinge.xml"
    path.write_text(XML)
    parts: dict[str, Any] = {
        "name": "Hinge",
        "xml": str(path),
        "parameters": {"angle": Interval(-1.0, 1.0)},
        "observe": lambda states: np.concatenate([states.qpos, states.qvel], axis=1),
        "reward": lambda before, controls, after, tasks: -np.abs(after.qpos[:, 0] - tasks["angle"]) - controls.sum(1),
        "frame_skip": 3,
        "horizon": 12,
    }
    return MujocoTask(**{**parts, **changes})


@pytest.mark.parametrize("measured", [False, True])
def test_it_is_mujocos_own_loop_with_actions_in_the_motors_ranges(tmp_path: Path, measured: bool) -> None:
    measure = (lambda model, data: np.array([data.qacc[0], data.time])) if measured else None
    task = _task(tmp_path, measure=measure)
    env, envs = task.single(), task.vector(2, num_threads=2)
    model = mujoco.MjModel.from_xml_string(XML)
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_WARMSTART
    data = mujoco.MjData(model)
    env.reset(seed=0, options={"task": {"angle": 0.3}})
    envs.reset(seed=0, options={"tasks": [{"angle": 0.3}, {"angle": -0.2}]})
    rng = np.random.default_rng(0)
    for _ in range(12):
        action = rng.uniform(-1.2, 1.2, 2)
        bounded = np.clip(action, -1, 1)
        data.ctrl[:] = [2 + 4 * bounded[0], bounded[1]]  # a range of [-2, 6], and one that the model leaves open
        mujoco.mj_step(model, data, 3)
        observation, reward, *_ = env.step(action)
        observations, rewards, *_ = envs.step(np.stack([action, action]))
        assert np.array_equal(observation, [data.qpos[0], data.qvel[0]])
        assert np.array_equal(observations[0], observation)
        assert np.array_equal(observations[1], observation)
        assert reward == pytest.approx(-abs(data.qpos[0] - 0.3) - data.ctrl.sum())
        assert rewards[0] == reward
        if measured:
            assert np.array_equal(env._states[-1][-2:], [data.qacc[0], data.time])


def test_what_is_measured_is_seen_by_all_functions(tmp_path: Path) -> None:
    seen: dict[str, list[float]] = {"observe": [], "reward": [], "terminated": []}

    def note(name: str, states: States) -> None:
        seen[name].append(float(states.measured[0, 0]))

    def observe(states: States) -> np.ndarray:
        note("observe", states)
        return states.qpos

    def reward(before: States, controls: np.ndarray, after: States, tasks: Any) -> np.ndarray:
        note("reward", after)
        return np.zeros(len(controls))

    def terminated(after: States, tasks: Any) -> np.ndarray:
        note("terminated", after)
        return after.measured[:, 0] > 0.05

    task = _task(
        tmp_path,
        measure=lambda model, data: np.array([data.time]),
        observe=observe,
        reward=reward,
        terminated=terminated,
    )
    env = task.single()
    for trials in seen.values():
        trials.clear()  # what was tried when it was made
    env.reset(seed=0)
    ends = [env.step(np.zeros(2))[2] for _ in range(2)]
    assert ends == [False, True]  # time 0.03, then 0.06
    assert seen["reward"] == pytest.approx([0.03, 0.06])
    assert seen["terminated"] == pytest.approx([0.03, 0.06])
    assert seen["observe"][-1] == pytest.approx(0.06)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"xml": "/nowhere/at_all.xml"}, "cannot be loaded"),
        ({"observe": lambda states: states.qpos[0]}, r"`observe` of Hinge must return \[n, O\], got \(1,\)"),
        (
            {"reward": lambda before, controls, after, tasks: after.qpos},
            r"`reward` of Hinge must return \[n\] = \(2,\) for n = 2, got \(2, 1\)",
        ),
        ({"terminated": lambda after, tasks: False}, r"`terminated` of Hinge must return \[n\] = \(2,\) .* got \(\)"),
        ({"measure": lambda model, data: 1.0}, r"`measure` of Hinge must return \[M\], got \(\)"),
        ({"initial": lambda model, rng: (np.zeros(2), np.zeros(1))}, r"`initial \(positions\)` of Hinge .* got \(2,\)"),
        ({"parameters": {"angle": (-1.0, 1.0)}}, r"parameter 'angle' of Hinge must be one of envs\.parameter_ranges"),
        ({"frame_skip": 0}, "frame_skip"),
        ({"action_scale": -1.0}, "action_scale"),
        ({"horizon": 2.5}, "horizon"),
    ],
)
def test_faults_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    task = _task(tmp_path, **changes)
    for make in (task.single, lambda: task.vector(2)):
        with pytest.raises(ValueError, match=message):
            make()


def test_a_broken_model_file_is_one_line(tmp_path: Path) -> None:
    task = _task(tmp_path)
    Path(task.xml).write_text("<mujoco><worldbody><body></mujoco>")
    with pytest.raises(ValueError, match=r"hinge\.xml cannot be loaded: .*XML") as caught:
        task.single()
    assert "\n" not in str(caught.value)


def test_a_model_without_motors_is_refused(tmp_path: Path) -> None:
    task = _task(tmp_path)
    Path(task.xml).write_text(XML[: XML.index("<actuator>")] + "</mujoco>")
    with pytest.raises(ValueError, match="has no actuators"):
        task.single()


@pytest.mark.parametrize(
    ("model_for", "message"),
    [
        (lambda model, task: None, "must return a changed copy of the model, got NoneType"),
        (lambda model, task: model, "must return a changed copy of the model"),
        (lambda model, task: load_model("hopper.xml"), "must keep the model's sizes, but it changes nq"),
    ],
)
def test_models_of_tasks_that_do_not_fit_are_refused(tmp_path: Path, model_for: Any, message: str) -> None:
    task = _task(tmp_path, model_for=model_for)
    env, envs = task.single(), task.vector(2)
    with pytest.raises(ValueError, match=message):
        env.set_task({"angle": 0.1})
    with pytest.raises(ValueError, match=message):
        envs.set_tasks([{"angle": 0.1}] * 2)


def test_observations_are_copies(tmp_path: Path) -> None:
    envs = _task(tmp_path, observe=lambda states: states.qpos).vector(2)
    first, _ = envs.reset(seed=0)
    envs.step(np.ones((2, 2)))
    second, *_ = envs.step(np.ones((2, 2)))
    kept = second.copy()
    envs.reset(options={"reset_mask": np.array([True, False])})
    assert np.array_equal(second, kept)
    assert not np.array_equal(first, second)


def test_a_simulation_that_diverges_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo would start it again from the reference pose, amid the episode."""
    monkeypatch.chdir(tmp_path)  # MuJoCo logs its warnings where it is
    wild = XML.replace('axis="0 1 0"', 'axis="0 1 0" stiffness="1e9" damping="-1e5"')
    task = _task(tmp_path, horizon=200)
    Path(task.xml).write_text(wild)
    for envs, action in ((task.single(), np.ones(2)), (task.vector(2), np.ones((2, 2)))):
        envs.reset(seed=0)
        worst = 0.0
        for _ in range(200):
            observation, *_ = envs.step(action)
            worst = max(worst, float(np.abs(np.nan_to_num(observation, nan=np.inf)).max()))
            if not np.isfinite(worst) or worst > 1e9:
                break
        assert worst > 1e9


def test_a_film_runs_in_real_time(tmp_path: Path) -> None:
    assert _task(tmp_path).single().metadata["render_fps"] == 33
