"""A training in which torch has no part: after each step its weights are a pure function of the seed."""

import hashlib
from dataclasses import replace
from functools import cache, partial
from types import SimpleNamespace

import numpy as np
import torch
from safetensors.torch import save

from model.config import TrialConfig
from model.evaluation import Evaluation, Examples
from model.tasks import TASKS
from model.training import DivergedError, EpochResult, Position, TaskData, TrainingState
from orchestrator.trial import _entry

STEPS, DIVERGES_AT = 2, 0.9
"""Steps of an epoch; the learning rate that makes a training diverge in its second epoch."""
TASK = TASKS["sentiment"]
CONFIG = TrialConfig(tasks=(TASK.name,), epochs=3)
CONFIGS = [CONFIG, replace(CONFIG, seed=1, learning_rate=DIVERGES_AT), replace(CONFIG, seed=2)]


def _drawn(*parts):
    return torch.frombuffer(bytearray(hashlib.sha256(repr(parts).encode()).digest()), dtype=torch.uint8)


def scored(weights):
    """Return the evaluation of such weights."""
    score = int.from_bytes(_drawn(bytes(weights.numpy()), "score").numpy()[:3].tobytes()) / 2**24
    outputs = weights.numpy()[: 2 * TASK.outputs].astype(np.float32).reshape(2, TASK.outputs)
    return Evaluation({TASK.name: score}, score, {TASK.name: outputs})


def data():
    """Return two examples of a task, which nothing reads."""
    examples = Examples(None, np.array([0.0, 1.0]), ("first", "second"))
    return [TaskData(TASK, examples, examples)]


def training(config, _data, _encoder, *, device, resume=None, cache=None):
    """Do as `fine_tune_by_steps`: each step changes, in place, all that a state holds, from all that it held."""
    del device, cache
    weights, moments = _drawn(config.seed, "weights"), _drawn(config.seed, "moments")
    if resume is not None:
        weights.copy_(resume.weights["weights"])
        moments.copy_(resume.optimizer["moments"])
    for epoch in range(resume.epoch + 1 if resume else 1, config.epochs + 1):
        begun = resume if resume and resume.step and epoch == resume.epoch + 1 else None
        generator = begun.within["generator"].clone() if begun else _drawn(config.seed, epoch)
        for step in range(begun.step if begun else 0, STEPS):
            if (config.learning_rate, epoch, step) == (DIVERGES_AT, 2, 1):
                raise DivergedError("as planned")
            for tensor in (generator, moments, weights):
                tensor.copy_(_drawn(*(bytes(part.numpy()) for part in (generator, moments, weights)), epoch, step))
            told = {"weights": weights}, {"moments": moments}, step + 1, {"generator": generator}
            yield Position(epoch, step + 1, STEPS, partial(TrainingState, epoch - 1, *told))
        yield EpochResult(
            epoch=epoch,
            train_loss=float(weights[0]) / 256,
            learning_rate=config.learning_rate,
            dev=scored(weights),
            train_seconds=0.5,
            evaluation_seconds=0.25,
            state=TrainingState(epoch, {"weights": weights}, {"moments": moments}),
        )


def course(config):
    """Return what a training that nothing disturbs comes to: its history, and its weights' files by (epoch, step)."""
    return _course(config.seed, config.epochs, config.learning_rate)


@cache
def _course(seed, epochs, learning_rate):
    config = SimpleNamespace(seed=seed, epochs=epochs, learning_rate=learning_rate)
    history, files = [], {}
    try:
        for reached in training(config, None, None, device=None):
            state = reached.state() if isinstance(reached, Position) else reached.state
            files[state.epoch, state.step] = hashlib.sha256(save(state.weights)).hexdigest()
            if isinstance(reached, EpochResult):
                history.append(_entry(reached))
    except DivergedError:
        pass
    return history, files
