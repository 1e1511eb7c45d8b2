"""Half-cheetahs, ants, walkers and hoppers against Gymnasium's own environments, warm start off."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium.envs.mujoco.ant_v5 import AntEnv
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
from gymnasium.envs.mujoco.mujoco_env import expand_model_path
from gymnasium.envs.mujoco.walker2d_v5 import Walker2dEnv

from envs.mujoco_simulation import load_model
from envs.random_parameters import changed_model


def _theirs(make: Callable[..., Any], **arguments: Any) -> Any:
    mujoco.set_mju_user_warning(lambda text: None)
    try:
        env = make(**arguments)
    finally:
        mujoco.set_mju_user_warning(None)
    env.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_WARMSTART
    return env


def _pair(name: str, task: dict[str, Any], **arguments: Any) -> tuple[Any, Any]:
    single = gym.make(f"envs:{name}-v0", **arguments).unwrapped
    many = gym.make_vec(f"envs:{name}-v0", num_envs=2, num_threads=2, **arguments)
    other = many.sample_tasks(1, np.random.default_rng(9))[0]
    single.reset(seed=42, options={"task": task})
    many.reset(seed=[7, 42], options={"tasks": [other, task]})
    return single, many


def _rollout(theirs: Any, single: Any, many: Any, steps: int = 150) -> Any:
    """Yields both sides' step results; restarts all where an episode ends, with new seeds."""
    rng, seed = np.random.default_rng(0), 42
    expected, _ = theirs.reset(seed=seed)
    for _ in range(steps):
        before = theirs.data.qpos.copy()
        action = rng.uniform(-1, 1, theirs.action_space.shape)
        expected, _, ended, _, info = theirs.step(action)
        observation, reward, stopped, truncated, _ = single.step(action)
        observations, rewards, *ends, _ = many.step(np.stack([rng.uniform(-1, 1, len(action)), action]))
        assert np.array_equal(observation, expected)
        assert np.array_equal(observations[1], expected)
        assert reward == rewards[1]
        assert [stopped, truncated] == [end[1] for end in ends]
        yield theirs, before, action, info, ended, stopped, reward
        if stopped or truncated or ended:
            seed += 1
            theirs.reset(seed=seed)
            single.reset(seed=seed)
            many.reset(seed=[7, seed])
        elif ends[0][0] or ends[1][0]:
            many.reset(options={"reset_mask": np.array([True, False])})


CHEETAHS: list[tuple[str, dict[str, float], Callable[[float], float]]] = [
    ("HalfCheetahVel", {"velocity": 1.3}, lambda velocity: -abs(velocity - 1.3)),
    ("HalfCheetahDir", {"direction": -1.0}, lambda velocity: -velocity),
    ("HalfCheetahDir", {"direction": 1.0}, lambda velocity: velocity),
]


@pytest.mark.parametrize("frame_skip", [1, 5])
@pytest.mark.parametrize(("name", "task", "gain"), CHEETAHS)
def test_half_cheetahs_are_gymnasiums(
    name: str, task: dict[str, float], gain: Callable[[float], float], frame_skip: int
) -> None:
    theirs = _theirs(HalfCheetahEnv, frame_skip=frame_skip)
    single, many = _pair(name, task, frame_skip=frame_skip)
    for _, _, action, info, _, _, reward in _rollout(theirs, single, many, 200):
        own = gain(info["x_velocity"]) - 0.05 * float(np.square(action).sum())
        assert reward == pytest.approx(own, rel=1e-12, abs=1e-12)


def test_the_action_scale_divides_and_the_cost_counts_what_the_motors_get() -> None:
    action, results = np.linspace(-1, 1, 6), []
    for scale in (1.0, 10.0):
        env = gym.make("envs:HalfCheetahVel-v0", action_scale=scale).unwrapped
        assert env.action_space.high.tolist() == [scale] * 6
        env.reset(seed=0, options={"task": {"velocity": 1.0}})
        results.append(env.step(action * scale)[:2])
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-12, atol=1e-12)
    assert results[0][1] == pytest.approx(results[1][1])


