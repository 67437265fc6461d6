"""Fine-tuning as a generator: it yields one result an epoch; stopping is ceasing to ask."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from model.batches import Indices, epoch_batches
from model.config import TrialConfig, encoding_of
from model.data import Corpus, Split
from model.encoder import EncoderParts
from model.evaluation import Evaluation, Examples, evaluate
from model.frozen_prefix import FrozenPrefix
from model.inputs import Inputs
from model.multitask import MultitaskModel, weighted_loss
from model.prefix_cache import PrefixCache
from model.tasks import Task
from model.tokens import packed_tokens

ADAM_EPSILON = 1e-6
"""The course code's."""
STEPS_BETWEEN_LOOKS = 32
"""Steps after which the losses are looked at: each look makes the program wait for a GPU."""


class DivergedError(ArithmeticError):
    """The loss is no longer a finite number; the text names task, epoch and step."""


@dataclass(frozen=True)
class TaskData:
    """One task with the examples that train it and those that score it."""

    task: Task
    train: Examples
    dev: Examples


@dataclass(frozen=True)
class TrainingState:
    """All that training goes on from at the end of an epoch; the seed gives the rest."""

    epoch: int
    weights: Mapping[str, Tensor]
    """The trained tensors, by parameter name."""
    optimizer: Mapping[str, Tensor]
    """AdamW's step and moments, as "exp_avg/PARAMETER" and so on."""


@dataclass(frozen=True)
class EpochResult:
    """What one epoch of training came to. The state's tensors are the live ones: save them before going on."""

    epoch: int
    train_loss: float
    """Mean over the epoch's steps."""
    learning_rate: float
    dev: Evaluation
    train_seconds: float
    evaluation_seconds: float
    state: TrainingState


def prepare(
    corpus: Corpus,
    config: TrialConfig,
    tokenizer: Tokenizer,
    *,
    tokenizer_sha256: str,
    max_dev_examples: int | None = None,
    cache: Path | None = None,
) -> list[TaskData]:
    """Return the config's tasks with their examples as token ids, capped, from the token cache if one is given."""
    data = []
    for name in config.tasks:
        train, dev = corpus[name]["train"], corpus[name]["dev"]
        data.append(
            TaskData(
                train.task,
                tokenized(train.capped(config.max_train_examples), config, tokenizer, tokenizer_sha256, cache),
                tokenized(dev.capped(max_dev_examples), config, tokenizer, tokenizer_sha256, cache),
            )
        )
    return data


def tokenized(
    split: Split, config: TrialConfig, tokenizer: Tokenizer, tokenizer_sha256: str, cache: Path | None = None
) -> Examples:
    """Return a split's examples as the token ids that this config's model reads."""
    tokens = packed_tokens(
        split,
        encoding_of(config, split.task),
        tokenizer,
        tokenizer_sha256=tokenizer_sha256,
        max_tokens=config.max_tokens,
        cache=cache,
    )
    return Examples(tokens, split.labels, split.ids)


def fine_tune(
    config: TrialConfig,
    data: Sequence[TaskData],
    encoder: EncoderParts,
    *,
    device: torch.device | str = "cpu",
    resume: TrainingState | None = None,
    cache: PrefixCache | None = None,
) -> Iterator[EpochResult]:
    """Train for the config's epochs and yield the result of each; the encoder given is left as it is.

    On a CPU the same config, data, encoder and thread count give the same bits: through `resume`, and with the frozen
    layers' states in the cache or without. Raises DivergedError where the loss stops being finite.
    """
    tasks = [entry.task for entry in data]
    prefix = FrozenPrefix(config, encoder, torch.device(device), cache)
    model = MultitaskModel(config, tasks, prefix.top()).to(device)
    if resume is not None:
        model.load_trained(resume.weights)
    optimizer = adamw(model, config)
    if resume is not None:
        _load_optimizer(optimizer, model, resume.optimizer)
    inputs = prefix.inputs([examples.tokens for entry in data for examples in (entry.train, entry.dev)])
    train_inputs = dict(zip([entry.task.name for entry in data], inputs[::2], strict=True))
    dev_inputs = dict(zip([entry.task.name for entry in data], inputs[1::2], strict=True))
    dev = {entry.task.name: entry.dev for entry in data}
    for epoch in range(resume.epoch + 1 if resume else 1, config.epochs + 1):
        learning_rate = config.learning_rate * config.learning_rate_decay ** (epoch - 1)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        started = time.monotonic()
        train_loss = _train_epoch(model, optimizer, config, data, train_inputs, epoch)
        trained = time.monotonic()
        evaluation = evaluate(model, tasks, dev, dev_inputs)
        for task in tasks:
            if not np.isfinite(evaluation.outputs[task.name]).all():
                raise DivergedError(
                    f"the outputs of {task.name} are not finite at epoch {epoch}; {_smaller(learning_rate)}"
                )
        yield EpochResult(
            epoch=epoch,
            train_loss=train_loss,
            learning_rate=learning_rate,
            dev=evaluation,
            train_seconds=trained - started,
            evaluation_seconds=time.monotonic() - trained,
            state=TrainingState(epoch, model.trained_tensors(), _optimizer_tensors(optimizer, model)),
        )


