"""Task distributions over any MuJoCo model: an XML file and array functions for observation, reward and termination."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import mujoco
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.argument_checks import positive, whole
from envs.mujoco_rendering import Mark, render_mujoco
from envs.mujoco_simulation import Initial, Measure, ModelFor, MujocoBatch, MujocoSerial, load_model, state_parts
from envs.parameter_ranges import Range
from envs.single_env import SingleTaskEnv
from envs.task_distribution import Array, TaskArrays, TaskDistribution, scaled_box
from envs.vector_env import NativeTaskVectorEnv
from maml_rl.rl.environments.task_env import Task

__all__ = ["MujocoTask", "States", "at_rest"]

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

    `envs.registration.register` makes a single and a vector environment of it known to Gymnasium.

    Attributes:
        name: how messages call it.
        xml: an XML file, or the name of one of Gymnasium's.
        parameters: name -> values of the task's parameters.
        observe: states -> observations [n, O].
        reward: (states before, motor signals [n, A], states after, tasks) -> rewards [n].
        terminated: (states after, tasks) -> whether the task ended the episode, [n].
        initial: (model, rng) -> (qpos, qvel) at the start of an episode.
        frame_skip: physics steps for each action.
        horizon: steps after which an episode is truncated.
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

    def single(self, render_mode: str | None = None) -> SingleTaskEnv:
        """One environment.

        Raises:
            ValueError: the model cannot be loaded, a number is out of range, or a function returns a wrong shape.
        """
        model = load_model(self.xml)
        distribution = _distribution(self, model)
        simulator = MujocoSerial(model, self.frame_skip, self.initial, self.measure, self.model_for)
        fps = max(1, round(1 / (model.opt.timestep * self.frame_skip)))
        return SingleTaskEnv(distribution, simulator, render_mode, fps)

    def vector(
        self, num_envs: int, max_episode_steps: int | None = None, num_threads: int | None = None
    ) -> NativeTaskVectorEnv:
        """`num_envs` environments that step at once.

        Args:
            num_envs: how many.
            max_episode_steps: a shorter horizon.
            num_threads: simulation threads; all cores where nothing is given. Results do not depend on it.

        Raises:
            ValueError: the model cannot be loaded, a number is out of range, or a function returns a wrong shape.
        """
        model = load_model(self.xml)
        distribution = _distribution(self, model)
        simulator = MujocoBatch(model, self.frame_skip, self.initial, num_threads, self.measure, self.model_for)
        return NativeTaskVectorEnv(distribution, simulator, num_envs, max_episode_steps)


def _distribution(task: MujocoTask, model: mujoco.MjModel) -> TaskDistribution:
    positive(action_scale=task.action_scale)
    whole(frame_skip=task.frame_skip, horizon=task.horizon)
    positions, velocities = state_parts(model)
    size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    middle, half = _motor_ranges(model)

    def parts(states: Array) -> States:
        return States(states[:, positions], states[:, velocities], states[:, size:])

    def render(states: Array, chosen: Task) -> NDArray[np.uint8]:
        before, after = parts(states[[-2 if len(states) > 1 else -1]]), parts(states[[-1]])
        text = "" if task.caption is None else task.caption(before, after, chosen)
        mark = None if task.mark is None else task.mark(chosen)
        return render_mujoco(model, states[-1, :size], text, mark)

    observed = _checked(task, model, middle)
    return TaskDistribution(
        name=task.name,
        parameters=task.parameters,
        observation_space=spaces.Box(-_BOUND, _BOUND, observed.shape[1:], np.float64),
        action_space=scaled_box(model.nu, task.action_scale),
        horizon=task.horizon,
        observe=lambda states: np.array(task.observe(parts(states)), np.float64),  # a copy: states are written to
        control=lambda actions: middle + half * (actions / task.action_scale),
        reward=lambda before, controls, after, tasks: task.reward(parts(before), controls, parts(after), tasks),
        terminated=lambda after, tasks: task.terminated(parts(after), tasks),
        render=render,
    )


def _motor_ranges(model: mujoco.MjModel) -> tuple[Array, Array]:
    """Middle and half-width of what each motor takes; [-1, 1] where the model does not limit it."""
    limited = model.actuator_ctrllimited.astype(bool)
    low, high = np.where(limited[:, None], model.actuator_ctrlrange, [-1.0, 1.0]).T
    return (low + high) / 2, (high - low) / 2


def _checked(task: MujocoTask, model: mujoco.MjModel, controls: Array) -> Array:
    """What two environments in the reference pose observe, after all functions have been tried on them.

    Raises:
        ValueError: one of them returns something of another shape than it has to; the message names it.
    """
    if not model.nu:
        raise ValueError(f"the model of {task.name} has no actuators, so there is nothing to act with.")
    for name, values in task.parameters.items():
        if not isinstance(values, Range):
            raise ValueError(f"parameter {name!r} of {task.name} must be one of envs.parameter_ranges, got {values!r}.")
    positions, velocities = task.initial(model, np.random.default_rng(0))
    _require_shape(task, "initial (positions)", positions, (model.nq,))
    _require_shape(task, "initial (velocities)", velocities, (model.nv,))
    measured = np.zeros(0) if task.measure is None else np.asarray(task.measure(model, mujoco.MjData(model)), float)
    if measured.ndim != 1:
        raise ValueError(f"`measure` of {task.name} must return [M], got {measured.shape}.")
    states = States(np.stack([positions] * 2), np.stack([velocities] * 2), np.zeros((2, len(measured))))
    rng = np.random.default_rng(0)
    drawn = {name: np.stack([values.draw(rng)] * 2) for name, values in task.parameters.items()}
    observed = np.asarray(task.observe(states))
    if observed.ndim != 2 or len(observed) != 2:
        raise ValueError(
            f"`observe` of {task.name} must return [n, O], got {observed.shape} for n = 2: it sees all environments at "
            "once, positions are `states.qpos` [n, nq]."
        )
    with np.errstate(all="ignore"):
        rewards = task.reward(states, np.stack([controls] * 2), states, drawn)
    _require_shape(task, "reward", rewards, (2,), "[n]")
    _require_shape(task, "terminated", task.terminated(states, drawn), (2,), "[n]")
    return observed


def _require_shape(task: MujocoTask, name: str, value: Any, shape: tuple[int, ...], letters: str = "") -> None:
    if np.shape(value) != shape:
        expected = f"{letters} = {shape} for n = 2" if letters else str(shape)
        raise ValueError(f"`{name}` of {task.name} must return {expected}, got {np.shape(value)}.")
