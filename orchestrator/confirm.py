"""`python -m orchestrator.confirm NAME --top K --seeds S`: the best of a sweep and its baseline again, on fresh seeds.

Only what is confirmed is called champion. With --open-test, its scores on the test set, which was sealed until then.
"""

from orchestrator.signals import exit_at_once

if __name__ == "__main__":
    exit_at_once()  # from now on, for what follows takes a while on a busy machine

from pathlib import Path
from typing import Annotated

import typer

from orchestrator import options
from orchestrator.options import Debug, TrackingUri, one_line_errors

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def confirm(
    name: Annotated[str, typer.Argument(help="The sweep.")],
    top: Annotated[int, typer.Option(min=1, max=20, help="Confirm so many of the best.")] = 2,
    seeds: Annotated[int, typer.Option(min=2, max=100, help="On at most so many fresh seeds each.")] = 5,
    open_test: Annotated[
        bool, typer.Option("--open-test", help="Score winner and baseline on the test set; this goes on the record.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Where results are.")] = Path("runs"),
    tracking_uri: TrackingUri = None,
    data: Annotated[str | None, typer.Option(help="Where the sweep's data lie now, if they moved.")] = None,
    address: options.Address = None,
    concurrent: options.Concurrent = None,
    wait_for_nodes: options.WaitForNodes = 600.0,
    prefix_cache_gb: options.PrefixCacheGb = 50.0,
    hang_after: Annotated[
        float, typer.Option(min=1, help="Give up a trial's process after so many seconds without a step.")
    ] = 600.0,
    debug: Debug = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object an event on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors alone.")] = False,
) -> None:
    """Train the best configs and the baseline on fresh seeds, until each verdict is settled; name the champion.

    Running the same command again continues. Exit codes as of orchestrator.sweep.
    """
    with one_line_errors(debug=debug):
        from orchestrator.named import require_sweep

        require_sweep(name, out.resolve())  # within the second, before anything heavy is loaded
        from orchestrator.confirming import ConfirmRequest, run

        asked = ConfirmRequest(
            name=name, out=out.resolve(), top=top, seeds=seeds, tracking_uri=tracking_uri, data=data, address=address,
            concurrent=concurrent, wait_for_nodes=wait_for_nodes, prefix_cache_gb=prefix_cache_gb,
            hang_after=hang_after, as_json=as_json, quiet=quiet,
        )  # fmt: skip
        if open_test:
            from orchestrator.opening import open_test_set

            raise typer.Exit(open_test_set(asked))
        raise typer.Exit(run(asked))


if __name__ == "__main__":
    app(prog_name="python -m orchestrator.confirm")