def _train_epoch(
    model: MultitaskModel,
    optimizer: torch.optim.Optimizer,
    config: TrialConfig,
    data: Sequence[TaskData],
    inputs: Mapping[str, Inputs],
    epoch: int,
) -> float:
    """Take the epoch's steps; return the mean loss. Dropout depends on seed and epoch alone."""
    model.train()
    torch.manual_seed(config.seed * 1_000_003 + epoch)
    by_name = {entry.task.name: entry for entry in data}
    labels = {}
    for entry in data:
        assert entry.train.labels is not None, f"{entry.task.name}: training examples have labels"
        labels[entry.task.name] = torch.from_numpy(entry.train.labels).float().to(model.device)
    batches = epoch_batches({n: len(e.train) for n, e in by_name.items()}, config, epoch)
    losses = torch.zeros(len(batches), dtype=torch.float64, device=model.device)
    for step, (name, examples) in enumerate(batches):
        entry = by_name[name]
        chosen = labels[name][torch.from_numpy(examples).to(model.device)]
        losses[step] = take_step(model, optimizer, config, entry, inputs[name], examples, chosen)
        if (step + 1) % STEPS_BETWEEN_LOOKS == 0 or step + 1 == len(batches):
            _refuse_divergence(losses[: step + 1].tolist(), batches, epoch, optimizer.param_groups[0]["lr"])
    return float(losses.mean())


def take_step(
    model: MultitaskModel,
    optimizer: torch.optim.Optimizer,
    config: TrialConfig,
    entry: TaskData,
    inputs: Inputs,
    examples: Indices,
    labels: Tensor,
) -> Tensor:
    """Take one step on these examples of a task, with their labels [B]; return the loss, still on the device."""
    tokens = entry.train.tokens
    outputs = model(entry.task, model.pooled(inputs.batch(tokens.sequences_of(examples))), tokens.per_example)
    loss = weighted_loss(config, entry.task, outputs, labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.detach()


def _refuse_divergence(losses: list[float], batches: Sequence[tuple[str, Indices]], epoch: int, rate: float) -> None:
    for step, ((name, _), value) in enumerate(zip(batches, losses, strict=False), start=1):
        if not math.isfinite(value):
            raise DivergedError(f"the loss of {name} is {value} at epoch {epoch}, step {step}; {_smaller(rate)}")


def _smaller(learning_rate: float) -> str:
    return f"the learning rate is {learning_rate:g}, a smaller one may hold"


def adamw(model: MultitaskModel, config: TrialConfig) -> torch.optim.Optimizer:
    """Return the optimizer of what trains: fused, with the course code's epsilon."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=config.learning_rate, eps=ADAM_EPSILON, fused=True
    )


def _optimizer_tensors(optimizer: torch.optim.Optimizer, model: MultitaskModel) -> dict[str, Tensor]:
    """Return the optimizer's state by parameter name, in a flat form that safetensors can hold."""
    return {
        f"{key}/{name}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _load_optimizer(optimizer: torch.optim.Optimizer, model: MultitaskModel, tensors: Mapping[str, Tensor]) -> None:
    parameters = dict(model.named_parameters())
    for path, tensor in tensors.items():
        key, _, name = path.partition("/")
        parameter = parameters[name]
        optimizer.state[parameter][key] = tensor.to(parameter.device, copy=True)  # fused: the step too
