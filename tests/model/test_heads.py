"""The layers between the pooled vectors and the outputs, their sizes, and the losses."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from model.config import HeadConfig, TrialConfig
from model.encoder_config import BERT_BASE
from model.heads import Heads
from model.inputs import TokenInputs
from model.multitask import MultitaskModel, loss_function, weighted_loss
from model.sizes import parameter_counts
from model.tasks import TASKS

SENTIMENT, PARAPHRASE, SIMILARITY = TASKS["sentiment"], TASKS["paraphrase"], TASKS["similarity"]
ALL = (SENTIMENT, PARAPHRASE, SIMILARITY)
ENCODER_PARAMETERS = 109_482_240
"""Of bert-base-uncased with its pooler, as published."""


def heads_of(hidden=8, tasks=ALL, pair_encoding=None, losses=None, **fields):
    """Return heads in eval mode, with weights that a seed gives."""
    config = TrialConfig(heads=HeadConfig(**fields), pair_encoding=pair_encoding or {}, losses=losses or {})
    torch.manual_seed(0)
    return Heads(config, tasks, hidden).eval()


def parameters(module):
    """Return the number of parameters of a module."""
    return sum(p.numel() for p in module.parameters())


def pooled(vectors, seed=0, hidden=8, examples=3):
    """Return random pooled vectors."""
    return torch.randn(examples, vectors, hidden, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("common", "task", "expected"),
    [
        (0, 1, 8 * 768 + 7),
        (1, 1, 8 * 768 + 7 + 590_592),
        (0, 3, 8 * 768 + 7 + 6 * 590_592),
        (9, 9, 8 * 768 + 7 + 33 * 590_592),
    ],
)
def test_the_number_of_parameters_is_that_counted_by_hand(common, task, expected):
    """Outputs 5 D + 5, 2 D + 1 and D + 1; a layer D D + D = 590,592, common ones once, inner ones a task."""
    config = TrialConfig(heads=HeadConfig(common_layers=common, task_layers=task))

    everything, trained = parameter_counts(config, ALL, BERT_BASE)

    assert parameters(Heads(config, ALL, 768)) == expected
    assert everything == ENCODER_PARAMETERS + expected
    assert trained == 2 * 7_087_872 + 590_592 + expected


def test_counting_the_heads_alone():
    """Without a trained layer or pooler only the heads train."""
    config = TrialConfig(unfrozen_layers=0, train_pooler=False)

    assert parameter_counts(config, ALL, BERT_BASE)[1] == 8 * 768 + 7 + 590_592


def test_layer_normalisation_adds_two_vectors_a_layer():
    """LayerNorm stands after every layer but the output."""
    plain = heads_of(common_layers=2, task_layers=3)
    normalised = heads_of(common_layers=2, task_layers=3, normalisation="layer")

    assert parameters(normalised) - parameters(plain) == (2 + 3 * 2) * 2 * 8


@pytest.mark.parametrize(("task", "vectors", "outputs"), [(SENTIMENT, 1, 5), (PARAPHRASE, 2, 1), (SIMILARITY, 1, 1)])
@pytest.mark.parametrize(("common", "layers"), [(0, 1), (1, 1), (0, 3), (2, 2)])
def test_outputs_have_the_tasks_width(task, vectors, outputs, common, layers):
    """One row an example, as many outputs as the task has logits or values."""
    heads = heads_of(common_layers=common, task_layers=layers)

    assert heads(task, pooled(vectors)).shape == (3, outputs)


def test_a_separate_pair_is_concatenated_before_the_output_layer():
    """Common and inner layers act on each vector, the output layer on both side by side."""
    heads = heads_of(common_layers=1, task_layers=2, activation="tanh")
    both = pooled(2)
    common, inner, output = heads.common[0][0], heads.inner["paraphrase"][0][0], heads.output["paraphrase"]

    features = [torch.tanh(inner(torch.tanh(common(both[:, i])))) for i in (0, 1)]

    torch.testing.assert_close(heads(PARAPHRASE, both), output(torch.cat(features, dim=1)))


@pytest.mark.parametrize("task", [PARAPHRASE, SIMILARITY])
def test_the_pair_encoding_of_the_config_decides_the_width(task):
    """Each pair task can be encoded either way; joint has one vector, separate has two."""
    separate = heads_of(pair_encoding={task.name: "separate"})
    joint = heads_of(pair_encoding={task.name: "joint"})

    assert separate.output[task.name].in_features == 16
    assert joint.output[task.name].in_features == 8
    assert joint(task, pooled(1)).shape == separate(task, pooled(2)).shape == (3, 1)


def test_the_literal_reading_is_one_linear_map():
    """Without an activation any depth is affine: the output of a mean is the mean of the outputs."""
    heads = heads_of(common_layers=2, task_layers=3)
    x = pooled(1, examples=2)

    middle = heads(SENTIMENT, x.mean(dim=0, keepdim=True))

    torch.testing.assert_close(middle[0], heads(SENTIMENT, x).mean(dim=0))


@pytest.mark.parametrize(
    ("name", "function"), [("relu", torch.relu), ("gelu", nn.functional.gelu), ("tanh", torch.tanh)]
)
def test_the_activation_follows_every_layer_but_the_output(name, function):
    """Linear, LayerNorm, activation; then the output layer with neither."""
    heads = heads_of(common_layers=1, task_layers=1, activation=name, normalisation="layer")
    x = pooled(1)
    linear = heads.common[0][0](x[:, 0])

    expected = heads.output["sentiment"](function(nn.functional.layer_norm(linear, [8])))

    torch.testing.assert_close(heads(SENTIMENT, x), expected)


def test_dropout_acts_on_the_pooled_vector_in_train_mode_only():
    """With no hidden layer, a tenth of the pooled entries are zeroed, the others scaled up."""
    heads = heads_of(hidden=20_000, tasks=[SENTIMENT], common_layers=0, dropout=0.1)
    seen = []
    heads.output["sentiment"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    ones = torch.ones(1, 1, 20_000)

    heads(SENTIMENT, ones)
    heads.train()(SENTIMENT, ones)

    assert torch.equal(seen[0], ones[0])
    assert seen[1].unique().tolist() == pytest.approx([0.0, 1 / 0.9])
    assert (seen[1] == 0).float().mean().item() == pytest.approx(0.1, abs=0.02)


def test_inner_dropout_follows_every_layer_but_the_output():
    """One dropout on the pooled vector, one after each common and inner layer, none after an output."""
    heads = heads_of(tasks=[SENTIMENT], common_layers=2, task_layers=3, dropout=0.2, inner_dropout=0.4)

    rates = [module.p for module in heads.modules() if isinstance(module, nn.Dropout)]

    assert rates == [0.2] + [0.4] * 4


def test_the_cosine_head_has_no_output_layer_and_gives_the_cosine_times_five():
    """Equal vectors give 5, opposite ones -5, orthogonal ones 0."""
    heads = heads_of(
        common_layers=0,
        dropout=0.0,
        pair_encoding={"similarity": "separate"},
        losses={"similarity": "cosine"},
    )
    first = torch.eye(8)[:3]
    second = torch.stack([first[0] * 2, -first[1], torch.eye(8)[7]])

    outputs = heads(SIMILARITY, torch.stack([first, second], dim=1))

    assert "similarity" not in heads.output
    torch.testing.assert_close(outputs, torch.tensor([[5.0], [-5.0], [0.0]]))


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(0, 3), st.integers(1, 3))
def test_the_first_weights_depend_on_the_seed_alone(fresh_encoder, seed, common, layers):
    """The same config gives the same heads whatever was drawn before, and takes no one's random numbers."""
    config = TrialConfig(seed=seed, heads=HeadConfig(common_layers=common, task_layers=layers))
    encoders = fresh_encoder(), fresh_encoder()
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)

    first = MultitaskModel(config, ALL, encoders[0]).heads.state_dict()
    one = torch.rand(1)
    second = MultitaskModel(config, ALL, encoders[1]).heads.state_dict()
    other = torch.rand(1)

    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.cat([one, other]), expected)


