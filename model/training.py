"""Fine-tuning as a generator: it yields one result an epoch; stopping is ceasing to ask.

Underneath it goes by steps, and between any two of them training can be left and taken up again with the same bits.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from model.batches import Indices, epoch_batches
from model.config import TrialConfig, encoding_of
from model.data import Corpus, Split
from model.encoder import EncoderParts
from model.evaluation import Evaluation, Examples, evaluating
from model.frozen_prefix import FrozenPrefix
from model.graphed_steps import GraphedSteps, in_gpu_memory, make_capturable
from model.inputs import Batch, Inputs
from model.multitask import MultitaskModel, weighted_loss
from model.prefix_cache import PrefixCache
from model.tasks import Task
from model.tokens import packed_tokens

ADAM_EPSILON = 1e-6
"""The course code's."""
STEPS_BETWEEN_LOOKS = {"cpu": 1, "cuda": 32}
"""Steps after which the losses are looked at, by device: each look makes the program wait for a GPU."""


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
    """All that training goes on from, after an epoch or within one; the seed gives the rest."""

    epoch: int
    """Epochs that ended."""
    weights: Mapping[str, Tensor]
    """The trained tensors, by parameter name."""
    optimizer: Mapping[str, Tensor]
    """AdamW's step and moments, as "exp_avg/PARAMETER" and so on."""
    step: int = 0
    """Steps taken of the epoch that has not ended; the order of its batches follows from the seed."""
    within: Mapping[str, Tensor] = field(default_factory=dict)
    """Of that epoch: "losses" [step], "seconds" of training, and the random generators as "rng/cpu", "rng/cuda"."""


@dataclass(frozen=True)
class Position:
    """Training stands between two steps, or in the evaluation after an epoch's last."""

    epoch: int
    """The epoch that has not ended."""
    step: int
    """Steps taken of it."""
    steps: int
    """Steps that it has."""
    state: Callable[[], TrainingState]
    """Gives what training goes on from here, while it stands here; its tensors are the live ones."""


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
    for reached in fine_tune_by_steps(config, data, encoder, device=device, resume=resume, cache=cache):
        if isinstance(reached, EpochResult):
            yield reached


def fine_tune_by_steps(
    config: TrialConfig,
    data: Sequence[TaskData],
    encoder: EncoderParts,
    *,
    device: torch.device | str = "cpu",
    resume: TrainingState | None = None,
    cache: PrefixCache | None = None,
) -> Iterator[Position | EpochResult]:
    """Do what `fine_tune` does, yielding a position after each step and each batch of an evaluation too.

    Between two steps torch's global random generator is this run's: another run that draws from it changes this one.
    """
    training = _Training(config, data, encoder, torch.device(device), resume, cache)
    for epoch in range(resume.epoch + 1 if resume else 1, config.epochs + 1):
        yield from training.epoch(epoch, resume if resume and resume.step and epoch == resume.epoch + 1 else None)