def test_numbers_are_constructor_arguments() -> None:
    env = gym.make("envs:HalfCheetahVel-v0", velocity_range=(0.5, 3.0), control_cost=0.0, frame_skip=2).unwrapped
    env.reset(seed=0, options={"task": {"velocity": 3.0}})
    _, reward, *_ = env.step(np.ones(6))
    moved = env._states[-1][1] - env._states[-2][1]
    assert reward == pytest.approx(-abs(moved / 0.02 - 3.0))
    velocities = [task["velocity"] for task in env.sample_tasks(2000, np.random.default_rng(0))]
    assert 0.5 <= min(velocities) <= max(velocities) <= 3.0
    assert np.mean(velocities) == pytest.approx(1.75, abs=0.05)


def _ant(frame_skip: int) -> AntEnv:
    return _theirs(
        AntEnv,
        frame_skip=frame_skip,
        include_cfrc_ext_in_observation=False,
        ctrl_cost_weight=0.005,
        contact_cost_weight=0.0005,
        healthy_reward=0.05,
    )


ANTS: list[tuple[str, dict[str, Any], Callable[[np.ndarray, np.ndarray], float]]] = [
    ("AntVel", {"velocity": 1.3}, lambda velocity, place: 1 - abs(velocity[0] - 1.3)),
    ("AntDir", {"angle": 0.0}, lambda velocity, place: velocity[0]),
    ("AntDir", {"angle": float(np.pi)}, lambda velocity, place: -velocity[0]),
    ("AntGoal", {"goal": [1.0, -2.0]}, lambda velocity, place: 4 - abs(place[0] - 1) - abs(place[1] + 2)),
]


@pytest.mark.parametrize("frame_skip", [2, 5])
@pytest.mark.parametrize(("name", "task", "gain"), ANTS, ids=lambda value: value if isinstance(value, str) else "")
def test_ants_are_gymnasiums(
    name: str, task: dict[str, Any], gain: Callable[[np.ndarray, np.ndarray], float], frame_skip: int
) -> None:
    theirs = _ant(frame_skip)
    single, many = _pair(name, task, frame_skip=frame_skip)
    contacts = 0.0
    for env, before, _, info, ended, stopped, reward in _rollout(theirs, single, many):
        # Gymnasium's costs and bonus; its own positions, because its velocity is that of an earlier physics step.
        velocity = (env.data.qpos[:2] - before[:2]) / (0.01 * frame_skip)
        costs = info["reward_ctrl"] + info["reward_contact"] + info["reward_survive"]
        assert reward == pytest.approx(gain(velocity, env.data.qpos[:2]) + costs, rel=1e-12, abs=1e-12)
        assert stopped == ended
        contacts += info["reward_contact"]
    assert contacts < 0  # forces were felt


def test_an_ant_falls_where_gymnasiums_does() -> None:
    theirs, env = _ant(5), gym.make("envs:AntDir-v0").unwrapped
    theirs.reset(seed=0)
    env.reset(seed=0)
    fallen = []
    for height in (0.1, 0.19, 0.2, 0.6, 1.0, 1.01, np.nan):
        state = env._states[-1].copy()
        state[3] = height
        theirs.set_state(state[1:16], state[16:30])
        ended = env.distribution.terminated(state[None], {"angle": np.zeros(1)})
        assert bool(ended[0]) == (not theirs.is_healthy)
        fallen.append(bool(ended[0]))
    assert fallen == [True, True, False, False, False, True, True]
    standing = gym.make("envs:AntDir-v0", terminates=False).unwrapped
    assert not standing.distribution.terminated(state[None], {"angle": np.zeros(1)})[0]


def test_an_ant_in_all_directions_is_rewarded_along_its_own() -> None:
    env = gym.make("envs:AntDir-v0", directions="all", contact_cost=0.0, control_cost=0.0, survival=0.0).unwrapped
    angle = 2.1
    env.reset(seed=0, options={"task": {"angle": angle}})
    before = env._states[-1][1:3].copy()
    _, reward, *_ = env.step(np.ones(8))
    velocity = (env._states[-1][1:3] - before) / 0.05
    assert reward == pytest.approx(velocity @ [np.cos(angle), np.sin(angle)])


def _zero(name: str) -> dict[str, list[float]]:
    space = gym.make(f"envs:{name}-v0").unwrapped.distribution.parameters
    return {part: [0.0] * values.shape[0] for part, values in space.items()}


