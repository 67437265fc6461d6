"""What a simulated sweep came to, as Markdown."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from benchmarks.scale.clock import FLUSH_S
from benchmarks.scale.sweep import Sweep
from orchestrator.trial_files import read_verdict

Sample = dict[str, float]
COLUMNS = {
    "driver, ms of CPU": ("driver cpu s", 1000),
    "driver with flushes, ms": ("driver charged s", 1000),
    "database statements": ("driver statements", 1),
    "commits": ("driver commits", 1),
    "KB written": ("driver bytes", 1e-3),
    "MLflow's thread, ms of CPU": ("projection cpu s", 1000),
    "with flushes, ms": ("projection charged s", 1000),
    "its statements on the study": ("projection statements", 1),
    "MLflow calls": ("mlflow calls", 1),
    "MLflow's statements": ("mlflow statements", 1),
    "its KB written": ("projection bytes", 1e-3),
}
"""Of a trial: title, what was sampled, factor."""


def report(sweep: Sweep, found: dict[str, float], real_s: float) -> str:
    """Return the lines and tables; `found` is what the sweep's end took."""
    return "\n".join([*usage(sweep, real_s), "", *costs(sweep.meters.samples), "", *calls(sweep), "", *end(found)])


def usage(sweep: Sweep, real_s: float) -> list[str]:
    """Return how well the machines were used, and whether anything was lost or doubled."""
    gpus, until_s, clock = sweep.actors.gpus, sweep.handed_out_s, sweep.clock
    there_s, trained_s = sweep.actors.used(until_s)
    all_s = sum(span[1] for gpu in gpus for span in gpu.trained_s)
    kept_s = sum(entry["train_seconds"] for trial in sweep.trials for entry in trial.history)
    driver, projection = clock.spent["driver"], clock.spent["projection"]
    by_driver = f"{driver.charged_s:,.0f} s, {driver.charged_s / clock.now_s:.1%} of the simulated time"
    by_mlflow = f"{projection.charged_s:,.0f} s, {projection.charged_s / clock.now_s:.1%}"
    warned = f"{sweep.actors.noticed} with a warning"
    return [
        f"simulated {clock.now_s:,.0f} s; the last new trial was handed out at {until_s:,.0f} s; real {real_s:,.0f} s",
        f"utilisation while trials remain: {trained_s / there_s:.2%} ({trained_s:,.0f} of {there_s:,.0f} GPU seconds)",
        f"training that was lost with its machine, and done again: {1 - kept_s / all_s:.2%}",
        f"machines: {len(gpus)} in all, {sweep.actors.lost} taken, {warned}",
        *_fates(sweep),
        f"driver: {driver.cpu_s:,.0f} s of CPU; with {driver.flushes:,} flushes of {FLUSH_S * 1000:g} ms {by_driver}",
        f"MLflow's thread: {projection.cpu_s:,.0f} s of CPU; with {projection.flushes:,} flushes {by_mlflow}",
        f"workers' own code, which is not charged: {clock.spent['workers'].cpu_s:,.0f} s of CPU",
        f"what the driver heard: {dict(sweep.meters.reports)}",
    ]


def _fates(sweep: Sweep) -> list[str]:
    """Return what became of the trials, and count what is missing or there twice in study, folders and MLflow."""
    total, numbers = sweep.plan.trials, Counter(trial.number for trial in sweep.trials)
    ended = {trial.number for trial in sweep.trials if trial.state != "running"}
    verdicts = sum(read_verdict(sweep.paths.trial(number)) is not None for number in range(total))
    whole = sum(
        [entry["epoch"] for entry in trial.history] == list(range(1, len(trial.history) + 1)) for trial in sweep.trials
    )
    doubled = sum(count - 1 for count in numbers.values()) + sweep.doubled
    states = dict(Counter(trial.state for trial in sweep.trials))
    return [
        f"trials: {states} of {total:,}; attempts {sweep.attempts:,}; lost {total - len(ended)}, doubled {doubled}",
        f"folders with a verdict {verdicts:,}; histories with each epoch once {whole:,}",
        f"runs in MLflow: {sweep.runs_in_mlflow:,}, of {len(sweep.projection.runs):,} trials",
    ]


def costs(samples: Sequence[Sample]) -> list[str]:
    """Return what a trial costs, and how that changes as the sweep grows."""
    titles = [
        "trials that had ended",
        "simulated s",
        *COLUMNS,
        "MLflow calls a simulated s",
        "memory, MB",
        "used so far",
    ]
    lines = [f"| {' | '.join(titles)} |", "| --- " * len(titles) + "|"]
    for before, sample in pairwise([{}, *samples]):
        trials = sample["ended"] - before.get("ended", 0)
        if not trials:
            continue
        seconds = sample["simulated s"] - before.get("simulated s", 0)
        cells = [(sample[of] - before.get(of, 0)) * unit / trials for of, unit in COLUMNS.values()]
        cells.append((sample["mlflow calls"] - before.get("mlflow calls", 0)) / seconds)
        shown = " | ".join(f"{cell:,.1f}" for cell in cells)
        first = f"{before.get('ended', 0):,.0f} to {sample['ended']:,.0f}"
        last = f"{sample['memory MB']:,.0f} | {sample['utilisation']:.1%}"
        lines.append(f"| {first} | {sample['simulated s']:,.0f} | {shown} | {last} |")
    return lines


def calls(sweep: Sweep) -> list[str]:
    """Return MLflow's calls by name, and how long its syncs took by tenths of the sweep."""
    lines = [f"MLflow's calls: {dict(sweep.meters.calls.most_common(12))}", f"syncs: {len(sweep.syncs)}"]
    for tenth in range(10):
        part = sweep.syncs[len(sweep.syncs) * tenth // 10 : len(sweep.syncs) * (tenth + 1) // 10]
        if part:
            took = sorted(took_s for _, took_s in part)
            lines.append(f"  from {part[0][0]:7,.0f} s: median {took[len(took) // 2]:.2f} s, longest {took[-1]:.2f} s")
    return lines


def end(found: dict[str, Any]) -> list[str]:
    """Return what the sweep's end takes."""
    shown = {name: round(seconds, 1) for name, seconds in found.items()}
    return [f"at the end, seconds of CPU since the last trial ended: {shown}"]
