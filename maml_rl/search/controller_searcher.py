"""A controller that learns from scores: by REINFORCE, or by proximal policy optimisation with a clipped ratio.

REINFORCE (Williams, 1992) follows E[A grad log p(x)] once for each batch. PPO (Schulman et al., 2017, equation 7) takes
several steps on it along min(r A, clip(r) A) with r = p(x) / p_old(x). A is the score less a running mean of scores.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from maml_rl.core.meta_optimisers import adam_start, adam_step
from maml_rl.core.rules.language import Language, Program
from maml_rl.core.types import Params
from maml_rl.search.controller import initial_controller, log_probabilities, sampled
from maml_rl.search.searcher import Searcher, SearcherState

__all__ = ["ControllerConfig", "controller", "surrogate"]

GROUP = "controller"


@dataclass(frozen=True)
class ControllerConfig:
    """An LSTM that draws programs, and how it learns from their scores.

    Attributes:
        learning: "reinforce" (Williams, 1992) or "ppo" (Schulman et al., 2017).
        units: of the LSTM.
        learning_rate: Adam's.
        entropy_weight: of the entropy of the words, which keeps the controller from settling early. Where it settles,
            programs whose scores differ by it differ in probability by a factor e.
        baseline_decay: of the running mean of batches' mean scores, which begins with the first batch.
        clip: how far PPO's ratio may leave 1.
        epochs: PPO's steps on a batch.
    """

    learning: Literal["reinforce", "ppo"] = "reinforce"
    units: int = 64
    learning_rate: float = 0.005
    entropy_weight: float = 0.01
    baseline_decay: float = 0.9
    clip: float = 0.2
    epochs: int = 5

    def __post_init__(self) -> None:
        for name, holds, expected in (
            ("units", self.units > 0, "at least 1"),
            ("epochs", self.epochs > 0, "at least 1"),
            ("learning_rate", 0 <= self.learning_rate < float("inf"), "finite and at least 0"),
            ("entropy_weight", 0 <= self.entropy_weight < float("inf"), "finite and at least 0"),
            ("baseline_decay", 0 <= self.baseline_decay < 1, "in [0, 1)"),
            ("clip", 0 < self.clip < 1, "between 0 and 1"),
        ):
            if not holds:
                raise ValueError(f"`controller.{name}` must be {expected}, got {getattr(self, name)}.")


def controller(
    language: Language, batch: int, config: ControllerConfig, dtype: torch.dtype = torch.float32
) -> Searcher:
    """The searcher whose knowledge is a controller.

    Args:
        language: of the programs.
        batch: B, programs of a proposal.
        config: its size, and how it learns.
        dtype: of its weights.
    """

    def initial(generator: torch.Generator) -> SearcherState:
        params = initial_controller(language, config.units, generator, dtype)
        return {
            "params": params,
            "adam": adam_start({GROUP: params}),
            "baseline": torch.zeros((), dtype=torch.float64),
            "batches": torch.zeros((), dtype=torch.int64),
        }

    def propose(state: SearcherState, generator: torch.Generator) -> Program:
        return sampled(state["params"], language, batch, generator)

    def learn(state: SearcherState, programs: Program, scores: Tensor) -> tuple[SearcherState, dict[str, float]]:
        advantages, running = _advantages(state, scores, config)
        params, memory = state["params"], state["adam"]
        with torch.no_grad():
            old, entropy = log_probabilities(params, language, programs)
        for _ in range(config.epochs if config.learning == "ppo" else 1):
            slopes = _slopes(params, language, programs, advantages.to(dtype), old, config)
            group, memory = adam_step({GROUP: params}, {GROUP: slopes}, memory, config.learning_rate)
            params = group[GROUP]
        return {"params": params, "adam": memory, **running}, {"entropy": float(entropy.mean())}

    return Searcher("controller", initial, propose, learn)


def surrogate(log_p: Tensor, old: Tensor, advantages: Tensor, clip: float | None) -> Tensor:
    """What is maximised, from [B] each: the mean of A log p without a clip, or of min(r A, clip(r) A).

    Args:
        log_p: logarithms of the programs' probabilities.
        old: the same when they were drawn, without a derivative.
        advantages: A.
        clip: how far the ratio may leave 1; None for REINFORCE.
    """
    if clip is None:
        return (advantages * log_p).mean()
    ratio = (log_p - old).exp()
    return torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages).mean()


def _slopes(
    params: Params, language: Language, programs: Program, advantages: Tensor, old: Tensor, config: ControllerConfig
) -> Params:
    """The gradient of what is minimised: less the surrogate, less the weighted entropy."""
    leaves = {name: leaf.detach().requires_grad_() for name, leaf in params.items()}
    with torch.enable_grad():
        log_p, entropy = log_probabilities(leaves, language, programs)
        gain = surrogate(log_p, old, advantages, config.clip if config.learning == "ppo" else None)
        loss = -gain - config.entropy_weight * entropy.mean()
    slopes = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)  # the last word tells nobody
    return dict(zip(leaves, slopes, strict=True))


def _advantages(state: SearcherState, scores: Tensor, config: ControllerConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """Scores less the baseline, [B], and the baseline after this batch."""
    baseline, decay = scores.mean() if int(state["batches"]) == 0 else state["baseline"], config.baseline_decay
    after = decay * baseline + (1 - decay) * scores.mean()
    return scores - baseline, {"baseline": after, "batches": state["batches"] + 1}
