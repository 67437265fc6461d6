"""The training loop: the same bits for the same config and seed, resumed or not, and what it refuses."""

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import BertConfig, BertModel

from model.batches import epoch_batches
from model.config import HeadConfig
from model.evaluation import predict
from model.inputs import TokenInputs
from model.multitask import MultitaskModel
from model.training import DivergedError, EpochResult, TrainingState, fine_tune, fine_tune_by_steps, prepare

CPU = torch.device("cpu")
MAX_LOSS = 1e-6
UNMOVED = "encoder.layer.2.attention.self.key.bias"
"""Trains, and its gradient is zero: it adds the same to all scores of the one query that the last layer has."""


def copied(result):
    """Return a result with tensors of its own, as saving would make them."""
    return replace(result, state=kept(result.state))


def kept(state):
    """Return a state with tensors of its own."""
    parts = [
        {name: tensor.clone() for name, tensor in part.items()}
        for part in (state.weights, state.optimizer, state.within)
    ]
    return TrainingState(state.epoch, parts[0], parts[1], state.step, parts[2])


@pytest.fixture(scope="module")
def trained(fresh_encoder, tiny_task_data):
    """Return a function that trains a config from the tiny encoder and gives all results."""

    def run(config, resume=None, data=None):
        results = fine_tune(config, data or tiny_task_data(config), fresh_encoder(), resume=resume)
        return [copied(result) for result in results]

    return run


def assert_same_tensors(found, expected):
    """Hold two sets of tensors to equal bits."""
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


def assert_same(found, expected):
    """Hold results to equal bits: weights, moments, losses, scores and outputs."""
    assert [r.epoch for r in found] == [r.epoch for r in expected]
    for one, other in zip(found, expected, strict=True):
        assert_same_tensors(one.state.weights, other.state.weights)
        assert_same_tensors(one.state.optimizer, other.state.optimizer)
        assert (one.train_loss, one.learning_rate) == (other.train_loss, other.learning_rate)
        assert (one.dev.scores, one.dev.overall) == (other.dev.scores, other.dev.overall)
        for task, outputs in other.dev.outputs.items():
            assert (one.dev.outputs[task] == outputs).all()


def test_the_same_seed_gives_the_same_bits(trained, tiny_config):
    """Two runs of one config are equal in every weight, moment and score, whatever was drawn in between."""
    first = trained(tiny_config)
    torch.manual_seed(123)

    assert_same(trained(tiny_config), first)


def test_two_runs_in_turns_do_not_disturb_each_other(trained, tiny_config, fresh_encoder, tiny_task_data):
    """Generators that take turns in one process give what each gives alone."""
    other = replace(tiny_config, seed=9)
    data = tiny_task_data(tiny_config)

    turns = zip(
        *(map(copied, fine_tune(config, data, fresh_encoder())) for config in (tiny_config, other)),
        strict=True,
    )
    first, second = zip(*turns, strict=True)

    assert_same(first, trained(tiny_config))
    assert_same(second, trained(other))


def test_another_seed_gives_another_run(trained, tiny_config):
    """The seed reaches the heads, the order and the dropout."""
    short = replace(tiny_config, epochs=1)
    (first,), (second,) = trained(short), trained(replace(short, seed=1))

    assert first.train_loss != second.train_loss
    same = {n for n, t in first.state.weights.items() if torch.equal(t, second.state.weights[n])}
    assert same == {f"bert.{UNMOVED}"}


@pytest.mark.parametrize("epoch", [1, 2, 3])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {
            "unfrozen_layers": "all",
            "sampling": "annealed",
            "weight_decay": 0.01,
            "loss_weights": {"similarity": 0.5},
        },
        {"prefix_dropout": True},
        {"precision": "bf16", "prefix_format": "fp32", "unfrozen_layers": 0},
    ],
    ids=["default", "all trained, annealed", "study", "bf16"],
)
def test_resuming_after_any_epoch_equals_the_uninterrupted_run(trained, tiny_config, epoch, fields):
    """Weights, moments, losses and scores of the epochs to come are equal bit for bit."""
    config = replace(tiny_config, **fields)
    whole = trained(config)

    resumed = trained(config, resume=whole[epoch - 1].state)

    assert_same(resumed, whole[epoch:])


