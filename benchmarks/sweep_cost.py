"""What a step, and a whole sweep, costs beside what people write: `python -m benchmarks.sweep_cost [--json]`.

Process CPU time on one thread, variants in turn in one process, medians over repetitions with the smallest and the
largest; every figure is a ratio of two of these. benchmarks/references.py says what is compared with.
"""

import gc
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from safetensors.torch import save_file

from benchmarks.material import CPU, STUDY, encoder_source, task_data
from benchmarks.references import Reference, engineer, student
from benchmarks.steps import AGAINST, own_heap, step_costs
from model.checkpoint import predictions_table, save_checkpoint
from model.config import TrialConfig, config_from_dict
from model.data import SAMPLE
from model.encoder_files import EncoderSource, find_encoder
from model.frozen_prefix import FrozenPrefix
from model.heap import bound_heap
from model.prefix_cache import DEFAULT_LIMIT_BYTES, PrefixCache
from model.training import TaskData, fine_tune
from orchestrator.inspection import Options, inspect
from orchestrator.paths import SweepPaths
from orchestrator.plan import Plan, draft
from orchestrator.resources import Machine, Node
from orchestrator.spec import load_sweep
from orchestrator.trial import Execution, run_trial
from search_spaces.exp4 import COMMON_AND_TASK_LAYERS

PLAIN_HEADS = COMMON_AND_TASK_LAYERS.index((0, 1))
"""exp4's trial whose checkpoints are measured."""
MODELS = ("minilm", "bert-base")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    data: Annotated[str, typer.Option(help="The course's files; the bundled sample by default.")] = str(SAMPLE),
    steps: Annotated[int, typer.Option(min=1, help="Batches a repetition.")] = 6,
    repeats: Annotated[int, typer.Option(min=1, help="Repetitions.")] = 3,
    models: Annotated[str, typer.Option(help="minilm, bert-base, or both with a comma.")] = ",".join(MODELS),
    parts: Annotated[
        str, typer.Option(help="Of steps, exp4, memory, orchestration.")
    ] = "steps,exp4,memory,orchestration",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Measure and print the table, or JSON."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {"machine": machine(), "data": data, "steps": steps, "repeats": repeats}
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        chosen = parts.split(",")
        for name in models.split(","):
            source = encoder_source(name, folder)
            if "steps" in chosen:
                measured = step_costs(source, data, steps, repeats, folder, log=not as_json)
                for key, value in measured.items():
                    found.setdefault(key, {})[name] = value
        if "exp4" in chosen:
            found |= exp4_cost(encoder_source("bert-base", folder), data, folder)
        if "memory" in chosen:
            found["worker_rss_bytes"] = {
                who: in_fresh_process("worker_rss", who, str(encoder_source("bert-base", folder).folder), data)
                for who in ("ours", "student")
            }
        if "orchestration" in chosen:
            found["between_trials_seconds"] = between_trials(data, folder)
    print(json.dumps(found, indent=1) if as_json else table(found))


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return {"cpu": cpu, "threads": 1, "torch": torch.__version__, "date": time.strftime("%F")}


