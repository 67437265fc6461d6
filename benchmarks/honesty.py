"""Is a leaderboard's evidence honest? Sweeps with known truth: `python -m benchmarks.honesty [--sweeps N] [--quick]`.

Rates come with their Wilson interval, errors as bias and root mean square in thousandths of the overall score.
benchmarks/synthetic.py says what the sweeps are like, docs/honesty.md what came of it.
"""

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from scipy import stats

from benchmarks.honesty_confirm import CONFIGS, judge_confirmation
from benchmarks.honesty_sweep import SCENARIOS, Record, judge

SIZES = {7: 1.0, 30: 1.0, 200: 0.15}
"""Configs of a sweep, and which share of the sweeps is drawn of that size."""
CONFIRMED = {0.0: 0.2, 0.01: 0.1, 0.02: 0.1}
"""Gains of one config of a sweep whose best are then confirmed with fresh seeds, and the share of the sweeps."""
SHARES = {"null": 1.0, "planted": 1.0, "spread": 0.2, "uneven": 0.2}
"""Which share of the sweeps is drawn of a scenario."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    sweeps: Annotated[int, typer.Option(min=20, help="Sweeps of 7 and of 30 configs; 15 % as many of 200.")] = 2000,
    quick: Annotated[bool, typer.Option(help="20 sweeps of 7 configs of each kind: does it run?")] = False,
    scenarios: Annotated[str, typer.Option(help="With commas.")] = ",".join((*SCENARIOS, "confirm")),
    sizes: Annotated[str, typer.Option(help="Configs of a sweep, with commas.")] = ",".join(map(str, SIZES)),
    processes: Annotated[int, typer.Option(min=1, help="At once; a thread each (OMP_NUM_THREADS=1).")] = 1,
    records: Annotated[str, typer.Option(help="A file to which each sweep's record is added.")] = os.devnull,
) -> None:
    """Judge sweeps whose truth is known, and say how often the verdicts were right."""
    blocks: list[tuple[Judge, str | float, int, int]] = []
    for size in [7] if quick else [int(part) for part in sizes.split(",")]:
        for name in scenarios.split(","):
            if name != "confirm":
                blocks.append((judge, name, size, 20 if quick else round(sweeps * SIZES[size] * SHARES[name])))
            elif size in CONFIGS:
                of = ((gain, 20 if quick else round(sweeps * share)) for gain, share in CONFIRMED.items())
                blocks += [(judge_confirmation, gain, size, count) for gain, count in of]
    with multiprocessing.Pool(processes) as pool, Path(records).open("a", encoding="utf-8") as file:
        for function, what, size, count in blocks:
            started, found = time.monotonic(), []
            for number, record in enumerate(pool.imap(_judged, [(function, what, size, n) for n in range(count)])):
                found.append(record)
                file.write(json.dumps({"what": what, "size": size, "number": number, **record}) + "\n")
            title = what if isinstance(what, str) else f"a gain of {what}, confirmed"
            print(f"\n## {title}, {size} configs: {count} sweeps, {time.monotonic() - started:.0f} s")
            print("\n".join(lines(found)))
            sys.stdout.flush()


Judge = Callable[[Any, int, int], Record]


def _judged(work: tuple[Judge, Any, int, int]) -> Record:
    judge_one, *arguments = work
    return {key: float(value) for key, value in judge_one(*arguments).items()}


def lines(records: Sequence[Record]) -> list[str]:
    """Return one line for each thing the records tell."""
    found = []
    for key in records[0]:
        values = np.array([record[key] for record in records])
        values = values[np.isfinite(values)]
        if not len(values):
            continue
        if set(values.tolist()) <= {0.0, 1.0}:
            low, high = stats.binomtest(int(values.sum()), len(values)).proportion_ci(method="wilson")
            found.append(f"{key:75} {values.mean():7.2%}  ({low:.2%} to {high:.2%})")
        elif "spent" in key:
            found.append(f"{key:75} {values.mean():7.2f}")
        elif "error" in key or ("seed" in key and "hold" not in key):
            found.append(f"{key:75} bias {1e3 * values.mean():+6.2f}  rms {1e3 * np.sqrt((values**2).mean()):5.2f}")
        else:
            error = values.std() / len(values) ** 0.5
            found.append(f"{key:75} {values.mean():7.2%}  (+- {1.96 * error:.2%})")
    return found


if __name__ == "__main__":
    app()
