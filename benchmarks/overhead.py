"""What a trial costs beside its training, over bare Ray Tune: `python -m benchmarks.overhead`.

Sweeps of tiny trials, whose training takes next to nothing, run by this project, by bare Tune and by Tune with what its
documentation has for a study, checkpoints and MLflow (benchmarks/bare_tune.py), in turn, in short blocks: what else the
machine does then meets all of them alike. A block's start and its first trials are left out. Every figure of interest
is a ratio, or a growth within one sweep.
"""

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.tiny_sweep import write_space, write_tiny

ROOT = Path(__file__).parents[1]
WARM_UP = 10
"""Trials of a block that are left out: processes start, libraries are loaded."""
VARIANTS = ("ours", "bare", "equipped")
TICK_S = 1 / os.sysconf("SC_CLK_TCK")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@dataclass
class Run:
    """One sweep as it was watched from outside: a sample a trial that was completed."""

    variant: str
    started: float
    ended_s: list[float] = field(default_factory=list)
    """Since the command was started."""
    rss_bytes: list[int] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    """Of the driver's process."""
    whole_s: float = 0.0
    """From the command's start to its end."""

    def sample(self, pid: int) -> None:
        """Take down what the driver's process has used when another trial is complete."""
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        self.rss_bytes.append(next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS")))
        self.cpu_s.append((int(stat[11]) + int(stat[12])) * TICK_S)
        self.ended_s.append(time.monotonic() - self.started)

    def per_trial(self, samples: Sequence[float], first: int = WARM_UP, last: int | None = None) -> float:
        """Return the growth a trial of what was sampled, from the first-th trial to the last-th."""
        last = len(samples) if last is None else last
        return (samples[last - 1] - samples[first - 1]) / (last - first)


@app.command()
def main(
    blocks: Annotated[int, typer.Option(min=0, help="Blocks of each variant, in turn.")] = 8,
    block: Annotated[int, typer.Option(min=20, help="Trials a block.")] = 125,
    long: Annotated[int, typer.Option(min=0, help="Trials of one long sweep of ours, for memory; 0 for none.")] = 1000,
    epochs: Annotated[int, typer.Option(min=1)] = 1,
    concurrent: Annotated[int, typer.Option(min=1)] = 2,
    variants: Annotated[str, typer.Option(help="Of ours, bare, equipped.")] = ",".join(VARIANTS),
    raw: Annotated[Path | None, typer.Option(help="Where every sample goes, as JSON lines.")] = None,
) -> None:
    """Run the blocks, then the long sweep; print what each came to, and the table."""
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="overhead-") as temporary:
        folder = Path(temporary)
        given = write_tiny(folder)
        plan = [(variant, block) for _ in range(blocks) for variant in variants.split(",")]
        plan += [("ours", long), ("bare", long)] if long else []
        for variant, trials in plan:
            run = watched(variant, folder, given, trials, epochs, concurrent)
            runs.append(run)
            say(run)
            if raw is not None:
                with raw.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(vars(run)) + "\n")
    print(f"\n{platform.node()}: {os.cpu_count()} cores; {time.strftime('%F')}; {concurrent} trials at once\n")
    print(table([run for run in runs if len(run.ended_s) == block]))
    for run in (run for run in runs if long and len(run.ended_s) == long):
        print(growth(run))


def command(
    variant: str, folder: Path, given: tuple[Path, Path], trials: int, epochs: int, concurrent: int
) -> list[str]:
    """Return the command line of a sweep."""
    data, encoder = given
    place = ["--out", str(folder / "out"), "--data", str(data), "--encoder", str(encoder), "--epochs", str(epochs)]
    place += ["--concurrent", str(concurrent)]
    if variant == "ours":
        file = write_space(folder, trials, epochs)
        return [sys.executable, "-m", "orchestrator.sweep", str(file), *place, "--json", "--cpus-per-trial", "1"]
    more = ["--equipped"] if variant == "equipped" else []
    return [sys.executable, "-m", "benchmarks.bare_tune", *place, "--trials", str(trials), *more]


def watched(variant: str, folder: Path, given: tuple[Path, Path], trials: int, epochs: int, concurrent: int) -> Run:
    """Run a sweep and watch it from outside. Raises RuntimeError where not all of its trials were completed."""
    run = Run(variant, time.monotonic())
    (folder / "out").mkdir()
    log = folder / "log"
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command(variant, folder, given, trials, epochs, concurrent), cwd=ROOT, text=True, stdout=subprocess.PIPE,
            stderr=errors, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{") and json.loads(line)["event"] == "completed":
                run.sample(process.pid)
    code = process.wait()
    run.whole_s = time.monotonic() - run.started
    if code or len(run.ended_s) != trials:
        said = log.read_text(encoding="utf-8")[-2000:]
        raise RuntimeError(f"{variant}: exit code {code}, {len(run.ended_s)} of {trials} trials were completed\n{said}")
    shutil.rmtree(folder / "out")
    return run


def say(run: Run) -> None:
    """Print what a sweep came to."""
    print(
        f"{run.variant:9} {len(run.ended_s):5} trials  {run.per_trial(run.ended_s):6.3f} s a trial  "
        f"driver {run.per_trial(run.cpu_s) * 1000:6.1f} ms of CPU a trial  "
        f"{run.rss_bytes[-1] / 1e6:6.0f} MB at its end  first after {run.ended_s[0]:5.1f} s  all {run.whole_s:6.1f} s",
        flush=True,
    )


def table(runs: Sequence[Run]) -> str:
    """Return medians over the blocks, and ratios to bare Tune's of the block beside it."""
    lines = ["| | blocks | s a trial | over bare | driver's CPU, ms a trial | over bare |", "| --- " * 6 + "|"]
    bare = [run for run in runs if run.variant == "bare"]
    for variant in dict.fromkeys(run.variant for run in runs):
        own = [run for run in runs if run.variant == variant]
        wall, cpu = ([run.per_trial(getattr(run, name)) for run in own] for name in ("ended_s", "cpu_s"))
        cells = [f"{statistics.median(wall):.3f}", _ratios(own, bare, "ended_s")]
        cells += [f"{statistics.median(cpu) * 1000:.1f}", _ratios(own, bare, "cpu_s")]
        lines.append(f"| {variant} | {len(own)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _ratios(own: Sequence[Run], bare: Sequence[Run], name: str) -> str:
    found: list[float] = [
        a.per_trial(getattr(a, name)) / b.per_trial(getattr(b, name)) for a, b in zip(own, bare, strict=False)
    ]
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})" if found else ""


def growth(run: Run) -> str:
    """Return how memory, time and CPU a trial change within one sweep."""
    lines = [f"\n{run.variant}, one sweep of {len(run.ended_s)} trials", ""]
    lines += [
        "| trial | driver's memory, MB | s a trial since the line before | driver's CPU, ms |",
        "| --- " * 4 + "|",
    ]
    before = WARM_UP
    for trial in (100, *range(200, len(run.ended_s) + 1, 100)):
        spans: list[Any] = [run.per_trial(each, before, trial) for each in (run.ended_s, run.cpu_s)]
        lines.append(f"| {trial} | {run.rss_bytes[trial - 1] / 1e6:.0f} | {spans[0]:.3f} | {spans[1] * 1000:.1f} |")
        before = trial
    return "\n".join(lines)


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.overhead")