def exp4_cost(source: EncoderSource, data: str, folder: Path, examples: int = 96, epochs: int = 4) -> dict[str, Any]:
    """Return what exp4 costs, everything included, beside one trial of the references. bert-base's shape.

    Ours goes through orchestrator.trial.run_trial, as in a worker: preparing, cache, evaluations, checkpoints,
    resumable states, verdicts. The references find their data prepared and keep their best weights alone.
    """
    config = replace(STUDY, max_train_examples=examples, epochs=epochs)
    entries = task_data(source, config, data, dev=examples)
    given = (entries, source.config, source.part().state_dict())
    own_heap(None)
    references = {
        "student": student(config, *given),
        "engineer": engineer(config, *given),
        "engineer bf16": engineer(replace(config, precision="bf16"), *given),
    }
    costs = {name: one_trial(reference, epochs, folder) for name, reference in references.items()}
    sizes: dict[str, int] = {}
    for precision in ("fp32", "bf16"):
        settings = {"epochs": epochs, "max_train_examples": examples, "precision": precision}
        plan = exp4_plan(source, data, settings, dev=examples)
        execution = Execution(DEFAULT_LIMIT_BYTES, report_s=60)
        paths = SweepPaths(folder / precision, plan.name)
        started = time.process_time()
        for number, values in enumerate(plan.configs):
            paths.trial(number).new_attempt()
            for report in run_trial(plan, paths, number, config_from_dict(values), 1, execution):
                if number == PLAIN_HEADS and not report["done"]:
                    sizes = state_sizes(paths.trial(number).root)
                ended = report.get("state")
            assert ended == "completed", f"trial {number} ended {ended}"
        costs[f"ours {precision}"] = time.process_time() - started
    seven = len(COMMON_AND_TASK_LAYERS)
    return {
        "exp4_cpu_seconds": {name: round(seconds, 1) for name, seconds in costs.items()},
        "exp4_over_one_reference_trial": {
            precision: round(costs[f"ours {precision}"] / costs["student"], 3) for precision in ("fp32", "bf16")
        },
        "exp4_vs_reference_trials": {
            f"ours {precision} against {name}": round(seven * costs[name] / costs[f"ours {precision}"], 2)
            for name in references
            for precision in ("fp32", "bf16")
        },
        "checkpoint_bytes": sizes,
    }


def exp4_plan(source: EncoderSource, data: str, settings: Mapping[str, Any], dev: int) -> Plan:
    """Return exp4's plan for one thread."""
    options = Options(
        name="exp4", profile="study", encoder=str(source.folder), data=data, profile_settings={}, settings=settings,
        trials=None, max_dev_examples=dev, seed=0, gpus_per_trial=0, cpus_per_trial=1,
    )  # fmt: skip
    inspected = inspect(load_sweep(Path("search_spaces/exp4.py")), options)
    return draft(inspected, Machine((Node(1, 0.0),), "one core")).plan


def state_sizes(trial: Path) -> dict[str, int]:
    """Return the bytes of a trial's checkpoints while it runs: the best-dev one, and the one to go on from."""
    found = {kind: sorted(trial.glob(f"attempt-*/{kind}-*")) for kind in ("best", "state")}
    return {kind: sum(f.stat().st_size for f in folders[-1].iterdir()) for kind, folders in found.items() if folders}


def one_trial(reference: Reference, epochs: int, folder: Path) -> float:
    """Return the CPU seconds of a reference's whole trial: epochs, evaluations, the best weights saved each time."""
    started = time.process_time()
    best = -1.0
    for _ in range(epochs):
        for name, examples in reference.batches:
            reference.step(name, examples)
        overall = statistics.mean(reference.evaluate().values())
        if overall > best:
            best = overall
            save_file(
                {n: t.contiguous() for n, t in reference.model.state_dict().items()}, folder / "reference.safetensors"
            )
    return time.process_time() - started


def our_trial(
    config: TrialConfig,
    entries: Sequence[TaskData],
    source: EncoderSource,
    cache: PrefixCache,
    folder: Path,
    device: torch.device = CPU,
) -> None:
    """Run a trial with its checkpoints, without plan and verdict: on data that no file holds, and for the memory."""
    if device.type == "cpu":
        bound_heap()
    prefix = FrozenPrefix(config, source, device, cache)
    for _ in prefix.build([examples.tokens for entry in entries for examples in (entry.train, entry.dev)]):
        pass
    best = -1.0
    for result in fine_tune(config, entries, source, device=device, cache=cache):
        facts: dict[str, Any] = {
            "tasks": [entry.task for entry in entries],
            "config": config,
            "encoder": source,
            "state": result.state,
        }
        if result.dev.overall > best:
            best = result.dev.overall
            table = predictions_table(entries, result.dev)
            save_checkpoint(folder / "best", facts={}, with_optimizer=False, predictions=table, **facts)
        save_checkpoint(folder / "state", facts={}, with_optimizer=True, **facts)


