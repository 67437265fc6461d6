"""The command: simulates a sweep, prints what it cost, and whether anything was lost."""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.scale.fleet import Fleet
from benchmarks.scale.sweep import Setting, Sweep

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    *,
    trials: Annotated[int, typer.Option(min=10)] = 10_000,
    gpus: Annotated[int, typer.Option(min=1)] = 1000,
    epochs: Annotated[int, typer.Option(min=1)] = 3,
    epoch_s: Annotated[float, typer.Option(min=0.1, help="Mean seconds of an epoch.")] = 100.0,
    life_h: Annotated[float, typer.Option(min=0.01, help="Mean hours until a spot machine is taken.")] = 4.0,
    dev: Annotated[int, typer.Option(min=2, help="Dev examples a task.")] = 100,
    sampler: Annotated[str, typer.Option(help="tpe or random.")] = "tpe",
    halving: Annotated[bool, typer.Option("--halving", help="Stop trials early.")] = False,
    out: Annotated[Path | None, typer.Option(help="Where the sweep goes and stays; nowhere by default.")] = None,
) -> None:
    """Simulate a sweep of search_spaces/joint.py."""
    from benchmarks.scale import report

    with tempfile.TemporaryDirectory(prefix="scale-") as temporary:
        setting = Setting(
            trials=trials, epochs=epochs, epoch_s=epoch_s, dev=dev, sampler=sampler,
            halving={"first": 1, "factor": 3} if halving else None,
        )  # fmt: skip
        started = time.perf_counter()
        sweep = Sweep((out or Path(temporary)).resolve(), setting, Fleet(gpus=gpus, life_s=life_h * 3600))
        found = sweep.run()
        print(report.report(sweep, found, time.perf_counter() - started))
        print(json.dumps(sweep.meters.samples), file=sys.stderr)
        sys.stdout.flush()
    os._exit(0)  # trials on machines that were taken were killed: their generators must not end as if asked to


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.scale")
