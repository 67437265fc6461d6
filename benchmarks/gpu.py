"""exp4 on one GPU, on data of the study's sizes: `python -m benchmarks.gpu [--data DIR]`.

Token ids are random, token lengths are drawn from real files, so that a step costs what it costs on the study's data;
scores mean nothing. bert-base's shape, ten epochs, cache, evaluation and checkpoints included. `--device cpu --scale
0.002` runs the same on a laptop, to see that it runs.
"""

import json
import sys
import tempfile
import time
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from benchmarks.material import STUDY, encoder_source, task_data
from benchmarks.sweep_cost import our_trial
from model.config import HeadConfig
from model.data import SAMPLE
from model.evaluation import Examples
from model.prefix_cache import PrefixCache
from model.tokens import PackedTokens
from model.training import TaskData
from search_spaces.exp4 import COMMON_AND_TASK_LAYERS

TRAIN = {"sentiment": 8_544, "paraphrase": 141_506, "similarity": 6_040}
DEV = {"sentiment": 1_101, "paraphrase": 20_215, "similarity": 864}
CLS, SEP, WORDS = 101, 102, (1_000, 30_000)
"""Ids of BERT's vocabulary."""


class Precision(StrEnum):
    """Of matrix products."""

    bf16 = "bf16"
    fp32 = "fp32"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    data: Annotated[str, typer.Option(help="Files whose token lengths are drawn from.")] = str(SAMPLE),
    device: Annotated[str, typer.Option(help="cuda or cpu.")] = "cuda",
    scale: Annotated[float, typer.Option(min=0.0001, max=1, help="Share of the study's examples.")] = 1.0,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each trial.")] = 10,
    precision: Annotated[list[Precision] | None, typer.Option(help="bf16, fp32, or both by naming neither.")] = None,
) -> None:
    """Measure exp4 in bf16 and fp32 and print one JSON object; each trial's seconds on standard error as it ends."""
    if device == "cuda" and not torch.cuda.is_available():
        print("no GPU here: torch.cuda.is_available() is False; --device cpu --scale 0.002 shows that it runs")
        raise typer.Exit(2)
    where = torch.device(device)
    found: dict[str, object] = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "torch": torch.__version__,
        "date": time.strftime("%F"),
        "scale": scale,
        "epochs": epochs,
    }
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        source = encoder_source("bert-base", folder)
        real = task_data(source, replace(STUDY, max_train_examples=2_000), data, dev=500)
        entries = [of_size(entry, scale, seed) for seed, entry in enumerate(real)]
        for each in precision or list(Precision):
            cache = PrefixCache(folder / each)
            seconds = []
            for common, task in COMMON_AND_TASK_LAYERS:
                heads = HeadConfig(common_layers=common, task_layers=task)
                config = replace(STUDY, heads=heads, precision=each.value, epochs=epochs)
                started = time.monotonic()
                our_trial(config, entries, source, cache, folder / f"{each}-{common}-{task}", where)
                seconds.append(round(time.monotonic() - started, 1))
                print(f"{each} {common}/{task}: {seconds[-1]} s", file=sys.stderr, flush=True)
            found[f"exp4_seconds_{each}"] = round(sum(seconds), 1)
            found[f"trial_seconds_{each}"] = seconds
    print(json.dumps(found, indent=1))


def of_size(entry: TaskData, scale: float, seed: int) -> TaskData:
    """Return a task of the study's size times `scale`, lengths drawn from this one's, ids and labels at random."""
    name = entry.task.name
    rng = np.random.default_rng(seed)
    sizes = [max(32, round(scale * size)) for size in (TRAIN[name], DEV[name])]
    train, dev = (
        random_examples(real, size, entry, rng) for real, size in zip((entry.train, entry.dev), sizes, strict=True)
    )
    return TaskData(entry.task, train, dev)


def random_examples(real: Examples, size: int, entry: TaskData, rng: np.random.Generator) -> Examples:
    """Return examples of random words, as long as those drawn from the real ones."""
    chosen = real.tokens.sequences_of(rng.integers(0, len(real), size))
    lengths = real.tokens.lengths[chosen]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = rng.integers(*WORDS, offsets[-1]).astype(np.int32)
    ids[offsets[:-1]], ids[offsets[1:] - 1] = CLS, SEP
    tokens = PackedTokens(ids, np.zeros(offsets[-1], np.int8), offsets, real.tokens.per_example)
    labels = rng.integers(int(entry.task.low), int(entry.task.high) + 1, size).astype(np.float64)
    return Examples(tokens, labels, tuple(map(str, range(size))))


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.gpu")