def worker_rss(who: str, encoder: str, data: str) -> int:
    """Return the bytes that a trial of two epochs adds, at its peak, to a process that has imported everything."""
    source = find_encoder(encoder)
    config = replace(STUDY, max_train_examples=96, epochs=2)
    entries = task_data(source, config, data, dev=96)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if who == "ours":
            in_fresh_process("fill_cache", encoder, data, str(folder / "cache"))
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
        before = status("VmRSS")
        if who == "ours":
            our_trial(config, entries, source, PrefixCache(folder / "cache"), folder / "trial")
        else:
            one_trial(student(config, entries, source.config, source.part().state_dict()), config.epochs, folder)
        return status("VmHWM") - before


def status(field: str) -> int:
    """Return a field of this process's status in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def fill_cache(encoder: str, data: str, folder: str) -> int:
    """Build the prefix cache that a worker finds."""
    source = find_encoder(encoder)
    config = replace(STUDY, max_train_examples=96)
    entries = task_data(source, config, data, dev=96)
    prefix = FrozenPrefix(config, source, CPU, PrefixCache(Path(folder)))
    return sum(1 for _ in prefix.build([x.tokens for entry in entries for x in (entry.train, entry.dev)]))


def in_fresh_process(function: str, *arguments: str) -> int:
    """Return what a function of this file gives in a process of its own."""
    call = f"print(s.{function}(*{arguments!r}))"
    code = f"import torch; torch.set_num_threads(1); from benchmarks import sweep_cost as s; {call}"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1])


def between_trials(data: str, folder: Path) -> dict[str, float]:
    """Return the seconds from one trial's verdict to the next one's first step, in a sweep with one worker.

    MiniLM, heads and pooler alone, so that epochs are short; 4,000 examples a task. The first step is where the
    epoch began: its end less the time that training and evaluation took.
    """
    out = folder / "runs"
    command = [
        sys.executable, "-m", "orchestrator.sweep", "search_spaces/exp4.py", "--profile", "laptop", "--out", str(out),
        "--data", data, "--epochs", "1", "--max-train-examples", "4000", "--max-dev-examples", "500",
        "--set", "unfrozen_layers=0", "--concurrent", "1", "--quiet",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    trials = sorted((out / "exp4" / "trials").iterdir(), key=lambda path: (path / "verdict.json").stat().st_mtime)
    ends = [(path / "verdict.json").stat().st_mtime for path in trials]
    gaps = [first_step(path) - end for end, path in zip(ends, trials[1:], strict=False)]
    return {"median": round(statistics.median(gaps), 3), "low": round(min(gaps), 3), "high": round(max(gaps), 3)}


def first_step(trial: Path) -> float:
    """Return when a trial of one epoch took its first step, in seconds since 1970."""
    (weights,) = trial.glob("attempt-1/best-0001/model.safetensors")
    (epoch,) = json.loads((trial / "verdict.json").read_text(encoding="utf-8"))["history"]
    began: float = weights.stat().st_mtime - epoch["train_seconds"] - epoch["evaluation_seconds"]
    return began


def table(found: Mapping[str, Any]) -> str:
    """Return the figures as Markdown."""
    machine = found["machine"]
    lines = [f"{machine['cpu']}, one thread, torch {machine['torch']}, {machine['date']}; data {found['data']}", ""]
    names = [(key, name) for key, name in AGAINST.items() if key in found]
    if "step_vs_reference" in found:
        lines += [
            "| model | unfrozen | precision | " + " | ".join(f"x {n}" for _, n in names) + " |",
            "| --- " * (3 + len(names)) + "|",
        ]
        for model, depths in found["step_vs_reference"].items():
            for depth in depths:
                for precision in ("fp32", "bf16"):
                    ratios = [found[key][model][depth][precision] for key, _ in names]
                    shown = " | ".join(f"{r['median']} ({r['low']} to {r['high']})" for r in ratios)
                    lines.append(f"| {model} | {depth} | {precision} | {shown} |")
        lines.append("")
    rest = {k: v for k, v in found.items() if k.startswith(("exp4", "checkpoint", "worker", "between"))}
    lines += [f"- {name}: {json.dumps(value)}" for name, value in rest.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.sweep_cost")
