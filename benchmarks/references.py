"""What a sweep's step is compared with: the code that a student, then an engineer, writes for it.

All train the same thing on the same examples: BERT with the bottom frozen, the heads of the study, AdamW. None is
slowed down on purpose; what each leaves undone is what people leave undone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertModel

from model.batches import Indices, epoch_batches
from model.config import TrialConfig
from model.encoder import Encoder
from model.encoder_config import EncoderConfig, frozen_depth
from model.evaluation import Examples, labels_from
from model.heads import Heads
from model.inputs import TokenInputs
from model.multitask import frozen_modules, weighted_loss
from model.precision import autocast
from model.tasks import METRICS, Task
from model.tokens import PackedTokens
from model.training import ADAM_EPSILON, TaskData

DEV_BATCH = 64
MEGABATCH = 50
"""Batches among which sequences are sorted by length, as transformers' LengthGroupedSampler does."""

Step = Callable[[str, Indices], float]
"""Takes one step on these examples of a task; returns the loss."""


@dataclass(frozen=True)
class Reference:
    """A way to train, ready to step."""

    model: nn.Module
    step: Step
    batches: list[tuple[str, Indices]]
    """The first epoch, in its order."""
    evaluate: Callable[[], dict[str, float]]
    """Scores the dev examples."""
    rows: Callable[[str, Indices], int]
    """Token rows that a step on these examples computes, padding included."""


def student(
    config: TrialConfig,
    data: Sequence[TaskData],
    shape: EncoderConfig,
    weights: Mapping[str, Tensor],
    *,
    still: bool = False,
) -> Reference:
    """Return what a good student writes: eager attention, random batches padded to their longest, plain AdamW.

    Frozen parameters take no gradient; model.train() switches dropout on everywhere, but for the frozen layers where
    `still`; the two sentences of a pair go through the encoder one after the other.
    """
    bert = _bert(shape, weights, config, attention="eager")
    frozen = _frozen(bert, config, shape) if still else []

    def sides(tokens: PackedTokens, examples: Indices) -> list[Indices]:
        return [examples * tokens.per_example + side for side in range(tokens.per_example)]

    def pooled(tokens: PackedTokens, examples: Indices) -> Tensor:
        found = [bert(**padded(tokens, sequences)).pooler_output for sequences in sides(tokens, examples)]
        return torch.stack(found, dim=1)

    def rows(tokens: PackedTokens, examples: Indices) -> int:
        return sum(padded_rows(tokens, sequences) for sequences in sides(tokens, examples))

    batches = _random(data, config)
    return _reference(
        config, data, shape, bert, pooled, rows, batches=batches, still=frozen, fused=False, sort_dev=False
    )


def engineer(
    config: TrialConfig, data: Sequence[TaskData], shape: EncoderConfig, weights: Mapping[str, Tensor]
) -> Reference:
    """Return best practice: fused attention, batches of like lengths, fused AdamW, both sentences in one pass.

    The frozen bottom runs in eval mode, and so without a graph; autocast where the config says bf16; evaluation is
    sorted by length.
    """
    bert = _bert(shape, weights, config, attention="sdpa")

    def pooled(tokens: PackedTokens, examples: Indices) -> Tensor:
        found: Tensor = bert(**padded(tokens, tokens.sequences_of(examples))).pooler_output
        return found.view(len(examples), tokens.per_example, -1)

    return _practice(config, data, shape, bert, pooled)


