"""Half-cheetah goal velocity: run forward at a speed that the task chooses (Finn et al., 2017, section 5.3)."""

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.definition import Array, Definition, Interval, TaskArrays, positive, scaled_box, whole
from envs.mujoco_simulation import MujocoBatch, MujocoSerial, load_model, state_parts
from envs.painting import paint_mujoco
from envs.single import SingleTaskEnv
from envs.vector import NativeTaskVectorEnv
from maml_rl.rl.tasks import Task

if TYPE_CHECKING:
    import mujoco

__all__ = ["half_cheetah_vel", "half_cheetah_vel_vector"]

_BOUND = 1e6  # far beyond any state; Gymnasium's checker warns of infinite bounds


def _initial(model: "mujoco.MjModel", rng: np.random.Generator) -> tuple[Array, Array]:
    """HalfCheetah-v5's: positions of the model file plus U[-0.1, 0.1], velocities 0.1 N(0, 1)."""
    positions = model.qpos0 + rng.uniform(low=-0.1, high=0.1, size=model.nq)
    velocities = 0.1 * rng.standard_normal(model.nv)
    return positions, velocities


def _define(
    model: "mujoco.MjModel",
    velocity_range: tuple[float, float] = (0.0, 2.0),
    control_cost: float = 0.05,
    frame_skip: int = 5,
    action_scale: float = 1.0,
    horizon: int = 200,
) -> Definition:
    positive(action_scale=action_scale)
    whole(frame_skip=frame_skip, horizon=horizon)
    if not isinstance(control_cost, Real) or not 0 <= control_cost < float("inf"):
        raise ValueError(f"`control_cost` must be a number of at least 0, got {control_cost!r}.")
    if np.shape(velocity_range) != (2,):
        raise ValueError(f"`velocity_range` must be two numbers, got {velocity_range!r}.")
    low, high = velocity_range
    seconds = frame_skip * model.opt.timestep
    positions, velocities = state_parts(model)
    seen = slice(positions.start + 1, velocities.stop)  # all but the forward position

    def speed(before: Array, after: Array) -> Array:
        forward: Array = (after[:, positions.start] - before[:, positions.start]) / seconds
        return forward

    def reward(before: Array, controls: Array, after: Array, tasks: TaskArrays) -> Array:
        """-|v - g| - c sum_i u_i^2."""
        cost: Array = np.square(controls).sum(-1)
        return -np.abs(speed(before, after) - tasks["velocity"]) - control_cost * cost

    def paint(states: Array, task: Task, simulator: Any) -> NDArray[np.uint8]:
        now = float(speed(states[-2][None], states[-1][None])[0]) if len(states) > 1 else 0.0
        return paint_mujoco(simulator, states[-1], f"v {now:5.2f} m/s   goal {task['velocity']:.2f} m/s")

    return Definition(
        name="HalfCheetahVel",
        parameters={"velocity": Interval(float(low), float(high))},
        observation_space=spaces.Box(-_BOUND, _BOUND, (seen.stop - seen.start,), np.float64),
        action_space=scaled_box(model.nu, action_scale),
        horizon=horizon,
        observe=lambda states: states[:, seen].copy(),
        control=lambda actions: actions / action_scale,
        reward=reward,
        terminated=lambda after, tasks: np.zeros(len(after), bool),
        paint=paint,
    )


def half_cheetah_vel(render_mode: str | None = None, **numbers: Any) -> SingleTaskEnv:
    """A half-cheetah that is rewarded with r = -|v - g| - control_cost * sum u^2, v its forward speed over the step.

    Physics and observation, [17], are those of Gymnasium's HalfCheetah-v5. Task: ``{"velocity": g}`` in m/s. Episodes
    end at the horizon only.

    Args:
        render_mode: None or "rgb_array".
        **numbers: velocity_range ((0, 2)): g is uniform in it; ProMP and VariBAD take (0, 3). control_cost (0.05).
            frame_skip (5): physics steps of 0.01 s for each action; rllab, and so the paper, took 1. action_scale (1):
            actions in [-action_scale, action_scale] are mapped to the motors' [-1, 1]; ProMP and pytorch-maml-rl take
            10. horizon (200).

    Raises:
        ValueError: a number out of range.
    """
    model = load_model("half_cheetah.xml")
    definition = _define(model, **numbers)
    return SingleTaskEnv(definition, MujocoSerial(model, numbers.get("frame_skip", 5), _initial), render_mode)


def half_cheetah_vel_vector(
    num_envs: int, max_episode_steps: int | None = None, num_threads: int | None = None, **numbers: Any
) -> NativeTaskVectorEnv:
    """`num_envs` half-cheetahs at once; arguments as in `half_cheetah_vel`.

    Args:
        num_envs: how many.
        max_episode_steps: a shorter horizon.
        num_threads: simulation threads; all cores where nothing is given. Results do not depend on it.
        **numbers: as in `half_cheetah_vel`.
    """
    model = load_model("half_cheetah.xml")
    definition = _define(model, **numbers)
    simulator = MujocoBatch(model, numbers.get("frame_skip", 5), _initial, num_threads)
    return NativeTaskVectorEnv(definition, simulator, num_envs, max_episode_steps)
