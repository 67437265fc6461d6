"""`python -m orchestrator.rebuild NAME`: write a sweep into MLflow anew, or what MLflow lacks of it.

MLflow only shows what the study and the trials' folders say: a store that was lost, or another one, gets it all again.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.options import Debug, TrackingUri

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def rebuild(
    name: Annotated[str, typer.Argument(help="The sweep.")],
    out: Annotated[Path, typer.Option(help="Where results are.")] = Path("runs"),
    tracking_uri: TrackingUri = None,
    debug: Debug = False,
) -> None:
    """Bring MLflow up to date with a sweep, from nothing if need be; it may be another store than before."""
    from orchestrator.errors import FAILED, SweepError

    try:
        _rebuild(name, out.resolve(), tracking_uri)
    except Exception as error:
        if debug:
            raise
        known = isinstance(error, SweepError)
        print(f"error: {error}" if known else f"error: {type(error).__name__}: {error}", file=sys.stderr)
        raise typer.Exit(error.exit_code if isinstance(error, SweepError) else FAILED) from error


def _rebuild(name: str, out: Path, tracking_uri: str | None) -> None:
    from orchestrator import show
    from orchestrator.errors import SweepError
    from orchestrator.hold import hold, leased
    from orchestrator.leaderboard import leaderboard, read_trials, write_leaderboard
    from orchestrator.paths import SweepPaths
    from orchestrator.plan import read_plan
    from orchestrator.study import TrialStudy
    from orchestrator.tracking import Projection, require_same_store

    paths = SweepPaths(out, name)
    if not paths.plan.is_file():
        raise SweepError(f"{paths.root}: no such sweep; see --out")
    advice = "rebuild it when that one ends: a running sweep keeps MLflow up to date itself"
    with hold(paths, advice):
        require_same_store(paths, tracking_uri)
        plan = read_plan(paths.plan)
        study = TrialStudy(paths.study_uri, plan, None)
        with leased(study, advice):
            projection = Projection(plan, paths, tracking_uri)
            trials = read_trials(study, paths)
            projection.sync(trials)
            board = leaderboard(plan, paths, trials, projection.runs)
            if not study.running() and len(trials) >= plan.trials:
                write_leaderboard(paths, board)
                projection.finish(board, show.verdict(board, show.majority_score(plan)))
        print(f"{len(trials)} trials of {name} are in MLflow: {projection.link}")


if __name__ == "__main__":
    app(prog_name="python -m orchestrator.rebuild")
