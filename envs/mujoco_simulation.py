"""MuJoCo as a `Simulator`: all environments in one call, on threads, or one at a time.

The warm start of the constraint solver is switched off. It would make a step depend on the solver's last solution,
which is not part of a state; without it, one environment and many, and Gymnasium's own environments with the same
switch, agree to the last bit.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

try:
    import mujoco
    import mujoco.rollout
except (AttributeError, ImportError, OSError) as error:
    if not os.environ.get("MUJOCO_GL"):
        raise
    raise ImportError(
        f"MuJoCo cannot be imported with MUJOCO_GL={os.environ['MUJOCO_GL']}: its OpenGL library is missing. Install "
        "Debian's libegl1 and libgl1-mesa-dri for egl, libosmesa6 for osmesa, or unset MUJOCO_GL to train without "
        f"pictures ({error})."
    ) from error
from gymnasium.envs.mujoco.mujoco_env import expand_model_path

from envs.task_distribution import Array
from maml_rl.rl.environments.task_env import Task

__all__ = ["Initial", "Measure", "ModelFor", "MujocoBatch", "MujocoSerial", "load_model", "state_parts"]

_SPEC = mujoco.mjtState.mjSTATE_FULLPHYSICS

_SHARES_PER_THREAD = 4
"""How often a thread fetches work in a step: more balance threads better, fewer keep neighbours in one cache."""

_SIZES = ("nq", "nv", "na", "nu", "nbody", "ngeom", "nsensordata", "nmocap", "nuserdata")

Initial = Callable[[mujoco.MjModel, np.random.Generator], tuple[Array, Array]]
"""(model, rng) -> (qpos, qvel) at the start of an episode."""

Measure = Callable[[mujoco.MjModel, mujoco.MjData], Array]
"""(model, data after a step) -> what the physical state does not say, such as contact forces, [M]."""

ModelFor = Callable[[mujoco.MjModel, Task], mujoco.MjModel]
"""(model, task) -> a changed copy of the model, of the same sizes."""


def load_model(path: str) -> mujoco.MjModel:
    """Loads a model with the warm start and the automatic reset off.

    MuJoCo prints warnings about some of Gymnasium's own model files and logs them into the working folder; those about
    deprecated attributes are of no use to someone who did not write the file, and are dropped here.

    Args:
        path: an XML file, or the name of one of Gymnasium's.

    Raises:
        ValueError: there is no such file, or MuJoCo does not take it.
    """
    other: list[str] = []
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda text: None if "deprecated" in text else other.append(text))
    try:
        model = mujoco.MjModel.from_xml_path(expand_model_path(path))
    except (OSError, ValueError) as error:
        raise ValueError(f"the MuJoCo model {path} cannot be loaded: {' '.join(str(error).split())}") from error
    finally:
        mujoco.set_mju_user_warning(before)
    for text in other:
        mujoco.mju_warning(text)
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_WARMSTART
    # A simulation that diverges has to be seen, not to start again from the reference pose amid an episode.
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    return model


def state_parts(model: mujoco.MjModel) -> tuple[slice, slice]:
    """Where qpos and qvel stand in a state, [state] = time, qpos, qvel, ..."""
    return slice(1, 1 + model.nq), slice(1 + model.nq, 1 + model.nq + model.nv)


class MujocoSerial:
    """Steps environments one after the other; also draws them.

    Args:
        model: from `load_model`.
        frame_skip: physics steps for each environment step.
        initial: where episodes start.
        measure: what stands behind the physics in a state, if anything.
        model_for: the model of a task, where tasks differ in theirs.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        frame_skip: int,
        initial: Initial,
        measure: Measure | None = None,
        model_for: ModelFor | None = None,
    ) -> None:
        self.model, self.frame_skip, self._initial, self._measure = model, frame_skip, initial, measure
        self._models = _Models(model, model_for)
        self.data = mujoco.MjData(model)
        self._size = mujoco.mj_stateSize(model, _SPEC)
        self._measured = 0 if measure is None else len(measure(model, self.data))

    def initial(self, rng: np.random.Generator) -> Array:
        """The state at the start of an episode, [state]; what is measured after steps is 0 there."""
        positions, velocities = state_parts(self.model)
        state = np.zeros(self._size + self._measured)
        state[positions], state[velocities] = self._initial(self.model, rng)
        return state

    def assign(self, tasks: Sequence[Task]) -> None:
        """Makes the model of each environment's task."""
        self._models.assign(tasks)

    def advance(self, states: Array, controls: Array) -> Array:
        """See `Simulator`."""
        after = np.empty_like(states)
        for index, (model, control) in enumerate(zip(self._models.of(len(states)), controls, strict=True)):
            self.advance_one(model, states[index], control, after[index])
        return after

    def advance_one(self, model: mujoco.MjModel, state: Array, control: Array, after: Array) -> None:
        """One environment's step, written into `after`."""
        data, size = self.data, self._size
        mujoco.mj_setState(model, data, state[:size], _SPEC)
        data.ctrl[:] = control
        mujoco.mj_step(model, data, self.frame_skip)
        mujoco.mj_getState(model, data, after[:size], _SPEC)
        if self._measure is not None:
            mujoco.mj_rnePostConstraint(model, data)
            after[size:] = self._measure(model, data)


