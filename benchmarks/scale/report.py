"""What a simulated sweep came to, as Markdown."""

from collections import Counter
from typing import Any

from orchestrator.trial_files import read_verdict


def report(sweep: Any, found: dict[str, Any], real_s: float) -> str:
    """Return the tables."""
    return "\n".join([*usage(sweep, real_s), "", *costs(sweep), "", *calls(sweep), "", *end(found)])


def usage(sweep: Any, real_s: float) -> list[str]:
    """Return how well the machines were used, and that nothing was lost."""
    gpus, until_s = sweep.actors.gpus, sweep.handed_out_s
    there_s = sum(max(0.0, min(gpu.lost_s, until_s) - min(gpu.up_s, until_s)) for gpu in gpus)
    trained_s = sum(_within(span, until_s) for gpu in gpus for span in gpu.trained_s)
    all_s = sum(span[1] for gpu in gpus for span in gpu.trained_s)
    kept_s = sum(entry["train_seconds"] for trial in sweep.trials for entry in trial.history)
    numbers = Counter(trial.number for trial in sweep.trials)
    states = Counter(trial.state for trial in sweep.trials)
    whole = all(
        [entry["epoch"] for entry in trial.history] == list(range(1, len(trial.history) + 1)) for trial in sweep.trials
    )
    verdicts = sum(read_verdict(sweep.paths.trial(number)) is not None for number in range(sweep.plan.trials))
    lost = sweep.plan.trials - len(set(numbers) & {number for number, state in sweep.ends.items()})
    doubled = sum(count - 1 for count in numbers.values()) + sweep.doubled
    spent = sweep.clock.spent
    return [
        f"simulated: {sweep.clock.now_s:,.0f} s, the last trial was handed out at {until_s:,.0f} s; real: {real_s:,.0f} s",
        f"utilisation while trials remain: {trained_s / there_s:.2%} ({trained_s:,.0f} of {there_s:,.0f} GPU seconds)",
        f"training that was lost with its machine and done again: {(all_s - kept_s) / all_s:.2%}",
        f"machines: {len(gpus)} in all, {sweep.actors.lost} taken, {sweep.actors.noticed} of them with a warning",
        f"trials: {dict(states)}; attempts {sweep.attempts}; lost {lost}, doubled {doubled}; verdicts {verdicts}; "
        f"every epoch once: {whole}; runs in MLflow: {len(sweep.projection.runs)}",
        f"driver: {spent['driver'].cpu_s:,.0f} s of CPU, with flushes {spent['driver'].charged_s:,.0f} s: "
        f"{spent['driver'].charged_s / sweep.clock.now_s:.1%} of the simulated time; "
        f"MLflow's thread: {spent['projection'].cpu_s:,.0f} s of CPU, {spent['projection'].charged_s:,.0f} s; "
        f"workers' own code: {spent['workers'].cpu_s:,.0f} s",
        f"reports to the driver: {dict(sweep.meters.reports)}",
    ]


def _within(span: tuple[float, float], until_s: float) -> float:
    ended_s, took_s = span
    return max(0.0, min(ended_s, until_s) - min(ended_s - took_s, until_s))


COLUMNS = {
    "driver, ms of CPU": ("driver cpu s", 1000),
    "driver with flushes, ms": ("driver charged s", 1000),
    "statements": ("driver statements", 1),
    "commits": ("driver commits", 1),
    "KB written": ("driver bytes", 1e-3),
    "MLflow thread with flushes, ms": ("projection charged s", 1000),
    "its CPU": ("projection cpu s", 1000),
    "its statements on the study": ("projection statements", 1),
    "MLflow calls": ("mlflow calls", 1),
    "MLflow statements": ("mlflow statements", 1),
    "its KB written": ("projection bytes", 1e-3),
}


def costs(sweep: Any) -> list[str]:
    """Return what a trial costs, and how that changes as the sweep grows."""
    lines = [f"| trials | simulated s | {' | '.join(COLUMNS)} | MLflow calls a simulated s | memory, MB |"]
    lines.append("| --- " * (len(COLUMNS) + 4) + "|")
    before: dict[str, float] = {}
    for sample in sweep.meters.samples:
        trials = sample["ended"] - before.get("ended", 0)
        if trials <= 0:
            continue
        seconds = sample["simulated s"] - before.get("simulated s", 0)
        cells = [(sample[of] - before.get(of, 0)) * unit / trials for of, unit in COLUMNS.values()]
        calls_a_s = (sample["mlflow calls"] - before.get("mlflow calls", 0)) / max(seconds, 1e-9)
        shown = [f"{cell:,.1f}" for cell in cells]
        lines.append(
            f"| {before.get('ended', 0):.0f} to {sample['ended']:.0f} | {sample['simulated s']:,.0f} | "
            f"{' | '.join(shown)} | {calls_a_s:,.1f} | {sample['memory MB']:,.0f} |"
        )
        before = sample
    return lines


def calls(sweep: Any) -> list[str]:
    """Return MLflow's calls by name, and how long its syncs took."""
    lines = [f"MLflow's calls: {dict(sweep.meters.calls.most_common(12))}"]
    syncs = sweep.syncs
    lines.append(f"syncs: {len(syncs)}")
    for share in range(0, 10):
        part = syncs[len(syncs) * share // 10 : len(syncs) * (share + 1) // 10]
        if part:
            took = sorted(each[1] for each in part)
            lines.append(f"  from {part[0][0]:7,.0f} s: median {took[len(took) // 2]:.2f} s, longest {took[-1]:.2f} s")
    return lines


def end(found: dict[str, Any]) -> list[str]:
    """Return what the sweep's end takes."""
    return [f"at the end, CPU seconds since its beginning: { ({k: round(v, 1) for k, v in found.items()}) }"]
