"""`python -m orchestrator.rebuild NAME`: write a sweep into MLflow anew, or what MLflow lacks of it.

MLflow only shows what the study and the trials' folders say: a store that was lost, or another one, gets it all again.
"""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.options import Debug, TrackingUri, one_line_errors

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def rebuild(
    name: Annotated[str, typer.Argument(help="The sweep.")],
    out: Annotated[Path, typer.Option(help="Where results are.")] = Path("runs"),
    tracking_uri: TrackingUri = None,
    debug: Debug = False,
) -> None:
    """Bring MLflow up to date with a sweep, from nothing if need be; it may be another store than before."""
    with one_line_errors(debug=debug):
        _rebuild(name, out.resolve(), tracking_uri)


def _rebuild(name: str, out: Path, tracking_uri: str | None) -> None:
    from orchestrator import show
    from orchestrator.idle import idle_sweep
    from orchestrator.leaderboard import groups, leaderboard, read_trials, write_leaderboard
    from orchestrator.tracking import Projection

    advice = "rebuild it when that one ends: a running sweep keeps MLflow up to date itself"
    with idle_sweep(name, out, tracking_uri, advice) as sweep:
        projection = Projection(sweep.plan, sweep.paths, tracking_uri)
        trials = read_trials(sweep.study, sweep.paths)
        projection.sync(trials)
        judgement = projection.judge.judge(groups(sweep.plan, trials))
        board = leaderboard(sweep.plan, sweep.paths, trials, projection.runs, judgement)
        if not sweep.study.running() and len(trials) >= sweep.plan.trials:
            write_leaderboard(sweep.paths, board)
            projection.finish(board, show.verdict(board, show.majority_score(sweep.plan)))
    print(f"{len(trials)} trials of {name} are in MLflow")
    for note in judgement.notes():
        print(f"note  {note}")
    print(show.place(sweep.paths, projection.link, tracking_uri))
    if tracking_uri is not None:
        print("that is its store from now on: name it to other commands too")


if __name__ == "__main__":
    app(prog_name="python -m orchestrator.rebuild")
