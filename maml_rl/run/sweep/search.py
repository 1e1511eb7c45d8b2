"""The search: trial after trial up to the number wanted, with the sweep's files up to date after each."""

from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from maml_rl.run.errors import RunFault, UsageError
from maml_rl.run.files import write_text
from maml_rl.run.folder import RunFolder
from maml_rl.run.interrupts import Interrupts
from maml_rl.run.sweep.configurations import tried_out
from maml_rl.run.sweep.options import Options, dump_options, require_same_options
from maml_rl.run.sweep.picture import draw
from maml_rl.run.sweep.study import OpenedStudy, alone, current_trial, open_study, require_optuna
from maml_rl.run.sweep.table import shown, write_best, write_table
from maml_rl.run.sweep.trial_results import Trial, judge, ranked, trial_of

__all__ = ["sweep"]


def sweep(options: Options, say: Callable[[str], None] = tqdm.write) -> tuple[bool, list[Trial]]:
    """Runs trials up to the number wanted, and writes the table, the best configuration and the picture.

    Returns:
        Whether the sweep came to its end, False after an interrupt; and its trials.

    Raises:
        UsageError: Optuna is missing, or something is wrong with the options, said before any trial.
        RunFault: the sweep's own files cannot be written.
    """
    require_optuna()
    output = Path(options.output)
    texts = {"sweep.yaml": dump_options(options)}
    if not options.resume:
        RunFolder.require_free(output)
        texts = {"base.yaml": tried_out(options), **texts}
    elif not (output / "sweep.yaml").is_file():
        raise UsageError(f"{output} is not the folder of a sweep: it has no sweep.yaml.")
    else:
        require_same_options(output / "sweep.yaml", options)
    try:
        output.mkdir(parents=True, exist_ok=True)
        with alone(output):
            for name, text in texts.items():
                write_text(output / name, text)
            return _searched(options, open_study(output, options), say)
    except OSError as error:
        raise RunFault(f"the sweep in {output} could not be written: {error.strerror or error}.") from error


def _searched(options: Options, opened: OpenedStudy, say: Callable[[str], None]) -> tuple[bool, list[Trial]]:
    with (
        Interrupts() as interrupts,
        tqdm(total=options.count, initial=opened.done, desc="trials", unit="trial", dynamic_ncols=True) as bar,
    ):
        try:
            while bar.n < options.count:
                interrupts.check()
                trial = current_trial(options, opened.study)
                judge(options, opened, trial, interrupts, say)
                trials = _written_out(options, opened)
                if trials[trial.number].reason:
                    say(f"trial {trial.number} failed: {trials[trial.number].reason}")
                bar.update()
                for best in ranked(options, trials)[:1]:
                    bar.set_postfix_str(f"best {shown(best.value)} in trial {best.number}")
        except KeyboardInterrupt:
            say(f"interrupted after {bar.n} trials; go on with --resume.")
            return False, _written_out(options, opened)
    trials = _written_out(options, opened)
    if ranked(options, trials):
        draw(options, trials, opened.output / "sweep.png")
    return True, trials


def _written_out(options: Options, opened: OpenedStudy) -> list[Trial]:
    """Writes the table and the best configuration; the trials."""
    trials = [trial_of(stored) for stored in opened.study.trials]
    write_table(options, trials, opened.output / "sweep.csv")
    for best in ranked(options, trials)[:1]:
        write_best(options, best, opened.output / "base.yaml", opened.output / "best.yaml")
    return trials