@pytest.mark.parametrize("fields", [{}, {"prefix_dropout": True, "sampling": "uniform"}], ids=["default", "study"])
def test_resuming_between_any_two_steps_equals_the_uninterrupted_run(
    trained, fresh_encoder, tiny_task_data, tiny_config, fields
):
    """Left after each step of two epochs, and within their evaluations, a run goes on to the same bits."""
    config = replace(tiny_config, epochs=2, **fields)
    whole, data = trained(config), tiny_task_data(config)
    positions = [
        kept(reached.state())
        for reached in fine_tune_by_steps(config, data, fresh_encoder())
        if not isinstance(reached, EpochResult)
    ]

    assert len({(state.epoch, state.step) for state in positions}) == 18
    assert len(positions) > 18
    for state in positions:
        torch.manual_seed(77)
        assert_same(trained(config, resume=state), whole[state.epoch :])


def test_the_time_before_an_interruption_counts(trained, fresh_encoder, tiny_task_data, tiny_config):
    """An epoch's training seconds are those before and after it was left."""
    steps = fine_tune_by_steps(tiny_config, tiny_task_data(tiny_config), fresh_encoder())
    state = kept(next(steps).state())
    state.within["seconds"] += 1_000

    assert trained(tiny_config, resume=state)[0].train_seconds > 1_000


def test_resuming_leaves_the_state_as_it_was(trained, tiny_config):
    """A state can be resumed from twice: training does not write into the tensors it was given."""
    state = trained(replace(tiny_config, epochs=1))[0].state
    weights = {name: tensor.clone() for name, tensor in state.weights.items()}
    optimizer = {name: tensor.clone() for name, tensor in state.optimizer.items()}

    trained(tiny_config, resume=state)

    assert_same_tensors(state.weights, weights)
    assert_same_tensors(state.optimizer, optimizer)


def test_a_state_of_another_config_is_refused(trained, tiny_config):
    """Weights of other tensors than those that train are not taken over in part."""
    state = trained(replace(tiny_config, epochs=1))[0].state

    with pytest.raises(ValueError, match="checkpoint and config disagree"):
        trained(replace(tiny_config, unfrozen_layers=1), resume=state)


def test_the_loss_falls_and_every_task_is_learnt(trained, tiny_config):
    """After some epochs the loss is far below where it began, and no task scores like chance."""
    results = trained(
        replace(
            tiny_config,
            epochs=10,
            unfrozen_layers="all",
            batch_size=8,
            learning_rate=3e-3,
            heads=HeadConfig(),
        )
    )

    assert results[-1].train_loss < 0.5 * results[0].train_loss
    best = max(results, key=lambda result: result.dev.overall)
    assert best.dev.scores["sentiment"] > 0.4
    assert best.dev.scores["paraphrase"] > 0.9
    assert best.dev.scores["similarity"] > 0.8


class PartsOf:
    """An encoder that remembers the parts that were made of it."""

    def __init__(self, encoder):
        """Begin with none."""
        self.encoder, self.made = encoder, []
        self.config, self.weights_sha256 = encoder.config, encoder.weights_sha256

    def part(self, **cut):
        """Return a part, and keep it."""
        self.made.append(self.encoder.part(**cut))
        return self.made[-1]


@pytest.mark.parametrize("prefix_dropout", [False, True])
@pytest.mark.parametrize("unfrozen", [0, 1, 2, 3, "all"])
def test_frozen_tensors_stay_as_they_were(fresh_encoder, tiny_task_data, tiny_config, unfrozen, prefix_dropout):
    """Training changes the unfrozen layers, the pooler and the heads, and no bit below."""
    config = replace(tiny_config, unfrozen_layers=unfrozen, epochs=1, weight_decay=0.1, prefix_dropout=prefix_dropout)
    tops = range(3) if unfrozen == "all" else range(3 - unfrozen, 3)
    prefixes = (*(f"encoder.layer.{i}." for i in tops), "pooler.", *(["embeddings."] * (unfrozen == "all")))
    parts = PartsOf(fresh_encoder())

    (result,) = [copied(r) for r in fine_tune(config, tiny_task_data(config), parts)]

    old = fresh_encoder().state_dict()
    now = [(name, tensor) for part in parts.made for name, tensor in part.state_dict().items()]
    changed = {name for name, tensor in now if not torch.equal(old[name], tensor)}
    trained = {name for name in old if name.startswith(prefixes)}
    assert {name for name, _ in now} == old.keys()
    assert changed == trained - {UNMOVED}
    assert {n.removeprefix("bert.") for n in result.state.weights if n.startswith("bert.")} == trained


