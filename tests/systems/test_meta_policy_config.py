"""Configurations of policies' systems: what is refused by name, and what is remarked because it has no effect."""

import dataclasses
from typing import Any

import pytest

from maml_rl.rl.estimation import EstimatorConfig
from maml_rl.rl.policies import PolicyConfig
from maml_rl.systems import maml_trpo, promp, reptile
from maml_rl.systems.inner import InnerConfig
from maml_rl.systems.registry import registered
from tests.systems.test_meta_policy import CONTEXT, made


def _config(system: str, **values: Any) -> Any:
    return registered(system).config(**values)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _config("maml_trpo", inner=InnerConfig(adapts="context")), "set `policy.context`"),
        (
            lambda: _config("maml_trpo", inner=InnerConfig(steps=0), outer=maml_trpo.OuterConfig(sampling_credit=1.0)),
            "`outer.sampling_credit` is for the samples of inner steps",
        ),
        (lambda: _config("maml_trpo", inner=InnerConfig(mode="implicit", proximal=1.0)), "is for supervised tasks"),
        (lambda: _config("promp", tasks=1, outer=promp.OuterConfig(sampling_credit=1.0)), "needs at least 2"),
        (
            lambda: _config(
                "maml_trpo",
                estimator=EstimatorConfig(loss="dice"),
                outer=maml_trpo.OuterConfig(curvature_share=0.1),
                episodes=5,
            ),
            "of 5 episodes leaves none",
        ),
        (lambda: promp.OuterConfig(kl_penalty=0.0, kl_target=0.01), "`outer.kl_target` moves `outer.kl_penalty`"),
        (lambda: promp.OuterConfig(clip=0.0), "`outer.clip`"),
        (lambda: promp.OuterConfig(sampling_credit=-1.0), "`outer.sampling_credit`"),
        (lambda: promp.OuterConfig(epochs=0), "`outer.epochs`"),
        (lambda: _config("reptile", inner=InnerConfig(steps=0)), "at least 1, got 0"),
        (lambda: _config("reptile", inner=InnerConfig(learned_rates=True)), "no derivative"),
        (lambda: _config("reptile", **CONTEXT), "context begins at zero"),
        (
            lambda: _config("reptile", policy=PolicyConfig(context=2), inner=InnerConfig(adapts=["context"])),
            "context begins at zero",
        ),
        (
            lambda: _config("maml_trpo", outer=maml_trpo.OuterConfig([1.0, 0.0], sampling_credit=1.0)),
            "`outer.objective` must be 'final'",
        ),
        (lambda: reptile.OuterConfig(0.5, final_learning_rate=0.7), "`outer.final_learning_rate`"),
        (lambda: EstimatorConfig(baseline="none", gae_lambda=0.9), "predicts nothing"),
        (lambda: made("maml_trpo", inner=InnerConfig(adapts=["encoder"])), "names none of layer0.weight"),
        (
            lambda: _config("maml_trpo", inner=InnerConfig(steps=0), outer=maml_trpo.OuterConfig("annealed")),
            "at least one, got 0",
        ),
    ],
)
def test_impossible_combinations_are_refused_by_name(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_values_without_effect_are_remarked() -> None:
    first_order = _config("maml_trpo", inner=InnerConfig(mode="first_order"), estimator=EstimatorConfig(loss="dice"))
    assert any("estimator.loss" in remark for remark in first_order.remarks())
    assert any(
        "annealing_iterations" in remark
        for remark in _config("promp", outer=promp.OuterConfig(annealing_iterations=7)).remarks()
    )
    idle = _config("maml_trpo", policy=PolicyConfig(context=3), inner=InnerConfig(adapts="head"))
    assert any("`policy.context` 3 has no effect" in remark for remark in idle.remarks())
    assert not any("context" in remark for remark in _config("maml_trpo", **CONTEXT).remarks())
    rounded = _config("maml_trpo", outer=maml_trpo.OuterConfig(curvature_share=0.7))
    assert any("takes all samples" in remark for remark in rounded.remarks())
    unrolled = dataclasses.replace(_config("reptile"), inner=InnerConfig(steps=2))
    assert any("does not differentiate" in remark for remark in unrolled.remarks())
