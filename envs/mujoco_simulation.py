"""MuJoCo as a `Simulator`: all environments in one call, on threads, or one at a time.

The warm start of the constraint solver is switched off. It would make a step depend on the solver's last solution,
which is not part of a state; without it, one environment and many, and Gymnasium's own environments with the same
switch, agree to the last bit.
"""

import os
from collections.abc import Callable
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

from envs.definition import Array

__all__ = ["MujocoBatch", "MujocoSerial", "load_model", "state_parts"]

_SPEC = mujoco.mjtState.mjSTATE_FULLPHYSICS

Initial = Callable[[mujoco.MjModel, np.random.Generator], tuple[Array, Array]]
"""(model, rng) -> (qpos, qvel) at the start of an episode."""


def load_model(path: str) -> mujoco.MjModel:
    """Loads a model with the warm start off.

    MuJoCo prints warnings about some of Gymnasium's own model files and logs them into the working folder; those about
    deprecated attributes are of no use to someone who did not write the file, and are dropped here.

    Args:
        path: an XML file, or the name of one of Gymnasium's.
    """
    other: list[str] = []
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda text: None if "deprecated" in text else other.append(text))
    try:
        model = mujoco.MjModel.from_xml_path(expand_model_path(path))
    finally:
        mujoco.set_mju_user_warning(before)
    for text in other:
        mujoco.mju_warning(text)
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_WARMSTART
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
    """

    def __init__(self, model: mujoco.MjModel, frame_skip: int, initial: Initial) -> None:
        self.model, self.frame_skip, self._initial = model, frame_skip, initial
        self.data = mujoco.MjData(model)
        self._size = mujoco.mj_stateSize(model, _SPEC)

    def initial(self, rng: np.random.Generator) -> Array:
        """The state at the start of an episode, [state]."""
        positions, velocities = state_parts(self.model)
        state = np.zeros(self._size)
        state[positions], state[velocities] = self._initial(self.model, rng)
        return state

    def advance(self, states: Array, controls: Array) -> Array:
        """See `Simulator`."""
        after = np.empty_like(states)
        for index, (state, control) in enumerate(zip(states, controls, strict=True)):
            mujoco.mj_setState(self.model, self.data, state, _SPEC)
            self.data.ctrl[:] = control
            mujoco.mj_step(self.model, self.data, self.frame_skip)
            mujoco.mj_getState(self.model, self.data, after[index], _SPEC)
        return after


class MujocoBatch:
    """Steps all environments in one call of `mujoco.rollout`, on threads; the result does not depend on their number.

    Args:
        model: from `load_model`.
        frame_skip: physics steps for each environment step.
        initial: where episodes start.
        num_threads: simulation threads; all cores this process may use where nothing is given.
    """

    def __init__(
        self, model: mujoco.MjModel, frame_skip: int, initial: Initial, num_threads: int | None = None
    ) -> None:
        threads = _usable_cores() if num_threads is None else num_threads
        if threads < 1:
            raise ValueError(f"`num_threads` must be at least 1, got {threads}.")
        self._serial = MujocoSerial(model, frame_skip, initial)
        self.model, self.frame_skip = model, frame_skip
        self._data = [mujoco.MjData(model) for _ in range(threads)]
        self._rollout: Any = mujoco.rollout.Rollout(nthread=threads if threads > 1 else 0)
        self._states = np.empty((0, 0, 0))

    def initial(self, rng: np.random.Generator) -> Array:
        """The state at the start of an episode, [state]."""
        return self._serial.initial(rng)

    def advance(self, states: Array, controls: Array) -> Array:
        """See `Simulator`."""
        shape = (len(states), self.frame_skip, states.shape[1])
        if self._states.shape != shape:
            self._states = np.empty(shape)
            self._models = [self.model] * len(states)
            self._sensors = np.empty((len(states), self.frame_skip, self.model.nsensordata))
        repeated = np.repeat(controls[:, None, :], self.frame_skip, axis=1)
        self._rollout.rollout(
            self._models,
            self._data,
            states,
            repeated,
            nstep=self.frame_skip,
            state=self._states,
            sensordata=self._sensors,
            skip_checks=True,
        )
        return self._states[:, -1].copy()

    def close(self) -> None:
        """Ends the threads."""
        self._rollout.close()


def _usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