@pytest.mark.parametrize("prefix_dropout", [False, True])
def test_the_encoder_that_is_given_is_left_as_it_was(fresh_encoder, tiny_task_data, tiny_config, prefix_dropout):
    """Trials share one encoder: what is trained are copies."""
    config = replace(tiny_config, unfrozen_layers="all", epochs=1, prefix_dropout=prefix_dropout)
    encoder = fresh_encoder()

    list(fine_tune(config, tiny_task_data(config), encoder))

    assert_same_tensors(encoder.state_dict(), fresh_encoder().state_dict())


@pytest.mark.parametrize("task", ["sentiment", "paraphrase", "similarity"])
def test_a_single_task_trains(trained, tiny_config, task):
    """One task is a config like any other; the overall score is that task's on the unit scale."""
    (result,) = trained(replace(tiny_config, tasks=(task,), epochs=1))

    assert list(result.dev.scores) == [task]
    score = result.dev.scores[task]
    assert result.dev.overall == ((score + 1) / 2 if task == "similarity" else score)
    assert {name.split(".")[2] for name in result.state.weights if "heads.output" in name} == {task}


def test_the_heads_alone_train(fresh_encoder, tiny_task_data, tiny_config):
    """With no unfrozen layer and no pooler the whole encoder stays as it was, and the loss still falls."""
    config = replace(tiny_config, unfrozen_layers=0, train_pooler=False, epochs=6, learning_rate=1e-2)
    encoder = fresh_encoder()

    results = list(fine_tune(config, tiny_task_data(config), encoder))

    assert_same_tensors(encoder.state_dict(), fresh_encoder().state_dict())
    assert all(name.startswith("heads.") for name in results[-1].state.weights)
    assert results[-1].train_loss < results[0].train_loss


def test_the_cosine_loss_trains(trained, tiny_config):
    """Similarity by the cosine of the two vectors falls without an output layer."""
    config = replace(
        tiny_config,
        tasks=("similarity",),
        losses={"similarity": "cosine"},
        pair_encoding={"similarity": "separate"},
        epochs=6,
    )

    results = trained(config)

    assert results[-1].train_loss < results[0].train_loss
    assert abs(results[-1].dev.outputs["similarity"]).max() <= 5.000_001


def test_a_task_of_weight_zero_does_not_train_the_shared_layers(trained, tiny_config):
    """With the other tasks weighing nothing, the score of the first is learnt and their heads stay."""
    config = replace(tiny_config, loss_weights={"paraphrase": 0.0, "similarity": 0.0}, epochs=2)

    first, second = trained(config)

    heads = [n for n in first.state.weights if n.startswith(("heads.output.para", "heads.output.sim"))]
    assert len(heads) == 4
    assert all(torch.equal(first.state.weights[n], second.state.weights[n]) for n in heads)


DIVERGING = HeadConfig(common_layers=64, task_layers=64, dropout=0.0)
"""Linear layers without an activation: weights near 1 multiply past fp32's range."""


def test_a_diverging_run_names_task_epoch_and_step(trained, tiny_config):
    """Much too high a learning rate ends in an error that says where, and what may help."""
    config = replace(tiny_config, tasks=("sentiment",), heads=DIVERGING, learning_rate=0.99)

    where = r"^the loss of sentiment is (inf|nan) at epoch 1, step [23]; the learning rate is 0\.99"
    with pytest.raises(DivergedError, match=where):
        trained(config)


@pytest.mark.parametrize("task", ["sentiment", "similarity"])
def test_a_run_that_diverges_in_its_last_step_yields_no_score(trained, tiny_config, task):
    """Weights that an epoch's last step blew up are found at its end: no result has outputs that are NaN."""
    config = replace(
        tiny_config,
        tasks=(task,),
        heads=DIVERGING,
        learning_rate=0.99,
        batch_size=48,
        epochs=2,
        learning_rate_decay=1.0,
    )

    with pytest.raises(DivergedError, match=rf"{task}.* epoch 2"):
        trained(config)


def test_the_learning_rate_decays_by_the_epoch(trained, tiny_config, fresh_encoder, tiny_task_data):
    """Epoch n trains with the first rate times decay to the power of n - 1, resumed or not."""
    config = replace(tiny_config, learning_rate=1e-3, learning_rate_decay=0.5)

    whole = trained(config)

    assert [result.learning_rate for result in whole] == [1e-3, 5e-4, 2.5e-4]
    assert trained(config, resume=whole[1].state)[0].learning_rate == 2.5e-4
    still = trained(replace(config, learning_rate_decay=1e-12))
    moved = still[2].state.weights["heads.output.sentiment.weight"]
    torch.testing.assert_close(moved, still[0].state.weights["heads.output.sentiment.weight"], atol=1e-8, rtol=0)
    assert next(fine_tune(config, tiny_task_data(config), fresh_encoder())).learning_rate == 1e-3


