"""The eight invariants of a sweep, checked after any faults: study, folders, MLflow, processes and the log."""

import json
import time
from collections import Counter, defaultdict
from pathlib import Path

import torch
from mlflow import MlflowClient

from model.checkpoint import load_model, open_checkpoint
from model.data import load_corpus
from model.encoder_store import encoder_of
from model.sealed import readable
from model.training import prepare
from orchestrator.paths import SweepPaths, tracking_uri
from orchestrator.plan import read_plan
from orchestrator.study import TrialStudy
from orchestrator.trial_files import read_verdict

LEAVE_S = 10.0
"""Seconds that processes are given to end after their driver."""
TIMES = ("train_seconds", "evaluation_seconds", "ended_at_seconds")


def violations(lab, twin=None, faults=0, *, again=True):
    """Return what is violated, by the invariant's name; `twin` is an equal lab that nothing disturbed.

    With `again` False the costly part of I3, evaluating every best model once more, is left out.
    """
    paths = SweepPaths(lab.out, lab.name)
    plan = read_plan(paths.plan)
    study = TrialStudy(paths.study_uri, plan, None)
    trials = study._study.get_trials()
    verdicts = {number: read_verdict(paths.trial(number)) for number in range(len(trials))}
    found = {
        "I1": one_end_each(plan, trials),
        "I2": [],
        "I3": bests(paths, plan, verdicts, again=again),
        "I4": agreement(study, verdicts, len(trials)),
        "I5": [],
        "I6": same_weights(lab, twin, verdicts) if twin else [],
        "I7": leftovers(lab),
        "I8": redone(lab, faults),
    }
    in_mlflow(lab, plan, verdicts, found)
    listed = {name: list(lines) for name, lines in found.items()}
    return {name: lines for name, lines in listed.items() if lines}


def one_end_each(plan, trials):
    """I1: every config has exactly one trial, and each has ended."""
    if len(trials) != plan.trials:
        yield f"{len(trials)} trials for {plan.trials} configs"
    for trial in trials:
        if not trial.state.is_finished():
            yield f"trial {trial.number} is {trial.state.name}"
        if plan.configs and trial.user_attrs.get("config") != plan.configs[trial.number]:
            yield f"trial {trial.number} has another config than was listed"


def bests(paths, plan, verdicts, *, again):
    """I3: the best-dev checkpoint is whole, and evaluating it again gives the recorded score to the last bit."""
    data, encoder = None, None
    for number, verdict in verdicts.items():
        if not verdict or not verdict.get("best"):
            continue
        checkpoint = open_checkpoint(paths.trial(number).root / verdict["best"]["checkpoint"])
        if checkpoint.manifest["dev_score"] != verdict["best"]["dev_score"]:
            yield f"trial {number}: the checkpoint says {checkpoint.manifest['dev_score']}"
        if not again or "model.safetensors" not in checkpoint.manifest["files"]:
            continue
        torch.set_num_threads(plan.threads)
        if data is None:
            encoder = encoder_of(plan.encoder, plan.encoder["given"], paths.encoders)
            corpus = readable(load_corpus(plan.data["source"], plan.task_list()), plan.data["sealed"])
            sha = encoder.tokenizer_sha256
            data = prepare(corpus, checkpoint.config, encoder.tokenizer(), tokenizer_sha256=sha)
        model = load_model(checkpoint, encoder)
        scored = model.evaluate([entry.task for entry in data], {entry.task.name: entry.dev for entry in data})
        if scored.overall != verdict["best"]["dev_score"]:
            yield f"trial {number}: evaluated again it scores {scored.overall}, not {verdict['best']['dev_score']}"


def agreement(study, verdicts, count):
    """I4, its first half: study and folders say the same of every trial."""
    ended = study.ended()
    for number in range(count):
        said = (verdicts[number] or {}).get("state")
        if ended.get(number) != said:
            yield f"trial {number}: the study says {ended.get(number)}, its folder {said}"


def in_mlflow(lab, plan, verdicts, found):
    """I2, I4, I5: each trial has one run, which has ended as it did, with every epoch once."""
    uri = lab.mlflow or tracking_uri(lab.out)
    client = MlflowClient(uri, registry_uri=uri)
    experiments = client.search_experiments(filter_string=f"name = '{plan.name}'")
    if len(experiments) != 1:
        found["I2"].append(f"{len(experiments)} experiments")
        return
    runs = client.search_runs([experiments[0].experiment_id], max_results=5000)
    kinds = Counter((run.data.tags["kind"], run.data.tags.get("trial")) for run in runs)
    found["I2"] += [f"{count} runs of {key}" for key, count in kinds.items() if count > 1]
    found["I2"] += [f"no run of trial {n}" for n in verdicts if ("trial", str(n)) not in kinds]
    found["I4"] = [*found["I4"]]
    for run in runs:
        if run.info.status == "RUNNING":
            found["I4"].append(f"MLflow: {run.data.tags['kind']} {run.data.tags.get('trial')} is RUNNING")
        if run.data.tags["kind"] != "trial":
            continue
        number = int(run.data.tags["trial"])
        verdict = verdicts.get(number)
        if verdict is None:
            continue
        if run.data.tags["state"] != verdict["state"]:
            found["I4"].append(f"MLflow says trial {number} is {run.data.tags['state']}")
        for key, expected in by_metric(verdict["history"]).items():
            logged = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, key)]
            if sorted(logged) != expected:
                found["I5"].append(f"trial {number}: MLflow has {key} {sorted(logged)}, the folder {expected}")