def tuned(
    config: TrialConfig, data: Sequence[TaskData], shape: EncoderConfig, weights: Mapping[str, Tensor]
) -> Reference:
    """Return best practice as a reviewer made it faster: the last layer takes [CLS] alone as its query and row."""
    bert = _bert(shape, weights, config, attention="sdpa")

    def pooled(tokens: PackedTokens, examples: Indices) -> Tensor:
        batch = padded(tokens, tokens.sequences_of(examples))
        real = batch["attention_mask"].bool()[:, None, None]
        hidden = bert.embeddings(input_ids=batch["input_ids"], token_type_ids=batch["token_type_ids"])
        for layer in bert.encoder.layer[:-1]:
            hidden = layer(hidden, attention_mask=real)
        last = bert.encoder.layer[-1]
        attention, first = last.attention.self, hidden[:, :1]
        query, key, value = (
            project(rows).unflatten(-1, (shape.num_attention_heads, -1)).transpose(1, 2)
            for project, rows in ((attention.query, first), (attention.key, hidden), (attention.value, hidden))
        )
        dropout = shape.attention_probs_dropout_prob if last.training else 0.0
        context = functional.scaled_dot_product_attention(query, key, value, attn_mask=real, dropout_p=dropout)
        attended = last.attention.output(context.transpose(1, 2).flatten(-2), first)
        found: Tensor = bert.pooler(last.output(last.intermediate(attended), attended))
        return found.view(len(examples), tokens.per_example, -1)

    return _practice(config, data, shape, bert, pooled)


def _practice(
    config: TrialConfig,
    data: Sequence[TaskData],
    shape: EncoderConfig,
    bert: Any,
    pooled: Callable[[PackedTokens, Indices], Tensor],
) -> Reference:
    """Return best practice around a way to pool."""

    def rows(tokens: PackedTokens, examples: Indices) -> int:
        return padded_rows(tokens, tokens.sequences_of(examples))

    batches = _by_length({entry.task.name: entry.train.tokens for entry in data}, config)
    still = _frozen(bert, config, shape)
    return _reference(config, data, shape, bert, pooled, rows, batches=batches, still=still, fused=True, sort_dev=True)


def packed(
    config: TrialConfig, data: Sequence[TaskData], shape: EncoderConfig, weights: Mapping[str, Tensor]
) -> Reference:
    """Return a padding-free trainer: packed rows through every layer, all of them at every step, random batches."""
    encoder = Encoder(shape)
    encoder.load_state_dict(weights)
    pooler = encoder.pooler
    assert pooler is not None
    still = frozen_modules(config, encoder)
    for module in still:
        module.requires_grad_(requires_grad=False)

    def pooled(tokens: PackedTokens, examples: Indices) -> Tensor:
        batch = TokenInputs(tokens, torch.device("cpu")).batch(tokens.sequences_of(examples))
        assert batch.tokens is not None
        *_, hidden_ND = encoder.hidden_states(encoder.embed(*batch.tokens, batch.packing), batch.packing)
        found: Tensor = pooler(hidden_ND[batch.packing.firsts_B])[batch.packing.restore_B]
        return found.view(len(examples), tokens.per_example, -1)

    return _reference(
        config, data, shape, encoder, pooled, real_rows, batches=_random(data, config), still=still, fused=True,
        sort_dev=True,
    )  # fmt: skip