class _Training:
    """One run: what stays from epoch to epoch."""

    def __init__(
        self,
        config: TrialConfig,
        data: Sequence[TaskData],
        encoder: EncoderParts,
        device: torch.device,
        resume: TrainingState | None,
        cache: PrefixCache | None,
    ) -> None:
        self._config, self._device = config, device
        self._entries = {entry.task.name: entry for entry in data}
        prefix = FrozenPrefix(config, encoder, device, cache)
        self._model = MultitaskModel(config, [entry.task for entry in data], prefix.top()).to(device)
        if resume is not None:
            self._model.load_trained(resume.weights)
        self._optimizer = adamw(self._model, config)
        if resume is not None:
            _load_optimizer(self._optimizer, self._model, resume.optimizer)
        inputs = prefix.inputs([examples.tokens for entry in data for examples in (entry.train, entry.dev)])
        self._train_inputs = dict(zip(self._entries, inputs[::2], strict=True))
        self._dev_inputs = dict(zip(self._entries, inputs[1::2], strict=True))
        self._labels = {}
        for name, entry in self._entries.items():
            assert entry.train.labels is not None, f"{name}: training examples have labels"
            self._labels[name] = torch.from_numpy(entry.train.labels).float().to(device)
        self._graphed = self._graphed_steps()

    def epoch(self, epoch: int, begun: TrainingState | None) -> Iterator[Position | EpochResult]:
        """Train and evaluate one epoch, from its start or from where it was left."""
        learning_rate = self._config.learning_rate * self._config.learning_rate_decay ** (epoch - 1)
        set_learning_rate(self._optimizer, learning_rate)
        batches = epoch_batches({n: len(e.train) for n, e in self._entries.items()}, self._config, epoch)
        losses = torch.zeros(len(batches), dtype=torch.float64, device=self._device)
        self._model.train()
        torch.manual_seed(self._config.seed * 1_000_003 + epoch)  # dropout depends on seed and epoch alone
        first, looked, seconds = 0, 0, 0.0
        if begun is not None:
            first, seconds = begun.step, float(begun.within["seconds"])
            losses[:first] = begun.within["losses"].to(self._device)
            _set_generators(begun.within, self._device)
        for step in range(first, len(batches)):
            started = time.monotonic()
            losses[step] = self._take_step(*batches[step])
            if (step + 1) % STEPS_BETWEEN_LOOKS[self._device.type] == 0:
                _refuse_divergence(losses, batches, (looked, step + 1), epoch, learning_rate)
                looked = step + 1
            seconds += time.monotonic() - started
            yield self._position(epoch, step + 1, losses, seconds)
        _refuse_divergence(losses, batches, (looked, len(batches)), epoch, learning_rate)
        train_loss = float(losses.mean())
        trained = time.monotonic()
        ended = self._position(epoch, len(batches), losses, seconds)
        evaluation = yield from self._evaluate(ended)
        for name, outputs in evaluation.outputs.items():
            if not np.isfinite(outputs).all():
                raise DivergedError(f"the outputs of {name} are not finite at epoch {epoch}; {_smaller(learning_rate)}")
        yield EpochResult(
            epoch=epoch,
            train_loss=train_loss,
            learning_rate=learning_rate,
            dev=evaluation,
            train_seconds=seconds,
            evaluation_seconds=time.monotonic() - trained,
            state=TrainingState(epoch, self._model.trained_tensors(), _optimizer_tensors(self._optimizer, self._model)),
        )

    def _graphed_steps(self) -> GraphedSteps | None:
        """Return the steps of the tasks whose states a GPU holds, None where it holds none."""
        graphed = {name: inputs for name, inputs in self._train_inputs.items() if in_gpu_memory(inputs)}
        if not graphed:
            return None
        make_capturable(self._optimizer, self._device)
        model, optimizer, config, entries = self._model, self._optimizer, self._config, self._entries

        def step(name: str, batch: Batch, labels: Tensor) -> Tensor:  # not self: graphs go when the run does
            return descend(model, optimizer, config, entries[name], batch, labels)

        return GraphedSteps(step, graphed, self._labels)

    def _take_step(self, name: str, examples: Indices) -> Tensor:
        entry, inputs = self._entries[name], self._train_inputs[name]
        if self._graphed is not None and in_gpu_memory(inputs):
            return self._graphed.take(name, examples, entry.train.tokens.sequences_of(examples))
        chosen = self._labels[name][torch.from_numpy(examples).to(self._device)]
        return take_step(self._model, self._optimizer, self._config, entry, inputs, examples, chosen)

    def _evaluate(self, ended: Position) -> Generator[Position, None, Evaluation]:
        """Score the dev examples, yielding the position between two batches."""
        dev = {name: entry.dev for name, entry in self._entries.items()}
        work = evaluating(self._model, [entry.task for entry in self._entries.values()], dev, self._dev_inputs)
        while True:
            try:
                next(work)
            except StopIteration as end:
                evaluation: Evaluation = end.value
                return evaluation
            yield ended

    def _position(self, epoch: int, step: int, losses: Tensor, seconds: float) -> Position:
        return Position(epoch, step, len(losses), partial(self._state, epoch - 1, step, losses, seconds))

    def _state(self, epoch: int, step: int, losses: Tensor, seconds: float) -> TrainingState:
        within = {"losses": losses[:step], "seconds": torch.tensor(seconds, dtype=torch.float64)}
        weights, optimizer = self._model.trained_tensors(), _optimizer_tensors(self._optimizer, self._model)
        return TrainingState(epoch, weights, optimizer, step, within | _generators(self._device))


def _generators(device: torch.device) -> dict[str, Tensor]:
    """Return the states of the random generators that a step draws from."""
    cuda = {"rng/cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    return {"rng/cpu": torch.get_rng_state(), **cuda}


def _set_generators(states: Mapping[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["rng/cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["rng/cuda"], device)


def take_step(
    model: MultitaskModel,
    optimizer: torch.optim.Optimizer,
    config: TrialConfig,
    entry: TaskData,
    inputs: Inputs,
    examples: Indices,
    labels: Tensor,
) -> Tensor:
    """Take one step on these examples of a task, with their labels [E]; return the loss, still on the device."""
    batch = inputs.batch(entry.train.tokens.sequences_of(examples))
    return descend(model, optimizer, config, entry, batch, labels)


def descend(
    model: MultitaskModel,
    optimizer: torch.optim.Optimizer,
    config: TrialConfig,
    entry: TaskData,
    batch: Batch,
    labels: Tensor,
) -> Tensor:
    """Take one step on a batch of a task, with its examples' labels [E]; return the loss, still on the device."""
    outputs = model(entry.task, model.pooled(batch), entry.train.tokens.per_example)
    loss = weighted_loss(config, entry.task, outputs, labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.detach()


def _refuse_divergence(
    losses: Tensor, batches: Sequence[tuple[str, Indices]], steps: tuple[int, int], epoch: int, rate: float
) -> None:
    """Raise DivergedError where a loss of the steps [first, last) is not finite."""
    for step, value in enumerate(losses[slice(*steps)].tolist(), start=steps[0]):
        if not math.isfinite(value):
            name = batches[step][0]
            raise DivergedError(f"the loss of {name} is {value} at epoch {epoch}, step {step + 1}; {_smaller(rate)}")


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


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set it, in place where it is a tensor: graphs read it where it lies."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(learning_rate)
        else:
            group["lr"] = learning_rate


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