def by_metric(history):
    """Return what MLflow has to have of a history, by its metrics' names: (epoch, value) each."""
    found = defaultdict(list)
    for entry in history:
        values = {"dev/score": entry["dev_score"], "train/loss": entry["train_loss"], "lr": entry["learning_rate"]}
        for key, value in (values | {f"dev/{task}": score for task, score in entry["scores"].items()}).items():
            found[key].append((entry["epoch"], value))
    return found


def final_weights(log, epochs):
    """Return the hashes that the log has of each trial's weights after its last epoch."""
    found = defaultdict(set)
    for line in log:
        if line["at"] == "state: saved" and (line["epoch"], line["step"]) == (epochs, 0):
            found[line["trial"]].add(line["weights"])
    return found


def same_weights(lab, twin, verdicts):
    """I6: final weights and the whole history equal the undisturbed run's."""
    ours, theirs = final_weights(lab.log(), lab.epochs), final_weights(twin.log(), twin.epochs)
    paths = SweepPaths(twin.out, twin.name)
    for number, verdict in verdicts.items():
        if len(theirs[number]) != 1 and verdict and verdict["state"] == "completed":
            yield f"trial {number}: the log has no final weights to compare with"
        if ours[number] != theirs[number]:
            yield f"trial {number}: weights {ours[number]}, undisturbed {theirs[number]}"
        plain = [untimed(read) for read in (verdict, read_verdict(paths.trial(number)))]
        if plain[0] != plain[1]:
            yield f"trial {number}: its history differs from the undisturbed one"


def untimed(verdict):
    """Return a verdict's history without times."""
    return [{k: v for k, v in entry.items() if k not in TIMES} for entry in (verdict or {}).get("history", ())]


def leftovers(lab):
    """I7: no process, no temporary file, no lock that is held."""
    end = time.monotonic() + LEAVE_S
    while (left := lab.processes()) and time.monotonic() < end:
        time.sleep(0.1)
    for pid in left:
        yield f"process {pid}: {Path(f'/proc/{pid}/cmdline').read_bytes()[:100]!r}"
    kept = {".ray-token", f".{lab.name}.lock", f".{lab.name}.holder"}
    for path in lab.out.rglob(".*"):
        if path.name not in kept and "ray" not in path.relative_to(lab.out).parts:
            yield f"file {path.relative_to(lab.out)}"
    for path in lab.sweep.glob("trials/*/attempt-*/state-*"):
        yield f"state {path.relative_to(lab.out)}"


def redone(lab, faults):
    """I8: no attempt goes on from more than an epoch behind where the one before it stood.

    A state that was damaged is a fault of its own: the one before it is an epoch older.
    """
    damaged = Counter(line["trial"] for line in lab.log() if line["at"] == "state: damaged")
    reached, steps = {}, max((line["step"] for line in lab.log() if line["at"] == "step: taken"), default=0)
    total = 0
    for line in lab.log():
        if line["at"] != "step: taken":
            continue
        key, place = line["trial"], line["epoch"] * steps + line["step"]
        attempt, furthest = reached.get(key, (line["attempt"], place - 1))
        if line["attempt"] != attempt:
            again = furthest - place + 1
            total += max(0, again)
            if again > steps * (1 + damaged[key]):
                yield f"trial {key}: {line['attempt']} took {again} steps again, an epoch has {steps}"
        reached[key] = line["attempt"], max(furthest, place)
    if faults and total > faults * steps * 2:
        yield f"{total} steps were taken again after {faults} faults, an epoch has {steps}"


def lasting(board, name=None):
    """Return a leaderboard without times, paths and run ids, as bytes: what two equal sweeps have in common."""
    lasting_parts = {
        part: [
            {k: v for k, v in row.items() if k not in ("train_seconds", "checkpoint", "mlflow_run")}
            for row in board[part]
        ]
        for part in ("rows", "trials")
    }
    return json.dumps({**board, "sweep": name or board["sweep"], **lasting_parts}).encode()