def _reference(
    config: TrialConfig,
    data: Sequence[TaskData],
    shape: EncoderConfig,
    encoder: nn.Module,
    pooled: Callable[[PackedTokens, Indices], Tensor],
    rows: Callable[[PackedTokens, Indices], int],
    *,
    batches: list[tuple[str, Indices]],
    still: Sequence[nn.Module],
    fused: bool,
    sort_dev: bool,
) -> Reference:
    """Return the loop around a way to encode: `still` are the modules that stay in eval mode."""
    heads = Heads(config, [entry.task for entry in data], shape.hidden_size)
    model = nn.ModuleDict({"bert": encoder, "heads": heads})
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config.learning_rate, eps=ADAM_EPSILON, weight_decay=0, fused=fused)
    by_name = {entry.task.name: entry for entry in data}

    def outputs(task: Task, tokens: PackedTokens, examples: Indices) -> Tensor:
        with autocast(torch.device("cpu"), config.precision):
            out: Tensor = heads(task, pooled(tokens, examples))
        return out.float()

    def step(name: str, examples: Indices) -> float:
        entry = by_name[name]
        model.train()
        for module in still:
            module.eval()
        loss = weighted_loss(
            config, entry.task, outputs(entry.task, entry.train.tokens, examples), labels(entry, examples)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return Reference(
        model,
        step,
        batches,
        lambda: _scores(model, data, outputs, sort_dev=sort_dev),
        lambda name, examples: rows(by_name[name].train.tokens, examples),
    )


def labels(entry: TaskData, examples: Indices) -> Tensor:
    """Return the examples' labels [B] in fp32."""
    assert entry.train.labels is not None
    return torch.from_numpy(entry.train.labels[examples]).float()


def padded(tokens: PackedTokens, sequences: Indices) -> dict[str, Tensor]:
    """Return the sequences padded to their longest, as BertModel takes them."""
    lengths = tokens.lengths[sequences]
    steps = np.arange(lengths.max())
    real = steps < lengths[:, None]
    places = np.where(real, tokens.offsets[sequences][:, None] + steps, 0)
    ids, types = (np.where(real, a[places], 0).astype(np.int64) for a in (tokens.ids, tokens.types))
    return {
        "input_ids": torch.from_numpy(ids),
        "token_type_ids": torch.from_numpy(types),
        "attention_mask": torch.from_numpy(real.astype(np.int64)),
    }


def _bert(shape: EncoderConfig, weights: Mapping[str, Tensor], config: TrialConfig, *, attention: str) -> Any:
    bert = BertModel(BertConfig(**asdict(shape), attn_implementation=attention))
    bert.load_state_dict(dict(weights))
    for module in _frozen(bert, config, shape):
        module.requires_grad_(False)
    return bert


def real_rows(tokens: PackedTokens, examples: Indices) -> int:
    """Return the tokens of these examples."""
    return int(tokens.lengths[tokens.sequences_of(examples)].sum())


def padded_rows(tokens: PackedTokens, sequences: Indices) -> int:
    """Return the rows of these sequences padded to their longest."""
    return len(sequences) * int(tokens.lengths[sequences].max())


def _frozen(bert: Any, config: TrialConfig, shape: EncoderConfig) -> list[nn.Module]:
    depth = frozen_depth(config.unfrozen_layers, shape.num_hidden_layers)
    return [] if depth is None else [bert.embeddings, *bert.encoder.layer[:depth]]


def _random(data: Sequence[TaskData], config: TrialConfig) -> list[tuple[str, Indices]]:
    return epoch_batches({entry.task.name: len(entry.train) for entry in data}, config, 1)


def _by_length(tokens: Mapping[str, PackedTokens], config: TrialConfig) -> list[tuple[str, Indices]]:
    """Return an epoch's batches with like lengths together: sorted within megabatches of a shuffled order."""
    rng = np.random.default_rng([config.seed, 1])
    batches = []
    for name, split in tokens.items():
        examples = len(split) // split.per_example
        longest = split.lengths.reshape(examples, split.per_example).max(axis=1)
        order = rng.permutation(examples)
        for start in range(0, examples, MEGABATCH * config.batch_size):
            mega = order[start : start + MEGABATCH * config.batch_size]
            mega = mega[np.argsort(-longest[mega], kind="stable")]
            batches += [(name, mega[i : i + config.batch_size]) for i in range(0, len(mega), config.batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def _scores(
    model: nn.Module,
    data: Sequence[TaskData],
    outputs: Callable[[Task, PackedTokens, Indices], Tensor],
    *,
    sort_dev: bool,
) -> dict[str, float]:
    """Return each task's metric on its dev examples."""
    model.eval()
    scores = {}
    for entry in data:
        dev: Examples = entry.dev
        order = np.arange(len(dev))
        if sort_dev:
            order = np.argsort(dev.tokens.lengths.reshape(len(dev), -1).max(axis=1), kind="stable")
        found = np.empty((len(dev), entry.task.outputs), np.float32)
        with torch.no_grad():
            for start in range(0, len(dev), DEV_BATCH):
                chosen = order[start : start + DEV_BATCH]
                found[chosen] = outputs(entry.task, dev.tokens, chosen).numpy()
        assert dev.labels is not None
        scores[entry.task.name] = METRICS[entry.task.metric](labels_from(entry.task, found), dev.labels)
    return scores