def test_dropout_in_the_frozen_layers_is_another_run(trained, tiny_config):
    """With dropout in the frozen layers, as the study has it, a run is another than without."""
    short = replace(tiny_config, epochs=1, unfrozen_layers=1)

    (without,), (with_dropout,) = trained(short), trained(replace(short, prefix_dropout=True))

    assert with_dropout.train_loss != without.train_loss
    assert with_dropout.state.weights.keys() == without.state.weights.keys()


def test_every_epoch_drops_out_anew(trained, tiny_config):
    """A single example at next to no learning rate has another loss in each epoch: other entries are dropped."""
    config = replace(
        tiny_config,
        tasks=("sentiment",),
        max_train_examples=1,
        heads=HeadConfig(dropout=0.5),
        learning_rate=1e-12,
    )

    losses = [result.train_loss for result in trained(config)]

    assert len(set(losses)) == 3


def test_weight_decay_leaves_biases_and_layer_norms_out(trained, tiny_config):
    """After one step, whose gradients are the same, decay has moved all matrices and no vector."""
    config = replace(tiny_config, tasks=("sentiment",), batch_size=48, epochs=1, learning_rate=0.1)
    (plain,), (decayed,) = trained(config), trained(replace(config, weight_decay=0.5))

    weights = plain.state.weights
    moved = {name for name in weights if not torch.equal(weights[name], decayed.state.weights[name])}
    assert moved == {name for name in weights if weights[name].ndim > 1}


def test_stopping_is_ceasing_to_ask(trained, tiny_config, fresh_encoder, tiny_task_data):
    """One next() gives the first epoch, closing is enough, and another run afterwards is as ever."""
    results = fine_tune(tiny_config, tiny_task_data(tiny_config), fresh_encoder())
    first = copied(next(results))
    results.close()

    assert_same([first], trained(replace(tiny_config, epochs=1)))
    assert list(results) == []


def test_a_finished_run_has_nothing_left_to_do(trained, tiny_config):
    """Resuming from the last epoch yields nothing."""
    last = trained(tiny_config)[-1].state

    assert trained(tiny_config, resume=last) == []


def test_the_live_state_is_that_of_its_epoch(fresh_encoder, tiny_task_data, tiny_config):
    """The tensors of a result are the model's own: they move on with the next epoch."""
    results = fine_tune(tiny_config, tiny_task_data(tiny_config), fresh_encoder())
    first = next(results)
    kept = copied(first)

    next(results)

    assert not torch.equal(
        first.state.weights["bert.pooler.dense.weight"], kept.state.weights["bert.pooler.dense.weight"]
    )


def test_examples_are_capped_by_the_config(tiny_corpus, tiny_tokenizer, tiny_config):
    """Training examples by max_train_examples, dev examples by the argument, for each task."""
    capped = replace(tiny_config, max_train_examples=10)

    data = prepare(tiny_corpus, capped, tiny_tokenizer, tokenizer_sha256="x", max_dev_examples=7)

    for entry in data:
        splits = tiny_corpus[entry.task.name]
        assert entry.train.ids == splits["train"].capped(10).ids
        assert entry.dev.ids == splits["dev"].capped(7).ids
        assert (len(entry.train), len(entry.dev)) == (10, 7)
        assert len(entry.train.tokens) == 10 * entry.train.tokens.per_example


def test_the_token_cache_changes_no_result(trained, tiny_config, tiny_corpus, tiny_tokenizer, tmp_path):
    """Training from memory-mapped tokens gives the bits of training from computed ones."""
    cached = prepare(tiny_corpus, tiny_config, tiny_tokenizer, tokenizer_sha256="x", cache=tmp_path / "tokens")

    assert_same(trained(tiny_config, data=cached), trained(tiny_config))


def test_predictions_do_not_depend_on_the_examples_order(fresh_encoder, tiny_task_data, tiny_config):
    """Examples are scored sorted by length and come back in the data's order."""
    data = tiny_task_data(tiny_config)
    model = MultitaskModel(tiny_config, [entry.task for entry in data], fresh_encoder()).eval()

    for entry in data:
        tokens = entry.train.tokens
        inputs = TokenInputs(tokens, CPU)
        together = predict(model, entry.task, tokens, inputs)
        for i in range(0, len(entry.train), 7):
            batch = inputs.batch(tokens.sequences_of(np.array([i])))
            with torch.no_grad():
                alone = model(entry.task, model.pooled(batch), tokens.per_example)[0]
            torch.testing.assert_close(torch.from_numpy(together[i]), alone, atol=1e-5, rtol=0)


