"""Policies to and from Stable-Baselines3: an adapted policy as a PPO model, a model's policy as an initialisation."""

import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

from maml_rl.core.types import Params
from maml_rl.rl.policies import PolicyConfig

__all__ = ["load_start", "params_of", "to_ppo"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


def to_ppo(config: PolicyConfig, params: Params, env: Any, **arguments: Any) -> PPO:
    """A PPO model whose policy is the given one; its value network is a new one of the same hidden layers.

    Deterministic actions agree up to float32, and stochastic ones have the same distribution. Stable-Baselines3 clips
    the actions that it returns to the action space.

    Args:
        config: what the policy is.
        params: its parameters, without a task dimension.
        env: a Gymnasium or Stable-Baselines3 environment with the spaces of the policy, to go on learning in.
        **arguments: further ones of `stable_baselines3.PPO`.

    Raises:
        ValueError: a space that Stable-Baselines3's policy has no counterpart for.
    """
    if isinstance(env.action_space, gym.spaces.Discrete) and env.action_space.start != 0:
        raise ValueError(f"Stable-Baselines3 wants discrete actions that start at 0, got {env.action_space}.")
    kwargs = {
        "net_arch": {"pi": list(config.hidden), "vf": list(config.hidden)},
        "activation_fn": _ACTIVATIONS[config.activation],
        "ortho_init": False,
    }
    model = PPO("MlpPolicy", env, policy_kwargs=kwargs, device=arguments.pop("device", "cpu"), **arguments)
    with torch.no_grad():
        for theirs, ours in zip(_layers(model.policy), _own_layers(params), strict=True):
            theirs.weight.copy_(ours[0])
            theirs.bias.copy_(ours[1])
        if "log_std" in params:
            model.policy.log_std.copy_(params["log_std"].clamp(min=math.log(config.minimum_std)))
    return model


def params_of(model: Any, config: PolicyConfig) -> Params:
    """The parameters of a model's policy, named as this project names them.

    Args:
        model: a PPO or A2C model with an MLP policy.
        config: what the policy has to be.

    Raises:
        ValueError: the model's policy is of another kind, has other layers or another activation.
    """
    policy = model.policy
    if type(policy) is not ActorCriticPolicy or not isinstance(policy.features_extractor, FlattenExtractor):
        raise ValueError(f"only MLP actor-critic policies can be taken over, this one is {type(policy).__name__}.")
    if not isinstance(model.action_space, (gym.spaces.Box, gym.spaces.Discrete)):
        raise ValueError(f"only policies for Box and Discrete actions can be taken over, not {model.action_space}.")
    if policy.use_sde or policy.squash_output:
        raise ValueError("policies with state-dependent exploration or squashed actions cannot be taken over.")
    layers = _layers(policy)
    hidden = [layer.out_features for layer in layers[:-1]]
    if hidden != list(config.hidden):
        raise ValueError(
            f"the model's policy has the hidden layers {hidden}, `policy.hidden` is {list(config.hidden)}."
        )
    if policy.activation_fn is not _ACTIVATIONS[config.activation]:
        raise ValueError(
            f"the model's policy has the activation {policy.activation_fn.__name__}, `policy.activation` is "
            f"{config.activation!r}."
        )
    params: Params = {}
    for index, layer in enumerate(layers):
        params[f"layer{index}.weight"] = layer.weight.detach().cpu().clone()
        params[f"layer{index}.bias"] = layer.bias.detach().cpu().clone()
    if isinstance(model.action_space, gym.spaces.Box):
        params["log_std"] = policy.log_std.detach().cpu().clone()
    return params


def load_start(path: str, config: PolicyConfig, like: Params) -> Params:
    """The policy of a model saved by Stable-Baselines3, in the shapes and precision of `like`.

    A model knows nothing of a context: where `config` has one, its weights stay those of `like`. A context starts at 0,
    so the policy begins as the model's.

    Raises:
        ValueError: no such file, no PPO or A2C model in it, or a policy of another shape.
    """
    if not Path(path).is_file():
        raise ValueError(f"`start` {path} is not there.")
    try:
        model = _load(path)
    except Exception as error:  # zip, pickle and torch each fail in their own way
        why = "" if isinstance(error, LookupError) else f": {' '.join(str(error).split())}"
        raise ValueError(f"`start` {path} holds no PPO or A2C model{why}."[:300]) from error
    params = params_of(model, config)
    if config.context:
        first = like["layer0.weight"]
        parts = [params["layer0.weight"].to(first.dtype), first[:, -config.context :]]
        params = {**params, "layer0.weight": torch.cat(parts, dim=1)}
    shapes, wanted = ({name: tuple(leaf.shape) for name, leaf in each.items()} for each in (params, like))
    wrong = sorted(name for name in {*shapes, *wanted} if shapes.get(name) != wanted.get(name))
    if wrong:
        raise ValueError(
            f"`start` {path} does not fit the environment: {wrong[0]} must be {wanted.get(wrong[0], 'absent')}, got "
            f"{shapes.get(wrong[0], 'none')}."
        )
    return {name: params[name].to(leaf.dtype) for name, leaf in like.items()}


def _load(path: str) -> Any:
    try:
        return PPO.load(path, device="cpu")
    except (KeyError, TypeError, AttributeError):  # the file of another algorithm
        return A2C.load(path, device="cpu")


def _layers(policy: ActorCriticPolicy) -> list[nn.Linear]:
    hidden = [layer for layer in policy.mlp_extractor.policy_net if isinstance(layer, nn.Linear)]
    assert isinstance(policy.action_net, nn.Linear)
    return [*hidden, policy.action_net]


def _own_layers(params: Params) -> list[tuple[torch.Tensor, torch.Tensor]]:
    count = sum(name.endswith(".weight") for name in params)
    return [(params[f"layer{index}.weight"], params[f"layer{index}.bias"]) for index in range(count)]
