"""Pre-trains a policy with Stable-Baselines3's PPO on task environments, as a start for meta-training.

    python docs/examples/pretrain_with_ppo.py envs:AntVel-v0 '{"frame_skip": 2}' '{"velocity": 1.5}' 1500000 ppo.zip

The arguments are the environment, its constructor's arguments, the task (null for a different one in each
sub-environment), environment steps and the output. The policy has two layers of 64 units with tanh: meta-train with
`policy: {hidden: [64, 64], activation: tanh}`.
"""

import json
import sys

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor

from maml_rl.rl.vector import EnvironmentConfig, make_vector
from maml_rl.sb3.vec_env import TaskVecEnv

ENVIRONMENTS, SEED = 32, 1


def main(name: str, arguments: str, task: str, steps: str, output: str) -> None:
    torch.set_num_threads(1)
    config = EnvironmentConfig(name, json.loads(arguments), {"num_threads": 1})
    env = VecMonitor(TaskVecEnv(make_vector(config, ENVIRONMENTS), json.loads(task), SEED))
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
    model.learn(int(steps))
    model.save(output)


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    main(*sys.argv[1:])
