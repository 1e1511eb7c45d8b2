"""A distribution over programs: an LSTM that draws one word after the other (Bello et al., 2017, section 3.2).

Its logarithms of probabilities are differentiable in its weights, and so are the entropies of its words.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import linear

from maml_rl.core.rules.language import Language, Program
from maml_rl.core.types import Params

__all__ = ["initial_controller", "log_probabilities", "sampled"]

_SPREAD = 0.08  # as of the controller of Zoph and Le (2017)

Choose = Callable[[int, Tensor], Tensor]
"""``choose(place, log_p)`` are the words [B] of a place, from logarithms of probabilities [B, words]."""


def initial_controller(
    language: Language, units: int, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> Params:
    """Weights, all uniform in [-0.08, 0.08]: every word of a place is nearly equally likely.

    Args:
        language: whose programs are drawn.
        units: H, of the LSTM and of what it is told of a word.
        generator: draws the weights.
        dtype: of the weights.

    Returns:
        ``start`` [H], the first input; ``input``, ``hidden`` [4 H, H] and ``bias`` [4 H] of the LSTM; and for each
        place ``head{place}`` [words, H], which gives the logits, and ``word{place}`` [words, H], the next input.
    """
    shapes = {"start": (units,), "input": (4 * units, units), "hidden": (4 * units, units), "bias": (4 * units,)}
    for place, words in enumerate(_choices(language)):
        shapes |= {f"head{place}": (words, units), f"word{place}": (words, units)}

    def drawn(shape: tuple[int, ...]) -> Tensor:
        return ((2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1) * _SPREAD).to(dtype)

    return {name: drawn(shape) for name, shape in shapes.items()}


def sampled(params: Params, language: Language, count: int, generator: torch.Generator) -> Program:
    """Programs drawn from the distribution, [count, G, 5]."""
    words: list[Tensor] = []

    def choose(place: int, log_p: Tensor) -> Tensor:
        words.append(torch.multinomial(log_p.exp(), 1, generator=generator)[:, 0])
        return words[-1]

    with torch.no_grad():
        for _ in _walk(params, language, count, choose):
            pass
    return torch.stack(words, 1).view(count, language.operations, 5)


def log_probabilities(params: Params, language: Language, programs: Program) -> tuple[Tensor, Tensor]:
    """The logarithm of the probability of programs [B, G, 5], and the entropy on their way.

    Returns:
        log p(x) = sum_i log p(x_i | x_1, ..., x_{i-1}), [B]; and sum_i H(p(. | x_1, ..., x_{i-1})), [B], whose mean
        over drawn programs estimates the entropy of the distribution, in nats.
    """
    words = programs.flatten(1)
    log_ps, entropies = [], []
    for place, log_p in enumerate(_walk(params, language, len(programs), lambda place, _: words[:, place])):
        log_ps.append(log_p.gather(1, words[:, place, None])[:, 0])
        entropies.append(-(log_p.exp() * log_p).sum(1))
    return torch.stack(log_ps).sum(0), torch.stack(entropies).sum(0)


def _walk(params: Params, language: Language, count: int, choose: Choose) -> Iterator[Tensor]:
    """The logarithms of the words' probabilities, [B, words], one place after the other."""
    told = params["start"].expand(count, -1)
    hidden, cell = torch.zeros_like(told), torch.zeros_like(told)
    for place, _ in enumerate(_choices(language)):
        hidden, cell = _lstm(params, told, hidden, cell)
        log_p = (hidden @ params[f"head{place}"].T).log_softmax(-1)
        yield log_p
        told = params[f"word{place}"][choose(place, log_p)]


def _lstm(params: Params, told: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """c' = f c + i g, h' = o tanh(c') with gates i, f, o and candidate g (Hochreiter and Schmidhuber, 1997)."""
    gates = linear(told, params["input"], params["bias"]) + linear(hidden, params["hidden"])
    entering, forgetting, candidate, leaving = gates.chunk(4, -1)
    cell = forgetting.sigmoid() * cell + entering.sigmoid() * candidate.tanh()
    return leaving.sigmoid() * cell.tanh(), cell


def _choices(language: Language) -> list[int]:
    """How many words each place chooses from, [5 G]."""
    return [words for operation in range(language.operations) for words in language.choices(operation)]
