"""Task distributions over any MuJoCo model: an XML file and array functions for observation, reward and termination."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import mujoco
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.definition import Array, Definition, TaskArrays, positive, scaled_box, whole
from envs.mujoco_simulation import Initial, Measure, ModelFor, MujocoBatch, MujocoSerial, load_model, state_parts
from envs.painting import Mark, paint_mujoco
from envs.ranges import Range
from envs.single import SingleTaskEnv
from envs.vector import NativeTaskVectorEnv
from maml_rl.rl.tasks import Task

__all__ = ["MujocoTask", "States", "at_rest", "single", "vector"]

_BOUND = 1e6  # far beyond any state; Gymnasium's checker warns of infinite bounds


class States(NamedTuple):
    """The states of n environments.

    Attributes:
        qpos: generalised positions, [n, nq].
        qvel: generalised velocities, [n, nv].
        measured: what `MujocoTask.measure` returned after the last step, [n, M]; 0 at the start of an episode.
    """

    qpos: Array
    qvel: Array
    measured: Array


def at_rest(model: mujoco.MjModel, rng: np.random.Generator) -> tuple[Array, Array]:
    """Starts in the model's reference pose, without moving."""
    return model.qpos0.copy(), np.zeros(model.nv)


def _never(after: States, tasks: TaskArrays) -> NDArray[np.bool_]:
    return np.zeros(len(after.qpos), bool)


@dataclass(frozen=True)
class MujocoTask:
    """A task distribution over a MuJoCo model. The functions work on n environments at once.

    Attributes:
        name: how messages call it.
        xml: an XML file, or the name of one of Gymnasium's.
        parameters: name -> values of the task's parameters.
        observe: states -> observations [n, O].
        reward: (states before, motor signals [n, A], states after, tasks) -> rewards [n].
        terminated: (states after, tasks) -> whether the task ended the episode, [n].
        initial: (model, rng) -> (qpos, qvel) at the start of an episode.
        frame_skip: physics steps for each action.
        horizon: steps after which an episode is cut.
        action_scale: actions in [-action_scale, action_scale] are mapped to the motors' ranges.
        measure: (model, data) -> what the physical state does not say but reward, observation or termination need, [M].
        model_for: (model, task) -> the model of a task, where tasks differ in theirs.
        caption: (states before, states after, task) -> a line of text for pictures.
        mark: task -> what is drawn into the scene, such as a goal.
    """

    name: str
    xml: str
    parameters: Mapping[str, Range]
    observe: Callable[[States], Array]
    reward: Callable[[States, Array, States, TaskArrays], Array]
    terminated: Callable[[States, TaskArrays], NDArray[np.bool_]] = _never
    initial: Initial = at_rest
    frame_skip: int = 5
    horizon: int = 200
    action_scale: float = 1.0
    measure: Measure | None = None
    model_for: ModelFor | None = None
    caption: Callable[[States, States, Task], str] | None = None
    mark: Callable[[Task], Mark] | None = None


def single(task: MujocoTask, render_mode: str | None = None) -> SingleTaskEnv:
    """One environment of the task distribution.

    Raises:
        ValueError: the model cannot be loaded, or a number is out of range.
    """
    model = load_model(task.xml)
    simulator = MujocoSerial(model, task.frame_skip, task.initial, task.measure, task.model_for)
    return SingleTaskEnv(_definition(task, model), simulator, render_mode)


def vector(
    task: MujocoTask, num_envs: int, max_episode_steps: int | None = None, num_threads: int | None = None
) -> NativeTaskVectorEnv:
    """`num_envs` environments of the task distribution that step at once.

    Args:
        task: the task distribution.
        num_envs: how many.
        max_episode_steps: a shorter horizon.
        num_threads: simulation threads; all cores where nothing is given. Results do not depend on it.

    Raises:
        ValueError: the model cannot be loaded, or a number is out of range.
    """
    model = load_model(task.xml)
    definition = _definition(task, model)
    simulator = MujocoBatch(model, task.frame_skip, task.initial, num_threads, task.measure, task.model_for)
    return NativeTaskVectorEnv(definition, simulator, num_envs, max_episode_steps)


def _definition(task: MujocoTask, model: mujoco.MjModel) -> Definition:
    positive(action_scale=task.action_scale)
    whole(frame_skip=task.frame_skip, horizon=task.horizon)
    positions, velocities = state_parts(model)
    size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    middle, half = _motor_ranges(model)

    def parts(states: Array) -> States:
        return States(states[:, positions], states[:, velocities], states[:, size:])

    def paint(states: Array, chosen: Task, simulator: Any) -> NDArray[np.uint8]:
        before, after = parts(states[[-2 if len(states) > 1 else -1]]), parts(states[[-1]])
        text = "" if task.caption is None else task.caption(before, after, chosen)
        mark = None if task.mark is None else task.mark(chosen)
        return paint_mujoco(simulator, states[-1, :size], text, mark)

    start = States(model.qpos0[None].copy(), np.zeros((1, model.nv)), _measured(task, model)[None])
    observed = _checked_observation(task, start)
    return Definition(
        name=task.name,
        parameters=task.parameters,
        observation_space=spaces.Box(-_BOUND, _BOUND, observed.shape[1:], np.float64),
        action_space=scaled_box(model.nu, task.action_scale),
        horizon=task.horizon,
        observe=lambda states: task.observe(parts(states)),
        control=lambda actions: middle + half * (actions / task.action_scale),
        reward=lambda before, controls, after, tasks: task.reward(parts(before), controls, parts(after), tasks),
        terminated=lambda after, tasks: task.terminated(parts(after), tasks),
        paint=paint,
    )


def _motor_ranges(model: mujoco.MjModel) -> tuple[Array, Array]:
    """Middle and half-width of what each motor takes; [-1, 1] where the model does not limit it."""
    limited = model.actuator_ctrllimited.astype(bool)
    low, high = np.where(limited[:, None], model.actuator_ctrlrange, [-1.0, 1.0]).T
    return (low + high) / 2, (high - low) / 2


def _measured(task: MujocoTask, model: mujoco.MjModel) -> Array:
    return np.zeros(0) if task.measure is None else np.zeros_like(task.measure(model, mujoco.MjData(model)), float)


def _checked_observation(task: MujocoTask, start: States) -> Array:
    """What is observed in the reference pose.

    Raises:
        ValueError: it is not of shape [n, O].
    """
    observed = np.asarray(task.observe(start))
    if observed.ndim != 2 or len(observed) != 1:
        raise ValueError(
            f"`observe` of {task.name} must return [n, O], got {observed.shape} for n = 1: it sees all environments at "
            "once, positions are `states.qpos` [n, nq]."
        )
    return observed
