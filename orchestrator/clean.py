"""`python -m orchestrator.clean NAME --keep 3`: free the disk of a sweep's weights, never of a registered model's.

Scores, predictions and the leaderboard stay. What killed processes left half-written goes too.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def clean(
    name: Annotated[str, typer.Argument(help="The sweep.")],
    keep: Annotated[int, typer.Option(min=1, help="Keep the weights of so many best trials.")] = 1,
    out: Annotated[Path, typer.Option(help="Where results are.")] = Path("runs"),
    tracking_uri: Annotated[str | None, typer.Option(help="Another MLflow server or database.")] = None,
    prefix_cache: Annotated[
        bool, typer.Option("--prefix-cache", help="Empty OUT's cache of frozen layers as well.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Tracebacks in place of one-line errors.")] = False,
) -> None:
    """Remove the weights of all trials of a sweep but the best and the registered ones."""
    from orchestrator.errors import SweepError

    try:
        _clean(name, keep, out.resolve(), tracking_uri, prefix_cache=prefix_cache)
    except SweepError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(error.exit_code) from error


def _clean(name: str, keep: int, out: Path, tracking_uri: str | None, *, prefix_cache: bool) -> None:
    from model.prefix_cache import PrefixCache
    from orchestrator.errors import SweepError
    from orchestrator.leaderboard import read_trials
    from orchestrator.paths import SweepPaths
    from orchestrator.plan import read_plan
    from orchestrator.retention import remove_leftovers
    from orchestrator.session import hold
    from orchestrator.study import TrialStudy
    from orchestrator.tracking import Projection

    paths = SweepPaths(out, name)
    if not paths.plan.is_file():
        raise SweepError(f"{paths.root}: no such sweep; see --out")
    with hold(paths):
        before = _bytes(out)
        plan = read_plan(paths.plan)
        remove_leftovers(paths)
        trials = read_trials(TrialStudy(paths.study_uri, plan, None), paths)
        Projection(plan, paths, tracking_uri, keep).sync(trials)
        if prefix_cache:
            PrefixCache(paths.prefix_cache).clear()
        print(f"{(before - _bytes(out)) / 1e6:,.0f} MB are free again under {out}")


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    app(prog_name="python -m orchestrator.clean")