@pytest.mark.parametrize(("name", "make"), [("Walker2dRandParams", Walker2dEnv), ("HopperRandParams", HopperEnv)])
@pytest.mark.parametrize("changed", [False, True])
def test_walkers_and_hoppers_are_gymnasiums_with_changed_bodies(name: str, make: Any, changed: bool) -> None:
    theirs = _theirs(make, terminate_when_unhealthy=True)
    task: dict[str, Any] = _zero(name)
    if changed:
        task = gym.make(f"envs:{name}-v0").unwrapped.sample_tasks(1, np.random.default_rng(4))[0]
        model = theirs.model
        model.body_mass[1:] *= 1.5 ** np.array(task["mass"])
        model.body_inertia[1:] *= (1.5 ** np.array(task["inertia"]))[:, None]
        model.dof_damping[3:] *= 1.3 ** np.array(task["damping"])
        model.geom_friction[:] *= (1.5 ** np.array(task["friction"]))[:, None]
        mujoco.mj_setConst(model, theirs.data)
    single, many = _pair(name, task)
    ends = 0
    for _, _, _, info, ended, stopped, reward in _rollout(theirs, single, many, 300):
        own = info["reward_forward"] + info["reward_ctrl"] + info["reward_survive"]
        assert reward == pytest.approx(own, rel=1e-12, abs=1e-12)
        assert stopped == ended
        ends += ended
    assert ends > 0


@pytest.mark.parametrize(
    ("name", "xml"), [("Walker2dRandParams", "walker2d_v5.xml"), ("HopperRandParams", "hopper.xml")]
)
def test_a_changed_body_is_one_whose_file_says_so(name: str, xml: str) -> None:
    """The compiler of MuJoCo, given the changed numbers, derives the same constants as the changed copy has."""
    task = gym.make(f"envs:{name}-v0").unwrapped.sample_tasks(1, np.random.default_rng(2))[0]
    original = load_model(xml)
    ours = changed_model(original, task)
    mujoco.set_mju_user_warning(lambda text: None)
    try:
        spec = mujoco.MjSpec.from_file(expand_model_path(xml))
        for body in spec.bodies[1:]:
            index = original.body(body.name).id  # older versions list them in another order
            body.explicitinertial = True
            body.mass = original.body_mass[index] * 1.5 ** task["mass"][index - 1]
            body.inertia = original.body_inertia[index] * 1.5 ** task["inertia"][index - 1]
            body.ipos, body.iquat = original.body_ipos[index], original.body_iquat[index]
        for joint in spec.joints:
            place = original.joint(joint.name).id - 3  # the root's three joints are not damped
            if place >= 0:
                joint.damping = joint.damping * 1.3 ** task["damping"][place]
        for geom in spec.geoms:
            geom.friction = np.array(geom.friction) * 1.5 ** task["friction"][original.geom(geom.name).id]
        spec.compiler.inertiafromgeom = mujoco.mjtInertiaFromGeom.mjINERTIAFROMGEOM_FALSE
        spec.compiler.balanceinertia = False
        theirs = spec.compile()
    except (AttributeError, ValueError) as error:
        pytest.skip(f"this MuJoCo cannot compile the changed body: {error}")
    finally:
        mujoco.set_mju_user_warning(None)
    for part in ("body_mass", "body_inertia", "body_subtreemass", "body_invweight0", "dof_invweight0", "dof_damping"):
        np.testing.assert_allclose(getattr(ours, part), getattr(theirs, part), rtol=1e-9, err_msg=part)
    assert np.array_equal(original.body_mass, load_model(xml).body_mass)  # the original stays


def test_bodies_do_not_mix() -> None:
    """Two walkers in one call move as each does alone, and changing tasks changes models."""
    many = gym.make_vec("envs:Walker2dRandParams-v0", num_envs=3, num_threads=2)
    light, heavy = _zero("Walker2dRandParams"), {**_zero("Walker2dRandParams"), "mass": [3.0] * 7}
    observed: dict[str, np.ndarray] = {}
    for order in ((light, heavy, light), (heavy, light, heavy)):
        many.reset(seed=[1, 1, 1], options={"tasks": list(order)})
        observations, *_ = many.step(np.full((3, 6), 0.5))
        for task, observation in zip(order, observations, strict=True):
            key = str(task["mass"])
            assert np.array_equal(observed.setdefault(key, observation), observation)
    assert len(observed) == 2
    assert not np.array_equal(*observed.values())
