"""The sweep as a careful person writes it from Ray's documentation: Tune, OptunaSearch, MLflow's callback, no more.

What tests/faults/side_by_side.py holds orchestrator/ against: the tiny configs of tests/faults/lab.py, the project's
own training, the same command again after each fault. Beyond the documentation it has only lines for the harness's log.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from model.checkpoint import storable
from model.config import HeadConfig, TrialConfig
from model.data import load_corpus
from model.encoder_files import find_encoder
from model.failpoints import DRIVER, reach, watched
from model.tasks import TASKS
from model.training import Position, TrainingState, fine_tune_by_steps, prepare
from model.weights import load_encoder
from orchestrator import ray_environment
from tests.faults.lab import ROOT, Lab

NAME = "bare"
STATE = "state.pt"
TUNES_OWN = ("TUNE_DISABLE_SIGINT_HANDLER", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "TUNE_GLOBAL_CHECKPOINT_S")
"""What orchestrator/ray_environment.py turns off in Tune, and a person who has nothing else leaves on."""


class BareLab(Lab):
    """Bare Tune's sweep in a folder of its own."""

    study = "sqlite"

    def start(self, *more, output=subprocess.DEVNULL):
        """Start the command; it leads a process group of its own, as from a terminal."""
        del output
        line = [sys.executable, "-m", "tests.faults.bare_sweep", "--out", str(self.out), "--study", self.study]
        line += ["--data", str(self.data), "--encoder", str(self.encoder)]
        line += [f"--trials={self.trials}", f"--epochs={self.epochs}", *self.more, *more]
        environment = os.environ | {"SWEEP_FAULTS": str(self.faults), "OMP_NUM_THREADS": "1"}
        with (self.folder / "output").open("a") as shown:
            return subprocess.Popen(
                line, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=shown, stderr=shown, start_new_session=True,
                env=environment | {"PYTHONPATH": str(ROOT)},
            )  # fmt: skip

    @property
    def study_uri(self):
        """Return where the study is, None in memory."""
        return f"sqlite:///{self.out / 'study.db'}" if self.study == "sqlite" else None

    def records(self):
        """Yield what Tune's newest snapshot says of each trial: config (by its seed), whether it ended, epochs."""
        states = sorted((self.out / NAME).glob("experiment_state-*.json"))
        trials = json.loads(states[-1].read_text(encoding="utf-8"))["trial_data"] if states else []
        for said, run in (map(json.loads, trial) for trial in trials):
            epoch = re.search(r"'epoch': (\d+)", str(run["last_result"]))
            yield said["config"]["seed"], said["status"] in ("TERMINATED", "ERROR"), int(epoch[1]) if epoch else 0


class InMemoryLab(BareLab):
    """The same with OptunaSearch's default, a study that lives in the driver and Tune's snapshots alone."""

    study = "memory"


def config_of(seed, epochs):
    """Return the config that tests/faults/lab.py lists at this place."""
    heads = HeadConfig(dropout=0.1 * (seed % 3))
    return TrialConfig(
        seed=seed, epochs=epochs, batch_size=8, learning_rate=3e-3, max_tokens=32, unfrozen_layers=1, heads=heads
    )


def train(config):
    """Train one trial from its last checkpoint; report each epoch with a checkpoint of its own."""
    from ray import tune

    torch.set_num_threads(1)
    values = config_of(config["seed"], config["epochs"])
    corpus, source = load_corpus(config["data"], list(TASKS.values())), find_encoder(config["encoder"])
    data = prepare(corpus, values, source.tokenizer(), tokenizer_sha256=source.tokenizer_sha256)
    where = {"trial": config["seed"], "attempt": f"{tune.get_context().get_trial_id()}-{os.getpid()}"}
    for reached in fine_tune_by_steps(values, data, load_encoder(source), resume=restored(tune.get_checkpoint())):
        if isinstance(reached, Position):
            reach("step: taken", **where, epoch=reached.epoch, step=reached.step)
            continue
        with tempfile.TemporaryDirectory() as folder:
            state = {"epoch": reached.epoch, "weights": dict(reached.state.weights)}
            torch.save({**state, "optimizer": dict(reached.state.optimizer)}, Path(folder) / STATE)
            if watched():
                reach("state: saved", **where, epoch=reached.epoch, step=0, weights=hash_of(reached.state.weights))
            metrics = {"dev_score": reached.dev.overall, "train_loss": reached.train_loss, "epoch": reached.epoch}
            tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))


def restored(checkpoint):
    """Return what training goes on from, None at the start."""
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        kept = torch.load(Path(folder) / STATE, weights_only=True)  # noqa: TID251  (as people do: it is compared)
    return TrainingState(kept["epoch"], kept["weights"], kept["optimizer"])


def hash_of(weights):
    """Return the hash that orchestrator/trial.py logs: that of the file of the trained tensors."""
    import hashlib

    from safetensors.torch import save

    return hashlib.sha256(save(storable(weights))).hexdigest()


def tuner_of(arguments):
    """Return the tuner: the one before's, gone on with, where there is one."""
    import optuna
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    folder = arguments.out.resolve()
    trainable = tune.with_resources(train, {"cpu": 1})
    if tune.Tuner.can_restore(str(folder / NAME)):
        return tune.Tuner.restore(str(folder / NAME), trainable, resume_unfinished=True, resume_errored=True)
    seeds = list(range(arguments.trials))
    space = {"seed": tune.choice(seeds), "epochs": arguments.epochs}
    space |= {"data": str(arguments.data.resolve()), "encoder": str(arguments.encoder.resolve())}
    storage = None if arguments.study == "memory" else optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}")
    # OptunaSearch has no exact lists; over one choice a grid sampler proposes each once, and one that was lost again.
    search = OptunaSearch(
        metric="dev_score",
        mode="max",
        sampler=optuna.samplers.GridSampler({"seed": seeds}, seed=0),
        study_name=NAME,
        storage=storage,
    )
    return tune.Tuner(
        trainable,
        param_space=space,
        tune_config=tune.TuneConfig(search_alg=search, num_samples=arguments.trials, max_concurrent_trials=2),
        run_config=tune.RunConfig(
            name=NAME,
            storage_path=str(folder),
            verbose=1,
            failure_config=tune.FailureConfig(max_failures=-1),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=2),
            callbacks=[
                MLflowLoggerCallback(tracking_uri=arguments.tracking_uri, experiment_name=NAME, save_artifact=False)
            ],
        ),
    )


def main():
    """Run the sweep, or go on with it; say how many trials have all their epochs."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("out", "data", "encoder"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--tracking-uri", required=True)
    parser.add_argument("--study", choices=("sqlite", "memory"), default="sqlite")
    arguments = parser.parse_args()
    ray_environment.prepare(arguments.out, None)
    for name in TUNES_OWN:
        del os.environ[name]

    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    tuner = tuner_of(arguments)
    reach(DRIVER, sweep=NAME)
    reach("study: opened")
    results = tuner.fit()
    whole = {r.config["seed"] for r in results if r.metrics and r.metrics.get("epoch") == arguments.epochs}
    done = "finished" if len(whole) == arguments.trials else "stopped"
    ray.shutdown()
    print(f"{done}: {len(whole)} of {arguments.trials} configs were trained for {arguments.epochs} epochs", flush=True)
    raise SystemExit(1 if results.errors else 0)


if __name__ == "__main__":
    main()
