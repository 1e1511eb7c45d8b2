"""A language of 7,200 programs with a planted best one, and how many distinct ones a searcher tries until it has it."""

import torch
from torch import Tensor

from maml_rl.core.rules.language import OPERANDS, UNARY, Language, Program
from maml_rl.search import ControllerConfig, Searcher, controller, evolution, uniform

LANGUAGE = Language(1, tuple(OPERANDS)[:12], tuple(UNARY)[:5], ("({} + {})", "({} * {})"))
BATCH = 16
SEARCHERS = {
    "reinforce": controller(LANGUAGE, BATCH, ControllerConfig("reinforce", 32, 0.03, 0.01)),
    "ppo": controller(LANGUAGE, BATCH, ControllerConfig("ppo", 32, 0.005, 0.01)),
    "evolution": evolution(LANGUAGE, BATCH, 32, 8),
    "random": uniform(LANGUAGE, BATCH),
}


def share_of_words(programs: Program, planted: Program) -> Tensor:
    """The score of programs [B, 1, 5]: the share of their words that are the planted program's, [B]."""
    return (programs == planted).double().mean((1, 2))


def tried_until_found(searcher: Searcher, seed: int, limit: int) -> int:
    """Distinct programs up to the planted one, or `limit` where it is not among so many."""
    generator = torch.Generator().manual_seed(seed)
    planted = LANGUAGE.drawn(1, generator)[0]
    state, tried = searcher.initial(generator), dict[tuple[int, ...], None]()
    wanted = tuple(planted.flatten().tolist())
    for _ in range(4 * limit // BATCH):  # those tried before cost nothing
        programs = searcher.propose(state, generator)
        for program in programs.flatten(1).tolist():
            tried[tuple(program)] = None
            if tuple(program) == wanted and len(tried) < limit:
                return len(tried)
        if len(tried) >= limit:
            break
        state, _ = searcher.learn(state, programs, share_of_words(programs, planted))
    return limit
