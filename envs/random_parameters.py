"""Walkers and hoppers whose bodies the task changes: masses, inertias, damping and friction.

After the environments that ProMP (Rothfuss et al., 2019) and PEARL (Rakelly et al., 2019) were tried on: mass and
inertia of each body, damping of each joint and friction of each geom times base^u, u uniform in [-3, 3], with base 1.5,
and 1.3 for the damping. The inertias of a body share one factor, and so do the friction coefficients of a geom.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from envs.argument_checks import not_negative, positive
from envs.locomotion import forward_velocity
from envs.mujoco_simulation import load_model
from envs.mujoco_tasks import MujocoTask, States
from envs.parameter_ranges import Interval
from envs.task_distribution import Array, TaskArrays
from maml_rl.rl.environments.task_env import Task

__all__ = ["changed_model", "hopper_rand_params", "walker_2d_rand_params"]

_TIMESTEP = 0.002  # of both model files, in s
_BASES = {"mass": 1.5, "inertia": 1.5, "damping": 1.3, "friction": 1.5}


def changed_model(model: mujoco.MjModel, task: Task) -> mujoco.MjModel:
    """A copy of the model whose numbers are multiplied by base^u, u being the task's.

    Args:
        model: the original.
        task: "mass" and "inertia", an exponent for each body but the world; "damping", one for each degree of freedom
            that is damped; "friction", one for each geom.
    """
    changed = copy.copy(model)
    factors = {name: base ** np.asarray(task[name], float) for name, base in _BASES.items()}
    changed.body_mass[1:] *= factors["mass"]
    changed.body_inertia[1:] *= factors["inertia"][:, None]
    changed.dof_damping[_damped(model)] *= factors["damping"]
    changed.geom_friction[:] *= factors["friction"][:, None]
    mujoco.mj_setConst(changed, mujoco.MjData(changed))
    return changed


def _damped(model: mujoco.MjModel) -> NDArray[np.bool_]:
    damped: NDArray[np.bool_] = model.dof_damping.ravel()[: model.nv] > 0
    return damped


def _initial(model: mujoco.MjModel, rng: np.random.Generator) -> tuple[Array, Array]:
    """Gymnasium's: positions of the model file and zero velocities, both plus U[-0.005, 0.005]."""
    positions = model.qpos0 + rng.uniform(low=-5e-3, high=5e-3, size=model.nq)
    return positions, rng.uniform(low=-5e-3, high=5e-3, size=model.nv)


def _observe(states: States) -> Array:
    """Walker2d-v5's and Hopper-v5's: all positions but the first, velocities clipped to [-10, 10]."""
    return np.concatenate([states.qpos[:, 1:], np.clip(states.qvel, -10.0, 10.0)], axis=1)


def _walker_stands(states: States) -> NDArray[np.bool_]:
    height, angle = states.qpos[:, 1], states.qpos[:, 2]
    stands: NDArray[np.bool_] = (height > 0.8) & (height < 2.0) & (np.abs(angle) < 1.0)
    return stands


def _hopper_stands(states: States) -> NDArray[np.bool_]:
    height, angle = states.qpos[:, 1], states.qpos[:, 2]
    rest = np.concatenate([states.qpos[:, 2:], states.qvel], axis=1)
    stands: NDArray[np.bool_] = (height > 0.7) & (np.abs(angle) < 0.2) & (np.abs(rest) < 100.0).all(-1)
    return stands


class _Body(NamedTuple):
    """Which robot runs: its name, its model file, and whether it stands, [n]."""

    name: str
    xml: str
    stands: Callable[[States], NDArray[np.bool_]]


def _runner(
    body: _Body,
    log_scale: float = 3.0,
    control_cost: float = 1e-3,
    survival: float = 1.0,
    frame_skip: int = 4,
    action_scale: float = 1.0,
    horizon: int = 200,
) -> MujocoTask:
    """A robot with a body of its own in every task, and r = v + survival - control_cost * sum u^2.

    Observation, reward and end of an episode are those of Gymnasium's environment. Task: exponents for "mass",
    "inertia", "damping" and "friction", see `changed_model`.

    Args:
        body: which robot.
        log_scale: the exponents are uniform in [-log_scale, log_scale].
        control_cost: of the squared motor signals u.
        survival: for each step that the robot stands.
        frame_skip: physics steps of 0.002 s for each action.
        action_scale: actions in [-action_scale, action_scale] are mapped to the motors' ranges.
        horizon: steps of an episode.

    Raises:
        ValueError: a number out of range.
    """
    positive(log_scale=log_scale)
    not_negative(control_cost=control_cost, survival=survival)
    model = load_model(body.xml)
    sizes = {
        "mass": model.nbody - 1,
        "inertia": model.nbody - 1,
        "damping": int(_damped(model).sum()),
        "friction": model.ngeom,
    }
    seconds = frame_skip * _TIMESTEP

    def reward(before: States, controls: Array, after: States, tasks: TaskArrays) -> Array:
        bonus = survival * body.stands(after)
        return forward_velocity(before, after, seconds) + bonus - control_cost * np.square(controls).sum(-1)

    def caption(before: States, after: States, task: Task) -> str:
        return f"v {float(forward_velocity(before, after, seconds)[0]):5.2f} m/s   {_mean_factors(task)}"

    return MujocoTask(
        name=body.name,
        xml=body.xml,
        parameters={name: Interval((-log_scale,) * size, (log_scale,) * size) for name, size in sizes.items()},
        observe=_observe,
        reward=reward,
        terminated=lambda after, tasks: ~body.stands(after),
        initial=_initial,
        frame_skip=frame_skip,
        action_scale=action_scale,
        horizon=horizon,
        model_for=changed_model,
        caption=caption,
    )


def _mean_factors(task: Task) -> str:
    factors = [f"{name} x {base ** float(np.mean(task[name])):.2f}" for name, base in _BASES.items()]
    return "   ".join(factors)


walker_2d_rand_params = partial(_runner, _Body("Walker2dRandParams", "walker2d_v5.xml", _walker_stands))
"""Walker2d-v5, observation [17]. Task: ``{"mass": [7], "inertia": [7], "damping": [6], "friction": [8]}``."""

hopper_rand_params = partial(_runner, _Body("HopperRandParams", "hopper.xml", _hopper_stands))
"""Hopper-v5, observation [11]. Task: ``{"mass": [4], "inertia": [4], "damping": [3], "friction": [5]}``."""
