"""`python -m orchestrator.clean NAME --keep 3`: free the disk of a sweep's weights, never of a registered model's.

Scores, predictions and the leaderboard stay. What killed processes left half-written goes too.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.options import Debug, TrackingUri

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def clean(
    name: Annotated[str, typer.Argument(help="The sweep.")],
    keep: Annotated[int, typer.Option(min=1, help="Keep the weights of so many best trials.")] = 1,
    out: Annotated[Path, typer.Option(help="Where results are.")] = Path("runs"),
    tracking_uri: TrackingUri = None,
    prefix_cache: Annotated[
        bool, typer.Option("--prefix-cache", help="Empty OUT's cache of frozen layers as well.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Remove the weights of all trials of a sweep but the best and the registered ones."""
    from orchestrator.errors import FAILED, SweepError

    try:
        _clean(name, keep, out.resolve(), tracking_uri, prefix_cache=prefix_cache)
    except Exception as error:
        if debug:
            raise
        known = isinstance(error, SweepError)
        print(f"error: {error}" if known else f"error: {type(error).__name__}: {error}", file=sys.stderr)
        raise typer.Exit(error.exit_code if isinstance(error, SweepError) else FAILED) from error


def _clean(name: str, keep: int, out: Path, tracking_uri: str | None, *, prefix_cache: bool) -> None:
    from model.files import size_text
    from model.prefix_cache import PrefixCache
    from orchestrator.errors import SweepError
    from orchestrator.hold import hold, leased
    from orchestrator.leaderboard import read_trials
    from orchestrator.paths import SweepPaths
    from orchestrator.plan import read_plan
    from orchestrator.retention import remove_leftovers
    from orchestrator.study import TrialStudy
    from orchestrator.tracking import Projection, require_same_store

    paths = SweepPaths(out, name)
    if not paths.plan.is_file():
        raise SweepError(f"{paths.root}: no such sweep; see --out")
    advice = "clean it when that one ends"
    with hold(paths, advice):
        require_same_store(paths, tracking_uri)
        plan = read_plan(paths.plan)
        study = TrialStudy(paths.study_uri, plan, None)
        before = _weights(paths.root)
        with leased(study, advice):
            remove_leftovers(paths)
            Projection(plan, paths, tracking_uri, keep).sync(read_trials(study, paths))
        after = _weights(paths.root)
        freed = sum(before.values()) - sum(after.values())
        numbers = sorted({path.relative_to(paths.root).parts[1] for path in after})
        print(f"{size_text(freed)} freed in {paths.root}, and as much in MLflow where it had them")
        print(f"weights kept: trial {', '.join(numbers) or 'none'} (the best {keep}, registered ones, and open trials)")
    if prefix_cache:
        print(f"{size_text(PrefixCache(paths.prefix_cache).clear())} freed in {paths.prefix_cache}")


def _weights(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for path in folder.glob("trials/*/attempt-*/*/*.safetensors")}


if __name__ == "__main__":
    app(prog_name="python -m orchestrator.clean")
