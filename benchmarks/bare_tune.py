"""Bare Ray Tune on tiny trials, which benchmarks/overhead.py holds the sweep against.

    python -m benchmarks.bare_tune --out DIR --data DIR --encoder DIR --trials 100 [--equipped]

A class Trainable as a careful person writes it: processes are reused, data and encoder are loaded once a process, the
training is the project's own. Bare keeps nothing: no study, no checkpoint, no MLflow. Equipped has what Ray's
documentation has for each of these: OptunaSearch over SQLite, a checkpoint an epoch, the callback for MLflow.
"""

import argparse
import functools
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks.tiny_sweep import base
from model.checkpoint import storable
from model.config import HeadConfig
from model.data import load_corpus
from model.encoder_files import find_encoder
from model.tasks import TASKS
from model.training import fine_tune, prepare
from model.weights import load_encoder
from orchestrator import ray_environment
from orchestrator.console import say

NAME = "bare"


@functools.lru_cache(maxsize=1)
def material(data: str, encoder: str) -> tuple[Any, Any, Any]:
    """Return corpus, encoder's files and encoder: once a process."""
    source = find_encoder(encoder)
    return load_corpus(data, list(TASKS.values())), source, load_encoder(source)


def trainable() -> type:
    """Return the Trainable; Ray is imported after its environment is set."""
    from ray import tune

    class Tiny(tune.Trainable):  # type: ignore[misc]  # ray has no types
        """Trains a config for its epochs, one a step."""

        def setup(self, config: dict[str, Any]) -> None:
            """Begin a trial."""
            torch.set_num_threads(1)
            corpus, source, encoder = material(config["data"], config["encoder"])
            values = base(config["epochs"])
            seed = config["seed"]
            values = replace(values, seed=seed, heads=HeadConfig(dropout=0.1 * (seed % 3)))
            data = prepare(corpus, values, source.tokenizer(), tokenizer_sha256=source.tokenizer_sha256)
            self._epochs = values.epochs
            self._results = fine_tune(values, data, encoder)

        def step(self) -> dict[str, Any]:
            """Train an epoch."""
            self._result = result = next(self._results)
            done = result.epoch == self._epochs
            return {"dev_score": result.dev.overall, "train_loss": result.train_loss, "done": done}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            """Keep what was trained, and the optimizer's state."""
            state = self._result.state
            save_file(storable(state.weights), Path(checkpoint_dir) / "weights.safetensors")
            save_file(storable(state.optimizer), Path(checkpoint_dir) / "optimizer.safetensors")

        def load_checkpoint(self, checkpoint_dir: str) -> None:
            """Nothing is restored here."""

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            """Take up another trial."""
            self.setup(new_config)
            return True

    return Tiny


def main() -> None:
    """Run the trials; say in a line of JSON when each is complete."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("out", "data", "encoder"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--concurrent", type=int, default=2)
    parser.add_argument("--equipped", action="store_true")
    asked = parser.parse_args()
    ray_environment.prepare(asked.out, None)
    del os.environ["TUNE_GLOBAL_CHECKPOINT_S"]  # who has nothing else needs Tune's snapshots

    import ray
    from ray import tune

    class Told(tune.Callback):  # type: ignore[misc]  # ray has no types
        """Says when a trial is complete, in the words of the sweep's --json."""

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
            del iteration, trials
            say(json.dumps({"event": "completed", "trial": trial.trial_id}))

    ray.init(address="local", num_cpus=asked.concurrent, include_dashboard=False, log_to_driver=False)
    seeds = list(range(asked.trials))
    space: dict[str, Any] = {"epochs": asked.epochs}
    space |= {"data": str(asked.data.resolve()), "encoder": str(asked.encoder.resolve())}
    callbacks: list[Any] = [Told()]
    more: dict[str, Any] = {}
    if asked.equipped:
        import optuna
        from ray.air.integrations.mlflow import MLflowLoggerCallback
        from ray.tune.search.optuna import OptunaSearch

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = optuna.storages.RDBStorage(f"sqlite:///{asked.out.resolve() / 'study.db'}")
        sampler = optuna.samplers.RandomSampler(seed=0)
        named = {"metric": "dev_score", "mode": "max", "study_name": NAME}
        more = {"search_alg": OptunaSearch(sampler=sampler, storage=storage, **named), "num_samples": asked.trials}
        more |= {"max_concurrent_trials": asked.concurrent}
        uri = f"sqlite:///{asked.out.resolve() / 'mlflow.db'}"
        callbacks.append(MLflowLoggerCallback(tracking_uri=uri, experiment_name=NAME, save_artifact=False))
        space["seed"] = tune.choice(seeds)
    else:
        space["seed"] = tune.grid_search(seeds)
    # Of both: with reused processes a finished trial would otherwise fail in save().
    kept = {"num_to_keep": 2, "checkpoint_frequency": 1} if asked.equipped else {}
    checkpoints = tune.CheckpointConfig(checkpoint_at_end=False, **kept)
    tune.Tuner(
        tune.with_resources(trainable(), {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(reuse_actors=True, **more),
        run_config=tune.RunConfig(
            name=NAME,
            storage_path=str(asked.out.resolve()),
            verbose=0,
            checkpoint_config=checkpoints,
            callbacks=callbacks,
        ),
    ).fit()
    ray.shutdown()


if __name__ == "__main__":
    from benchmarks.bare_tune import main as importable  # Ray's workers import what a class names

    importable()
