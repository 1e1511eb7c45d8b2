"""Policies to Stable-Baselines3 and back: the same actions, the same distribution, returns that agree, learning on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

pytest.importorskip("stable_baselines3")

from stable_baselines3 import A2C, PPO, SAC
from stable_baselines3.common.evaluation import evaluate_policy

from maml_rl.rl.environments.vector import EnvironmentConfig, make_single, make_vector
from maml_rl.rl.policies import PolicyConfig, policy_for
from maml_rl.rl.policy_learner import POLICY
from maml_rl.run.finished_run import open_run
from maml_rl.sb3.policy import params_of, to_ppo
from maml_rl.sb3.vec_env import TaskVecEnv
from maml_rl.systems.maml_trpo import Config, System

Script = Callable[[str, list[str]], int]
CASES = [
    ("envs:Navigation2D-v0", {"goal": [0.3, 0.2]}, "relu"),
    ("envs:HalfCheetahVel-v0", {"velocity": 1.0}, "tanh"),
    ("envs:Bandit-v0", {"chances": [0.1, 0.9, 0.5, 0.2, 0.3]}, "relu"),
]


def _policy(name: str, activation: str) -> tuple[Any, PolicyConfig, dict[str, torch.Tensor], EnvironmentConfig]:
    environment = EnvironmentConfig(name)
    config = PolicyConfig(hidden=[16, 8], activation=activation, initial_std=0.3)
    env = make_single(environment)
    policy = policy_for(config, env.observation_space, env.action_space)
    params = policy.initial(torch.Generator().manual_seed(0), torch.float32)
    return policy, config, {key: leaf + 0.1 * torch.randn_like(leaf) for key, leaf in params.items()}, environment


@pytest.mark.parametrize(("name", "task", "activation"), CASES, ids=lambda value: value if ":" in str(value) else "")
def test_actions_and_log_probabilities_survive_saving(
    name: str, task: dict[str, Any], activation: str, tmp_path: Path
) -> None:
    policy, config, params, environment = _policy(name, activation)
    to_ppo(config, params, TaskVecEnv(make_vector(environment, 1), task)).save(tmp_path / "policy.zip")
    model = PPO.load(tmp_path / "policy.zip")
    env = make_single(environment)
    seen = np.stack([env.observation_space.sample() for _ in range(50)]).astype(np.float32)
    acts = policy.act(params, torch.from_numpy(seen))
    ours = acts.mode().numpy()
    if isinstance(env.action_space, gym.spaces.Box):
        ours = np.clip(ours, env.action_space.low, env.action_space.high)
    np.testing.assert_allclose(model.predict(seen, deterministic=True)[0], ours, atol=1e-6)
    actions = torch.from_numpy(np.stack([env.action_space.sample() for _ in range(50)]))
    actions = actions.float() if isinstance(env.action_space, gym.spaces.Box) else actions
    _, theirs, _ = model.policy.evaluate_actions(torch.from_numpy(seen), actions)
    torch.testing.assert_close(acts.log_prob(actions), theirs.detach(), rtol=1e-4, atol=1e-4)
    back = params_of(model, config)
    assert back.keys() == params.keys()
    assert all(torch.equal(back[key], params[key]) for key in params)


@pytest.mark.parametrize(
    "more", [[], ["--policy.context", "3", "--inner.adapts", "context", "--inner.learning_rate", "1.0"]]
)
def test_an_export_is_the_adapted_policy(more: list[str], tmp_path: Path, script: Script) -> None:
    run, output = tmp_path / "run", tmp_path / "policy.zip"
    small = ["--tasks", "2", "--episodes", "5", "--iterations", "2", "--torch_threads", "1", "--policy.hidden", "[16]"]
    assert script("train", ["--output", str(run), *small, *more]) == 0
    task = {"goal": [0.3, 0.4]}
    assert script("export", ["--run", str(run), "--task", json.dumps(task), "--output", str(output)]) == 0
    model, seen = PPO.load(output), torch.randn(20, 2)
    with open_run(run, "best") as opened:
        _, collected = opened.system.adapt_held_out(opened.state, 1, 1000, [task], 5)
        before, adapted = (
            opened.system.policy.act({name: leaf[0] for name, leaf in collected.params(point).items()}, seen)
            for point in (0, 1)
        )
    theirs = model.policy.get_distribution(seen).distribution
    torch.testing.assert_close(theirs.mean, adapted.mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(theirs.stddev, adapted.log_std.exp().expand(20, 2), rtol=0, atol=1e-6)
    assert not torch.allclose(theirs.mean, before.mean, atol=1e-3)


def test_a_spread_below_its_floor_is_exported_as_the_floor() -> None:
    config = PolicyConfig(hidden=[16], minimum_std=0.5)
    system = System(Config(policy=config, tasks=1, episodes=1))
    params = {**system.initial_state()["meta"][POLICY], "log_std": torch.tensor([-3.0, 0.0])}
    model = to_ppo(config, params, TaskVecEnv(make_vector(EnvironmentConfig(), 1)))
    torch.testing.assert_close(model.policy.log_std.exp().detach(), torch.tensor([0.5, 1.0]))


def test_an_exported_policy_earns_what_it_earned_here_and_goes_on_learning(tmp_path: Path, script: Script) -> None:
    run, output = tmp_path / "run", tmp_path / "policy.zip"
    small = ["--tasks", "4", "--episodes", "10", "--iterations", "4", "--torch_threads", "1"]
    assert script("train", ["--output", str(run), "--policy.hidden", "[16]", *small]) == 0
    task = {"goal": [0.3, 0.4]}
    argv = ["--run", str(run), "--task", json.dumps(task), "--steps", "2", "--output", str(output)]
    assert script("export", [*argv, "--episodes", "20"]) == 0
    config = EnvironmentConfig("envs:Navigation2D-v0")
    env = TaskVecEnv(make_vector(config, 20), task)
    model = PPO.load(output, env=env, n_steps=50, batch_size=100)
    with pytest.warns(UserWarning, match="Monitor"):
        theirs, spread = evaluate_policy(model, env, n_eval_episodes=200, deterministic=False)
    system = System(Config(policy=PolicyConfig(hidden=[16]), tasks=1, episodes=1))
    params = params_of(model, system.config.policy)
    _, collected = system.adapt_held_out({"meta": {POLICY: params}}, 0, 5, [task], 200)
    assert float(collected.trajectories[0].returns.mean()) == pytest.approx(theirs, abs=4 * spread / np.sqrt(100))
    before = {name: leaf.clone() for name, leaf in model.policy.state_dict().items()}
    model.learn(1000)
    assert any(not torch.equal(before[name], leaf) for name, leaf in model.policy.state_dict().items())


def test_a_model_is_the_start_of_a_run_that_resumes_without_it(tmp_path: Path, script: Script) -> None:
    env = TaskVecEnv(make_vector(EnvironmentConfig(), 2))
    kwargs = {"net_arch": {"pi": [16], "vf": [16]}, "activation_fn": torch.nn.ReLU}
    model = PPO("MlpPolicy", env, policy_kwargs=kwargs, n_steps=50, batch_size=50, device="cpu")
    model.save(tmp_path / "ppo.zip")
    start, run = str(tmp_path / "ppo.zip"), tmp_path / "run"
    argv = ["--output", str(run), "--tasks", "2", "--episodes", "3", "--torch_threads", "1"]
    system = System(Config(policy=PolicyConfig(hidden=[16]), start=start, tasks=1, episodes=1))
    expected = params_of(model, system.config.policy)
    assert all(torch.equal(leaf, expected[name]) for name, leaf in system.initial_state()["meta"][POLICY].items())
    assert script("train", [*argv, "--policy.hidden", "[16]", "--start", start, "--iterations", "1"]) == 0
    (tmp_path / "ppo.zip").unlink()
    assert script("train", ["--output", str(run), "--resume", "--iterations", "2"]) == 0
    assert script("evaluate", ["--run", str(run), "--tasks", "2", "--episodes", "2"]) == 0


def test_a_policy_with_a_context_starts_as_the_model(tmp_path: Path) -> None:
    env = TaskVecEnv(make_vector(EnvironmentConfig(), 2))
    kwargs = {"net_arch": {"pi": [16], "vf": [16]}, "activation_fn": torch.nn.ReLU}
    model = PPO("MlpPolicy", env, policy_kwargs=kwargs, n_steps=50, batch_size=50, device="cpu")
    model.save(tmp_path / "ppo.zip")
    policy = PolicyConfig(hidden=[16], context=3)
    system = System(Config(policy=policy, start=str(tmp_path / "ppo.zip"), tasks=1, episodes=1))
    params = system.learner.begin(system.initial_state()["meta"]).params
    assert params["context"].tolist() == [0, 0, 0]
    assert params["layer0.weight"][:, 2:].abs().min() > 0  # or no gradient would reach the context
    seen = torch.randn(7, 2)
    expected = model.policy.get_distribution(seen).distribution.mean
    torch.testing.assert_close(system.policy.act(params, seen).mean, expected)


def test_models_that_do_not_fit_are_refused_by_name(
    tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    env = TaskVecEnv(make_vector(EnvironmentConfig(), 2))
    relu = {"net_arch": {"pi": [16], "vf": [16]}, "activation_fn": torch.nn.ReLU}
    PPO("MlpPolicy", env, policy_kwargs=relu, device="cpu").save(tmp_path / "relu.zip")
    PPO("MlpPolicy", env, policy_kwargs={**relu, "activation_fn": torch.nn.Tanh}, device="cpu").save(tmp_path / "tanh")
    A2C("MlpPolicy", env, policy_kwargs=relu, device="cpu").save(tmp_path / "a2c.zip")
    SAC("MlpPolicy", env, device="cpu", buffer_size=10).save(tmp_path / "sac.zip")
    PPO("MlpPolicy", "CartPole-v1", policy_kwargs=relu, device="cpu").save(tmp_path / "cart.zip")
    (tmp_path / "text.zip").write_text("not a model")
    two = gym.make("envs:Bandit-v0", arms=2)
    two = gym.wrappers.TransformObservation(
        two, lambda seen: np.repeat(seen, 2), gym.spaces.Box(0.0, 1.0, (2,), np.float64)
    )
    PPO("MlpPolicy", two, policy_kwargs=relu, device="cpu").save(tmp_path / "discrete.zip")
    run = tmp_path / "run"
    argv = ["--output", str(run), "--tasks", "1", "--episodes", "1", "--iterations", "1", "--policy.hidden", "[16]"]
    for name, message in (
        ("nowhere", "is not there"),
        ("text", "holds no PPO or A2C model"),
        ("tanh", "has the activation Tanh, `policy.activation` is 'relu'"),
        ("sac", "holds no PPO or A2C model"),
        ("discrete", "does not fit the environment: log_std must be (2,), got none"),
        ("cart", "does not fit the environment: layer0.weight must be (16, 2), got (16, 4)"),
    ):
        capsys.readouterr()
        assert script("train", [*argv, "--start", str(tmp_path / f"{name}.zip")]) == 2, name
        told = capsys.readouterr().err.strip()
        assert message in told
        assert "\n" not in told
        assert not run.exists()
    wide = [*argv[:-1], "[16, 16]", "--start", str(tmp_path / "relu.zip")]
    assert script("train", wide) == 2
    assert "has the hidden layers [16], `policy.hidden` is [16, 16]" in capsys.readouterr().err
    assert script("train", [*argv, "--start", str(tmp_path / "a2c.zip")]) == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--steps", "1"], "`task` must say what to adapt to"),
        (["--task", "{goal}"], "must be JSON"),
        (["--task", '{"goal": [3, 3]}'], "is refused"),
        (["--steps", "-1"], "`steps` must be at least 0"),
        (["--steps", "0", "--output", "policy.pt"], "must end in .zip"),
    ],
)
def test_exports_that_make_no_sense_are_refused(
    more: list[str], message: str, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    argv = ["--output", str(run), "--tasks", "1", "--episodes", "1", "--iterations", "1", "--policy.hidden", "[4]"]
    assert script("train", argv) == 0
    capsys.readouterr()
    assert script("export", ["--run", str(run), "--output", str(tmp_path / "policy.zip"), *more]) == 2
    assert message in capsys.readouterr().err
