"""`python -m orchestrator.clean NAME --keep 3`: free the disk of a sweep's weights, never of a registered model's.

Scores, predictions and the leaderboard stay. What killed processes left half-written goes too.
"""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.named import require_sweep
from orchestrator.options import Debug, TrackingUri, one_line_errors

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
    with one_line_errors(debug=debug):
        require_sweep(name, out.resolve())
        _clean(name, keep, out.resolve(), tracking_uri, prefix_cache=prefix_cache)


def _clean(name: str, keep: int, out: Path, tracking_uri: str | None, *, prefix_cache: bool) -> None:
    from model.files import size_text
    from model.prefix_cache import PrefixCache
    from orchestrator.confirming import release_confirmed
    from orchestrator.idle import idle_sweep
    from orchestrator.leaderboard import read_trials
    from orchestrator.retention import remove_leftovers
    from orchestrator.tracking import Projection

    with idle_sweep(name, out, tracking_uri, "clean it when that one ends") as sweep:
        paths = sweep.paths
        before = _weights(paths.root)
        remove_leftovers(paths)
        Projection(sweep.plan, paths, tracking_uri, keep).sync(read_trials(sweep.study, paths))
        kept = release_confirmed(sweep, tracking_uri, keep)
        after = _weights(paths.root)
    freed = sum(before.values()) - sum(after.values())
    numbers = sorted(
        {path.relative_to(paths.root).parts[1] for path in after if path.is_relative_to(paths.root / "trials")}
    )
    print(f"{size_text(freed)} freed in {paths.root}, and as much in MLflow where it had them")
    print(f"weights kept: trial {', '.join(numbers) or 'none'} (the best {keep}, registered ones, and open trials)")
    if confirmed := {path.parts[-4] for path in after if not path.is_relative_to(paths.root / "trials")}:
        print(f"of its confirmation: trial {', '.join(sorted(confirmed))} ({kept})")
    if prefix_cache:
        print(f"{size_text(PrefixCache(paths.prefix_cache).clear())} freed in {paths.prefix_cache}")


def _weights(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for path in folder.glob("**/trials/*/attempt-*/*/*.safetensors")}


if __name__ == "__main__":
    app(prog_name="python -m orchestrator.clean")
