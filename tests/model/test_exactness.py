"""The fast paths against transformers' BertModel: losses, gradients and steps, dropout 0, the same heads on both."""

import json
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import BertModel

from model.batches import epoch_batches
from model.config import HeadConfig, TrialConfig
from model.encoder_config import EncoderConfig
from model.encoder_files import EncoderSource, find_encoder
from model.frozen_prefix import ComputedInputs, FrozenPrefix
from model.inputs import StateInputs, TokenInputs
from model.multitask import MultitaskModel, weighted_loss
from model.prefix_cache import PrefixCache
from model.tasks import Task
from model.tokens import PackedTokens
from model.training import ADAM_EPSILON, adamw, prepare

CPU = torch.device("cpu")
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
MAX_LOSS = {"fp32": 1e-6, "fp16": 1e-4}
"""Relative."""
MAX_GRADIENT = {"fp32": 2e-5, "fp16": 3e-3}
"""Of a parameter's gradient, relative to the largest entry of that gradient."""
STEPS = 30
MAX_DRIFT = {"fp32": 1e-6, "fp16": 1e-4}
"""Of a loss within 30 steps, relative. Nothing piles up: so few small steps leave a loss as near as the first was."""

CONFIG = TrialConfig(
    heads=HeadConfig(dropout=0.0),
    max_tokens=32,
    max_train_examples=5,
    learning_rate=2e-5,
    weight_decay=0.01,
)


@dataclass
class Case:
    """An encoder with a few examples of each task, and what transformers makes of them."""

    source: EncoderSource
    examples: dict[str, tuple[Task, PackedTokens, torch.Tensor]]
    losses: dict[str, float]
    gradients: dict[str, dict[str, torch.Tensor]]
    """Of each task's loss, by parameter name: of everything, since freezing changes no gradient of what trains."""
    cache: PrefixCache

    @property
    def tasks(self) -> list[Task]:
        """Return the three tasks."""
        return [task for task, _, _ in self.examples.values()]

    def prefix(self, config: TrialConfig) -> FrozenPrefix:
        """Return the frozen prefix of a config: fp16 from the cache, fp32 computed."""
        return FrozenPrefix(config, self.source, CPU, self.cache if config.prefix_format == "fp16" else None)


class Reference(nn.Module):
    """transformers' model of a folder under our heads."""

    def __init__(self, source: EncoderSource, heads: nn.Module, padded) -> None:
        """Load it; attention is the one written out."""
        super().__init__()
        self.bert = BertModel.from_pretrained(source.folder, attn_implementation="eager", dtype=torch.float32, **STILL)
        assert self.bert.config._attn_implementation == "eager"
        self.heads, self.padded = deepcopy(heads), padded
        self.train()

    def loss(self, config, task, tokens, sequences, labels):
        """Return the loss of these sequences."""
        pooled = self.bert(**self.padded(tokens, sequences)).pooler_output
        return weighted_loss(config, task, self.heads(task, pooled.unflatten(0, (-1, tokens.per_example))), labels)


def our_loss(model, inputs, config, task, tokens, sequences, labels):
    """Return the loss of these sequences as a training step has it."""
    outputs = model(task, model.pooled(inputs.batch(sequences)), tokens.per_example)
    return weighted_loss(config, task, outputs, labels)


def made(source, examples, padded, folder) -> Case:
    """Return a case: what transformers gives is computed, the cache is filled for all depths in one pass."""
    case = Case(source, examples, {}, {}, PrefixCache(folder))
    heads = MultitaskModel(CONFIG, case.tasks, source.part(start=source.config.num_hidden_layers)).heads
    reference = Reference(source, heads, padded)
    for name, (task, tokens, labels) in examples.items():
        reference.zero_grad(set_to_none=True)
        loss = reference.loss(CONFIG, task, tokens, np.arange(len(tokens)), labels)
        loss.backward()
        case.losses[name] = loss.item()
        case.gradients[name] = {n: p.grad.clone() for n, p in reference.named_parameters() if p.grad is not None}
    layers = source.config.num_hidden_layers
    list(case.prefix(replace(CONFIG, unfrozen_layers=1)).build([t for _, t, _ in examples.values()], range(layers + 1)))
    return case


@pytest.fixture(scope="module")
def minilm_data(tiny_corpus):
    """Return the tiny data as MiniLM's tokens, and the encoder without dropout."""
    source = find_encoder("minilm")
    source = replace(source, config=replace(source.config, **STILL))

    def data(config):
        return source, prepare(tiny_corpus, config, source.tokenizer(), tokenizer_sha256="x")

    return data


@pytest.fixture(scope="module")
def minilm(minilm_data, padded, tmp_path_factory):
    """Return MiniLM's own weights, 6 layers of 384, with sentences."""
    source, data = minilm_data(CONFIG)
    examples = {
        entry.task.name: (entry.task, entry.train.tokens, torch.from_numpy(entry.train.labels).float())
        for entry in data
    }
    return made(source, examples, padded, tmp_path_factory.mktemp("minilm-states"))