class MujocoBatch:
    """Steps all environments at once on threads; the result does not depend on their number.

    One call of `mujoco.rollout` does it, which returns states only; where something is measured besides, each thread
    steps a share of the environments.

    Args:
        model: from `load_model`.
        frame_skip: physics steps for each environment step.
        initial: where episodes start.
        num_threads: simulation threads; all cores this process may use where nothing is given.
        measure: what stands behind the physics in a state, if anything.
        model_for: the model of a task, where tasks differ in theirs.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        frame_skip: int,
        initial: Initial,
        num_threads: int | None = None,
        measure: Measure | None = None,
        model_for: ModelFor | None = None,
    ) -> None:
        threads = _usable_cores() if num_threads is None else num_threads
        if threads < 1:
            raise ValueError(f"`num_threads` must be at least 1, got {threads}.")
        self._serials = [MujocoSerial(model, frame_skip, initial, measure) for _ in range(threads)]
        self.model, self.frame_skip, self._models = model, frame_skip, _Models(model, model_for)
        self._data = [serial.data for serial in self._serials]
        self._pool = ThreadPoolExecutor(threads) if measure is not None and threads > 1 else None
        self._rollout: Any = None if measure else mujoco.rollout.Rollout(nthread=threads if threads > 1 else 0)
        self._states = np.empty((0, 0, 0))

    def initial(self, rng: np.random.Generator) -> Array:
        """The state at the start of an episode, [state]."""
        return self._serials[0].initial(rng)

    def assign(self, tasks: Sequence[Task]) -> None:
        """Makes the model of each environment's task."""
        self._models.assign(tasks)

    def models(self, count: int) -> list[mujoco.MjModel]:
        """The model of each of `count` environments.

        Raises:
            ValueError: each task has its own, and other tasks are assigned than so many.
        """
        return self._models.of(count)

    def advance(self, states: Array, controls: Array) -> Array:
        """See `Simulator`."""
        models = self.models(len(states))
        step = self._shared_out if self._rollout is None else self._rolled_out
        return step(models, states, controls)

    def close(self) -> None:
        """Ends the threads."""
        if self._rollout is not None:
            self._rollout.close()
        if self._pool is not None:
            self._pool.shutdown()

    def _rolled_out(self, models: list[mujoco.MjModel], states: Array, controls: Array) -> Array:
        shape = (len(states), self.frame_skip, states.shape[1])
        if self._states.shape != shape:
            self._states = np.empty(shape)
            self._sensors = np.empty((len(states), self.frame_skip, self.model.nsensordata))
        repeated = np.repeat(controls[:, None, :], self.frame_skip, axis=1)
        self._rollout.rollout(
            models,
            self._data,
            states,
            repeated,
            nstep=self.frame_skip,
            state=self._states,
            sensordata=self._sensors,
            skip_checks=True,
            chunk_size=-(-len(states) // (_SHARES_PER_THREAD * len(self._data))),
        )
        return self._states[:, -1].copy()

    def _shared_out(self, models: list[mujoco.MjModel], states: Array, controls: Array) -> Array:
        after = np.empty_like(states)

        def work(worker: int) -> None:
            for index in range(worker, len(states), len(self._serials)):
                self._serials[worker].advance_one(models[index], states[index], controls[index], after[index])

        if self._pool is None:
            work(0)
        else:
            list(self._pool.map(work, range(len(self._serials))))
        return after


class _Models:
    """The model of each environment: one for all, or one for each task; tasks that are one object share theirs."""

    def __init__(self, model: mujoco.MjModel, model_for: ModelFor | None) -> None:
        self._model, self._model_for = model, model_for
        self._each: list[mujoco.MjModel] = []

    def assign(self, tasks: Sequence[Task]) -> None:
        """Makes the models of the tasks, where they have their own.

        Raises:
            ValueError: `model_for` returned no copy, or one of other sizes.
        """
        if self._model_for is None:
            return
        models = {key: self._model_for(self._model, task) for key, task in {id(task): task for task in tasks}.items()}
        for changed in models.values():
            self._require_fit(changed)
        self._each = [models[id(task)] for task in tasks]

    def of(self, count: int) -> list[mujoco.MjModel]:
        """The models of `count` environments."""
        if len(self._each) != count:
            if self._model_for is not None:
                raise ValueError(f"{count} environments have {len(self._each)} models: assign their tasks first.")
            self._each = [self._model] * count
        return self._each

    def _require_fit(self, changed: Any) -> None:
        if not isinstance(changed, mujoco.MjModel) or changed is self._model:
            raise ValueError(f"`model_for` must return a changed copy of the model, got {type(changed).__name__}.")
        differing = [name for name in _SIZES if getattr(changed, name) != getattr(self._model, name)]
        if differing:
            raise ValueError(f"`model_for` must keep the model's sizes, but it changes {', '.join(differing)}.")


def _usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
