"""Pre-trains a policy with Stable-Baselines3's PPO on task environments, as a start for meta-training.

    python docs/examples/pretrain_with_ppo.py envs:AntVel-v0 '{"frame_skip": 2}' '{"velocity": 1.5}' 1500000 ppo.zip

The arguments are the environment, its constructor's arguments, the task (null for a different one in each
sub-environment, drawn anew every hundred thousand steps), environment steps, the output, and the word `oracle` if the
policy is to see the task. The policy has two layers of 64 units with tanh: meta-train, or evaluate what was made here,
with `policy: {hidden: [64, 64], activation: tanh}`.
"""

import json
import sys

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor

from maml_rl.rl.environments.vector import EnvironmentConfig, make_vector
from maml_rl.sb3.vec_env import TaskVecEnv

ENVIRONMENTS, SEED, ROUND = 32, 1, 100_000


def main(name: str, arguments: str, task: str, steps: str, output: str, view: str = "") -> None:
    torch.set_num_threads(1)
    config = EnvironmentConfig(name, json.loads(arguments), show_task=view == "oracle")
    tasks = TaskVecEnv(make_vector(config, ENVIRONMENTS), json.loads(task), SEED)
    env = VecMonitor(tasks)
    policy = {"net_arch": {"pi": [64, 64], "vf": [64, 64]}, "activation_fn": torch.nn.Tanh, "log_std_init": -0.7}
    model = PPO(
        "MlpPolicy",
        env,
        n_steps=256,
        batch_size=1024,
        n_epochs=10,
        gae_lambda=0.95,
        target_kl=0.03,
        policy_kwargs=policy,
        seed=SEED,
        device="cpu",
        verbose=1,
    )
    rng = np.random.default_rng(SEED)
    while model.num_timesteps < int(steps):
        if json.loads(task) is None:
            tasks.set_tasks(tasks.envs.sample_tasks(ENVIRONMENTS, rng))
            model.set_env(env, force_reset=True)
        model.learn(min(ROUND, int(steps) - model.num_timesteps), reset_num_timesteps=False)
    model.save(output)


if __name__ == "__main__":
    if len(sys.argv) not in (6, 7):
        sys.exit(__doc__)
    main(*sys.argv[1:])