@pytest.fixture(scope="module")
def base(random_encoder, random_tokens, course_tasks, padded, tmp_path_factory):
    """Return random weights in the shape of bert-base but for the vocabulary, with random sequences."""
    folder: Path = tmp_path_factory.mktemp("base")
    encoder = random_encoder(
        seed=3,
        vocab_size=100,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3_072,
        **STILL,
    )
    shape: EncoderConfig = encoder.config
    save_file(encoder.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(asdict(shape)), encoding="utf-8")
    lengths = {"sentiment": [2, 9, 5], "paraphrase": [7, 3, 4, 4], "similarity": [12, 8]}
    labels = {"sentiment": [0.0, 4.0, 2.0], "paraphrase": [1.0, 0.0], "similarity": [5.0, 1.5]}
    examples = {
        task.name: (
            task,
            random_tokens(lengths[task.name], 100, per_example=2 if task.name == "paraphrase" else 1, seed=i),
            torch.tensor(labels[task.name]),
        )
        for i, task in enumerate(course_tasks)
    }
    source = EncoderSource("base", folder, shape, "of this test", "none")
    yield made(source, examples, padded, tmp_path_factory.mktemp("base-states"))
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("prefix_format", "unfrozen"),
    [("fp32", depth) for depth in ("all", "layers", 3, 2, 1, 0)] + [("fp16", depth) for depth in (3, 2, 1, 0)],
)
@pytest.mark.parametrize("which", ["minilm", "base"])
def test_losses_and_gradients_are_those_of_transformers(request, which, prefix_format, unfrozen, record_property):
    """Of every task, at every depth: to fp32's rounding, or to that of states kept in fp16.

    Key biases are left out: their gradient is zero in exact arithmetic.
    """
    case: Case = request.getfixturevalue(which)
    layers = case.source.config.num_hidden_layers
    unfrozen = layers if unfrozen == "layers" else unfrozen
    config = replace(CONFIG, unfrozen_layers=unfrozen, prefix_format=prefix_format)
    prefix = case.prefix(config)
    model = MultitaskModel(config, case.tasks, prefix.top()).train()
    kind = StateInputs if prefix_format == "fp16" else TokenInputs if unfrozen == "all" else ComputedInputs
    losses, gradients = {}, {}

    for name, (task, tokens, labels) in case.examples.items():
        inputs = prefix.inputs([tokens])[0]
        assert isinstance(inputs, kind)
        model.zero_grad(set_to_none=True)
        loss = our_loss(model, inputs, config, task, tokens, np.arange(len(tokens)), labels)
        loss.backward()
        losses[name] = abs(loss.item() - case.losses[name]) / case.losses[name]
        trained = {n: p for n, p in model.named_parameters() if p.grad is not None and "key.bias" not in n}
        expected = case.gradients[name]
        heads = {n for n in expected if n.startswith("heads.")}
        assert trained.keys() >= heads | {n for n in expected if n.startswith("bert.pooler.")}
        for n, parameter in trained.items():
            worst = (parameter.grad - expected[n]).abs().max() / expected[n].abs().max()
            gradients[f"{name}: {n}"] = worst.item()

    worst = max(gradients, key=gradients.get)
    found = {"loss": max(losses.values()), "gradient": gradients[worst], "worst": worst}
    record_property("differences", found)
    print(which, prefix_format, unfrozen, found)
    assert found["loss"] <= MAX_LOSS[prefix_format]
    assert found["gradient"] <= MAX_GRADIENT[prefix_format], worst


@pytest.mark.parametrize("prefix_format", ["fp32", "fp16"])
def test_thirty_steps_of_adamw_stay_beside_transformers(minilm_data, padded, tmp_path, prefix_format, record_property):
    """The first loss is transformers' to rounding; what 30 steps add to the difference stays small."""
    config = replace(CONFIG, prefix_format=prefix_format, batch_size=5, max_train_examples=None)
    source, data = minilm_data(config)
    by_name = {entry.task.name: entry for entry in data}
    prefix = FrozenPrefix(config, source, CPU, PrefixCache(tmp_path))
    if prefix_format == "fp16":
        list(prefix.build([entry.train.tokens for entry in data]))
    model = MultitaskModel(config, [entry.task for entry in data], prefix.top()).train()
    inputs = {name: prefix.inputs([entry.train.tokens])[0] for name, entry in by_name.items()}
    assert isinstance(inputs["sentiment"], StateInputs if prefix_format == "fp16" else ComputedInputs)
    reference = Reference(source, model.heads, padded)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    for name, parameter in reference.named_parameters():
        parameter.requires_grad_(name in trained)
    ours = adamw(model, config)
    ours.param_groups[0]["lr"] = config.learning_rate
    parameters = [p for p in reference.parameters() if p.requires_grad]
    theirs = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        eps=ADAM_EPSILON,
        foreach=False,
    )
    steps = epoch_batches({name: len(entry.train) for name, entry in by_name.items()}, config, 1)[:STEPS]
    assert len(steps) == STEPS
    drift = []

    for name, examples in steps:
        entry = by_name[name]
        tokens, labels = entry.train.tokens, torch.from_numpy(entry.train.labels[examples]).float()
        sequences = tokens.sequences_of(examples)
        found = our_loss(model, inputs[name], config, entry.task, tokens, sequences, labels)
        expected = reference.loss(config, entry.task, tokens, sequences, labels)
        for loss, optimizer in ((found, ours), (expected, theirs)):
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        drift.append(abs(found.item() - expected.item()) / expected.item())

    record_property("drift", drift)
    print(prefix_format, "first", drift[0], "first three", max(drift[:3]), "worst", max(drift), "last", drift[-1])
    assert drift[0] <= MAX_LOSS[prefix_format]
    assert max(drift) <= MAX_DRIFT[prefix_format]
