"""Options of meta-gradient runs that make no sense."""

from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
Script = Callable[[str, list[str]], int]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--gamma.initial", "1.5"], "`gamma.initial` must be at most 1, got 1.5"),
        (
            ["--gamma.initial", "1", "--gamma.learned", "one"],
            "`gamma.initial` of a learned one must be between 0 and `limit` 1.0",
        ),
        (["--gae_lambda.limit", "0"], "`gae_lambda.limit` must be positive"),
        (["--rollout", "1", "--gae_lambda.initial", "0.5", "--gae_lambda.learned", "one"], "no returns for lambda"),
        (
            ["--environment.id", "envs:NoisyChain-v0"],
            "has one action only, so the loss that `entropy_weight` is learned",
        ),
        (["--environment.id", "envs:NoisyChain-v0", "--meta.loss.value_weight", "1"], "so there is no entropy"),
        (["--gamma.learned", "table"], "needs one-hot observations, which envs:TwoColours-v0 has not"),
        (["--critic.table", "true"], "`critic.table`: a table has a number for each state"),
        (["--learning_rate.learned", "state"], "`learning_rate.learned` must be one of no, one, rewards"),
        (["--meta.rollouts", "1"], "`meta.rollouts` must be at least 2 with `meta.estimator` 'unrolled'"),
        (["--meta.decay", "2", "--meta.estimator", "trace"], "`meta.decay` must be in [0, 1], got 2"),
        (["--meta.loss.policy_weight", "0"], "must weigh the policy or the values"),
        (["--meta.loss.gamma", "1.1"], "`meta.loss.gamma` must be between 0 and 1"),
        (["--policy.context", "2"], "`policy.context` is for policies that adapt"),
        (["--gamma.initial", "[0.9, 0.9]"], "must not have the same value twice"),
        (["--seeds", "0"], "`seeds` must be at least 1"),
        (["--compiled", "true", "--environment.id", "envs:HalfCheetahDir-v0"], "steps are functions of tensors"),
        (["--learner.max_norm", "0"], "`learner.max_norm` must be positive"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line_before_work(
    options: list[str], told: str, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    preset = str(ROOT / "configs/meta_gradient/two-colours.yaml")
    assert script("train", ["--config", preset, "--output", str(tmp_path / "run"), *options]) == 2
    error = capsys.readouterr().err.strip()
    assert told in error
    assert "\n" not in error
    assert not (tmp_path / "run").exists()