def test_another_seed_gives_other_heads(fresh_encoder):
    """Repeats over seeds begin differently."""
    models = [MultitaskModel(TrialConfig(seed=seed), ALL, fresh_encoder()) for seed in (0, 1)]

    first, second = (model.heads.output["sentiment"].weight for model in models)
    assert not torch.equal(first, second)


def test_cross_entropy_is_that_computed_by_hand():
    """The mean over the examples of log sum exp minus the logit of the label."""
    outputs = torch.tensor([[1.0, 2.0, 0.0, -1.0, 0.5], [0.0, 0.0, 0.0, 0.0, 0.0]])

    first = math.log(sum(math.exp(x) for x in (1, 2, 0, -1, 0.5))) - 2
    loss = loss_function("cross_entropy", SENTIMENT, outputs, torch.tensor([1.0, 4.0]))

    assert loss.item() == pytest.approx((first + math.log(5)) / 2, rel=1e-6)


def test_classes_that_begin_at_one_are_shifted():
    """Labels 1 to 5 are logits 0 to 4."""
    stars = replace(SENTIMENT, name="stars", low=1, high=5)
    outputs = torch.tensor([[9.0, 0.0, 0.0, 0.0, 0.0]])

    assert stars.outputs == 5
    assert loss_function("cross_entropy", stars, outputs, torch.tensor([1.0])).item() < 0.001