class ByHand:
    """The study's model and steps with transformers' BertModel and plain torch, dropout 0."""

    def __init__(self, encoder, config, tasks, padded):
        """Take over the encoder's weights, and the heads that the config's seed gives."""
        self.padded = padded
        self.bert = BertModel(BertConfig(**asdict(encoder.config), attn_implementation="eager"))
        self.bert.load_state_dict(encoder.state_dict())
        self.heads = MultitaskModel(config, tasks, encoder).heads
        for name, parameter in self.bert.named_parameters():
            kept = [f"encoder.layer.{i}." for i in range(3 - config.unfrozen_layers, 3)]
            parameter.requires_grad_(name.startswith((*kept, "pooler.")))
        trained = [*(p for p in self.bert.parameters() if p.requires_grad), *self.heads.parameters()]
        matrices = [p for p in trained if p.ndim > 1]
        vectors = [p for p in trained if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}],
            weight_decay=config.weight_decay,
            eps=1e-6,
            foreach=False,
        )
        self.config = config

    def loss(self, task, entry, examples):
        """Return the loss of a batch, pair by pair as the study has it."""
        tokens = entry.train.tokens
        vectors = self.bert(**self.padded(tokens, tokens.sequences_of(examples))).pooler_output
        vectors = functional.linear(vectors, self.heads.common[0][0].weight, self.heads.common[0][0].bias)
        labels = torch.from_numpy(entry.train.labels[examples]).float()
        output: nn.Linear = self.heads.output[task]
        if task == "sentiment":
            return functional.cross_entropy(output(vectors), labels.long())
        if task == "paraphrase":
            both = torch.cat([vectors[0::2], vectors[1::2]], dim=1)
            return functional.binary_cross_entropy_with_logits(output(both).squeeze(1), labels)
        return functional.mse_loss(output(vectors).squeeze(1), labels)

    def epoch(self, data, number):
        """Take the steps of an epoch; return the mean loss."""
        losses = []
        by_name = {entry.task.name: entry for entry in data}
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * self.config.learning_rate_decay ** (number - 1)
        sizes = {name: len(entry.train) for name, entry in by_name.items()}
        for name, examples in epoch_batches(sizes, self.config, number):
            loss = self.loss(name, by_name[name], examples) * self.config.loss_weights.get(name, 1.0)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        return math.fsum(losses) / len(losses)


@pytest.mark.parametrize("task", ["sentiment", "paraphrase", "similarity"])
def test_one_step_equals_transformers_and_torch_by_hand(fresh_encoder, tiny_task_data, tiny_config, padded, task):
    """The loss before the first step and the loss after it are those of BertModel with heads by hand."""
    config = replace(
        tiny_config,
        tasks=(task,),
        heads=HeadConfig(dropout=0.0),
        prefix_format="fp32",
        batch_size=48,
        epochs=2,
        learning_rate=1e-4,
    )
    data = tiny_task_data(config)
    by_hand = ByHand(fresh_encoder(0.0), config, [entry.task for entry in data], padded)

    losses = [result.train_loss for result in fine_tune(config, data, fresh_encoder(0.0))]

    assert losses == pytest.approx([by_hand.epoch(data, 1), by_hand.epoch(data, 2)], rel=MAX_LOSS)


def test_epochs_of_all_tasks_equal_transformers_and_torch_by_hand(fresh_encoder, tiny_task_data, tiny_config, padded):
    """Mixing, loss weights, weight decay, the decaying rate and freezing are all in an epoch's loss."""
    config = replace(
        tiny_config,
        heads=HeadConfig(dropout=0.0),
        prefix_format="fp32",
        weight_decay=0.1,
        loss_weights={"similarity": 0.25, "paraphrase": 2.0},
        learning_rate=1e-4,
    )
    data = tiny_task_data(config)
    by_hand = ByHand(fresh_encoder(0.0), config, [entry.task for entry in data], padded)

    losses = [result.train_loss for result in fine_tune(config, data, fresh_encoder(0.0))]

    assert losses == pytest.approx([by_hand.epoch(data, number) for number in (1, 2, 3)], rel=1e-5)
