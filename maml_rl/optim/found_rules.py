"""Update rules that a search found, as optimisers of PyTorch."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

from maml_rl.core.rules.agreement import add_sign, decay_of, power_sign
from maml_rl.core.rules.decays import Decay
from maml_rl.core.rules.language import Language, Program, Words, words_of
from maml_rl.core.rules.lion import lion
from maml_rl.core.rules.programmed import programmed
from maml_rl.core.schedules import Schedule, constant
from maml_rl.core.types import Rule
from maml_rl.optim.rule_optimiser import RuleOptimiser

__all__ = ["AddSign", "Lion", "PowerSign", "Programmed"]


class Lion(RuleOptimiser):
    """Lion (Chen et al., 2023); see `maml_rl.core.rules.lion`.

    Args:
        params: parameters, or groups of them.
        lr: three to ten times smaller than AdamW's.
        betas: decays of the mean that is moved by, and of the one that is remembered.
        weight_decay: decoupled, as AdamW's; three to ten times larger than AdamW's.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            params,
            lambda group: lion(constant(group["lr"]), group["betas"][0], group["betas"][1], group["weight_decay"]),
            {"lr": lr, "betas": betas, "weight_decay": weight_decay},
        )


class PowerSign(RuleOptimiser):
    """PowerSign (Bello et al., 2017, section 4); see `maml_rl.core.rules.agreement`.

    Args:
        params: parameters, or groups of them.
        lr: the learning rate.
        base: of the power.
        decay: of the exponent over the training.
        horizon: T, the steps of the training, which a decay goes by.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        base: float = math.e,
        decay: Decay | Literal["none"] = "none",
        horizon: int = 1,
    ) -> None:
        super().__init__(
            params,
            _decaying(power_sign, "base"),
            {"lr": lr, "base": base, "decay": decay, "horizon": horizon},
        )


class AddSign(RuleOptimiser):
    """AddSign (Bello et al., 2017, section 4); see `maml_rl.core.rules.agreement`.

    Args:
        params: parameters, or groups of them.
        lr: the learning rate.
        offset: of the factor.
        decay: of what is added to it over the training.
        horizon: T, the steps of the training, which a decay goes by.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        offset: float = 1.0,
        decay: Decay | Literal["none"] = "none",
        horizon: int = 1,
    ) -> None:
        super().__init__(
            params,
            _decaying(add_sign, "offset"),
            {"lr": lr, "offset": offset, "decay": decay, "horizon": horizon},
        )


class Programmed(RuleOptimiser):
    """A program of the language of update rules; see `maml_rl.core.rules.language`.

    Args:
        params: parameters, or groups of them.
        language: of the program.
        program: see `maml_rl.core.rules.language.Program`.
        lr: the learning rate.
        horizon: T, the steps of the training, which decays go by.
    """

    def __init__(
        self, params: Iterable[Any], language: Language, program: Program | Words, lr: float, horizon: int = 1
    ) -> None:
        words = words_of(program)
        super().__init__(
            params,
            lambda group: programmed(language, words, group["lr"], group["horizon"]),
            {"lr": lr, "horizon": horizon},
        )
        self.formula = language.formula(words)


def _decaying(
    rule: Callable[[Schedule, float, Callable[[int], float]], Rule], option: str
) -> Callable[[dict[str, Any]], Rule]:
    """The rule of a group, with one option of its own and a decay."""
    return lambda group: rule(constant(group["lr"]), group[option], decay_of(group["decay"], group["horizon"]))
