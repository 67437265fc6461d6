"""What a trial stores, made by the real code, and how each part is read: something to damage."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.checkpoint import PREDICTIONS, load_state, open_checkpoint
from model.config import HeadConfig, TrialConfig
from model.frozen_prefix import FrozenPrefix
from model.prefix_cache import PrefixCache
from model.tokens import _read
from model.training import prepare
from orchestrator.inspection import Options, inspect
from orchestrator.paths import SweepPaths, TrialPaths
from orchestrator.plan import draft
from orchestrator.resources import Machine, Node
from orchestrator.spec import LoadedSweep, Sweep
from orchestrator.trial import Execution, run_trial
from orchestrator.trial_files import read_verdict

CONFIG = TrialConfig(unfrozen_layers=1, heads=HeadConfig(dropout=0.1), max_tokens=32, epochs=2, batch_size=16)


@dataclass(frozen=True)
class Stored:
    """Something that a sweep stores, and how it is read."""

    folder: Path
    read: Callable[[Path], Any]
    heals: bool = False
    """Whether damage to one file is made good from another."""

    @property
    def files(self):
        """Return its files."""
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return sorted(path for path in found if path.suffix not in (".lock", ".held"))

    @property
    def value(self):
        """Return what is read while nothing is damaged."""
        return self.read(self.folder)


def stored_by_a_trial(root, data, encoder):
    """Return, by name, what a trial stores: a state within its second epoch, its best, its verdict, both caches."""
    paths, drafted = SweepPaths(root / "runs", "tiny"), settled(data, encoder)
    folder = paths.trial(0)
    begun = attempt(drafted.plan, paths, report_s=0.0)
    while (said := next(begun)).get("step") != 4 or len(said["history"]) != 1:
        pass
    begun.close()
    (state,) = folder.root.glob("attempt-1/state-0001-*")
    kept = state.rename(root / state.name)
    for _ in attempt(drafted.plan, paths, report_s=3600.0):
        pass
    (best,) = folder.root.glob("attempt-*/best-*")
    examples = prepare(
        drafted.corpus, CONFIG, drafted.encoder.tokenizer(), tokenizer_sha256=drafted.encoder.tokenizer_sha256
    )
    prefix = FrozenPrefix(CONFIG, drafted.encoder, torch.device("cpu"), PrefixCache(paths.prefix_cache))
    entry = prefix.entry(examples[0].train.tokens, prefix.depth)
    tokens = next(path for path in paths.token_cache.iterdir() if path.is_dir())
    for name, files in (
        ("verdict", (folder.verdict, folder.verdict_copy)),
        ("prefix", (paths.prefix_cache / entry.name,)),
        ("tokens", (tokens,)),
    ):
        (root / name / "0000").mkdir(parents=True)
        for path in files:
            path.rename(root / name / "0000" / path.name)

    def read_prefix(folder):
        rows = PrefixCache(folder / "0000").open(entry)
        if rows is None:
            raise FileNotFoundError(folder)
        return hashlib.sha256(rows.numpy().tobytes()).hexdigest()

    def read_tokens(folder):
        found = _read(folder / "0000" / tokens.name)
        return found.ids.tobytes(), found.types.tobytes(), found.offsets.tobytes(), found.per_example

    return {
        "state": Stored(kept, read_state),
        "best": Stored(best, read_best),
        "verdict": Stored(root / "verdict", lambda folder: read_verdict(TrialPaths(folder / "0000")), heals=True),
        "prefix": Stored(root / "prefix", read_prefix),
        "tokens": Stored(root / "tokens", read_tokens),
    }


def settled(data, encoder):
    """Return the draft of a sweep of one config."""
    loaded = LoadedSweep(Path("given.py"), Sweep(question="?", baseline=CONFIG, configs=[CONFIG]), "a" * 64)
    options = Options(
        name="tiny", profile="laptop", encoder=str(encoder), data=str(data), profile_settings={}, settings={},
        trials=None, max_dev_examples=None, seed=0, gpus_per_trial=None, cpus_per_trial=1.0,
    )  # fmt: skip
    return draft(inspect(loaded, options), Machine((Node(2, 0.0),), "a test's machine"))


def attempt(plan, paths, report_s):
    """Start the next attempt at the trial."""
    number = len(paths.trial(0).attempts()) + 1
    paths.trial(0).new_attempt()
    return run_trial(plan, paths, 0, CONFIG, number, Execution(10**9, report_s=report_s))


def read_state(folder):
    """Return what training goes on from, as hashes."""
    state = load_state(open_checkpoint(folder))
    return state.epoch, state.step, [hashed(part) for part in (state.weights, state.optimizer, state.within)]


def hashed(tensors):
    """Return the sha256 of each tensor's bytes."""
    return {name: hashlib.sha256(value.numpy().tobytes()).hexdigest() for name, value in tensors.items()}


def read_best(folder):
    """Return all that a best-dev checkpoint says."""
    checkpoint = open_checkpoint(folder)
    return checkpoint.manifest, checkpoint.weights.read_bytes(), (folder / PREDICTIONS).read_bytes()