def test_binary_cross_entropy_is_that_computed_by_hand():
    """The mean of log(1 + exp(-x)) for a duplicate and log(1 + exp(x)) for none."""
    outputs = torch.tensor([[2.0], [-1.0], [3.0]])
    by_hand = (math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)) + math.log1p(math.exp(3))) / 3

    loss = loss_function("binary_cross_entropy", PARAPHRASE, outputs, torch.tensor([1.0, 0.0, 0.0]))

    assert loss.item() == pytest.approx(by_hand, rel=1e-6)


def test_squared_error_is_that_computed_by_hand():
    """The mean of the squared distances, on the labels' own scale."""
    loss = loss_function("mean_squared_error", SIMILARITY, torch.tensor([[3.0], [0.5]]), torch.tensor([5.0, 0.0]))

    assert loss.item() == pytest.approx((2**2 + 0.5**2) / 2)


def test_the_cosine_loss_is_on_the_cosines_scale():
    """Labels 0 to 5 are cosines 0 to 1: an output of 5 for a label of 0 costs 1."""
    loss = loss_function("cosine", SIMILARITY, torch.tensor([[5.0], [2.5]]), torch.tensor([0.0, 5.0]))

    assert loss.item() == pytest.approx((1 + 0.25) / 2)


@pytest.mark.parametrize("weight", [0.0, 0.5, 3.0])
def test_a_loss_weight_scales_its_task_alone(weight):
    """The factor is the task's; a task that is not named has 1."""
    config = TrialConfig(loss_weights={"similarity": weight})
    values, labels = torch.tensor([[3.0]]), torch.tensor([5.0])

    assert weighted_loss(config, SIMILARITY, values, labels).item() == pytest.approx(weight * 4)
    plain = loss_function("binary_cross_entropy", PARAPHRASE, values, labels * 0)
    assert weighted_loss(config, PARAPHRASE, values, labels * 0).item() == plain.item()


def test_the_model_joins_an_examples_vectors(fresh_encoder, tiny_task_data, tiny_config):
    """The model's output for a separate pair is the heads' on the encoder's two pooled vectors."""
    model = MultitaskModel(tiny_config, ALL, fresh_encoder()).eval()
    pairs = next(entry for entry in tiny_task_data(tiny_config) if entry.task is PARAPHRASE).dev.tokens
    batch = TokenInputs(pairs, torch.device("cpu")).batch(pairs.sequences_of(torch.arange(4).numpy()))

    with torch.no_grad():
        vectors = model.bert.pooled(model.bert.embed(*batch.tokens, batch.packing), batch.packing)
        expected = model.heads.output["paraphrase"](model.heads.common(vectors).reshape(4, 2 * 32))
        found = model(PARAPHRASE, model.pooled(batch), pairs.per_example)

    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_tensors_that_are_not_exactly_those_that_train_are_refused(fresh_encoder, change):
    """A checkpoint of another config is an error that names a tensor, and nothing is taken over."""
    model = MultitaskModel(TrialConfig(), ALL, fresh_encoder())
    tensors = {name: tensor.clone() for name, tensor in model.trained_tensors().items()}
    if change == "missing":
        tensors.pop("heads.output.sentiment.bias")
    elif change == "extra":
        tensors["heads.output.other.bias"] = torch.zeros(1)
    else:
        tensors["heads.output.sentiment.bias"] = torch.zeros(1)

    with pytest.raises(ValueError, match=r"heads\.output\.(sentiment|other)\.bias"):
        model.load_trained(tensors)
