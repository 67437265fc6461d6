"""`python -m orchestrator.rebuild NAME`: write a sweep into MLflow anew, or what MLflow lacks of it.

MLflow only shows what the study and the trials' folders say: a store that was lost, or another one, gets it all again.
"""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.named import require_sweep
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
        require_sweep(name, out.resolve())
        _rebuild(name, out.resolve(), tracking_uri)


def _rebuild(name: str, out: Path, tracking_uri: str | None) -> None:
    from orchestrator import show
    from orchestrator.confirming import published_again
    from orchestrator.errors import SweepError
    from orchestrator.idle import idle_sweep
    from orchestrator.publishing import publish

    advice = "rebuild it when that one ends: a running sweep keeps MLflow up to date itself"
    confirmed, trouble = 0, None
    with idle_sweep(name, out, tracking_uri, advice) as sweep:
        try:
            confirmed = published_again(sweep, tracking_uri)  # first: the leaderboard says who has the alias
        except SweepError as error:
            trouble = error
        published = publish(sweep, tracking_uri)
    also = f", and {confirmed} of its confirmation" if confirmed else ""
    print(f"{len(published.board['trials'])} trials of {name} are in MLflow{also}")
    for note in published.notes:
        print(f"note  {note}")
    print(show.place(sweep.paths, published.projection.link, tracking_uri))
    if tracking_uri is not None:
        print("that is its store from now on: name it to other commands too")
    if trouble is not None:
        raise SweepError(f"its confirmation is not in MLflow: {trouble}") from trouble


if __name__ == "__main__":
    app(prog_name="python -m orchestrator.rebuild")
