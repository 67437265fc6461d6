"""The encoder against transformers' BertModel, and the laws that any encoder keeps."""

from dataclasses import asdict, dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertModel

from model.encoder import Encoder, EncoderConfig
from model.weights import find_encoder, load_encoder

MAX_OUTPUT = 1e-5
MAX_RELATIVE_GRADIENT = 2e-5
MAX_PADDING = 2e-6
"""fp32 sums in another order, no more."""


@dataclass(frozen=True)
class Differences:
    """Largest differences between our encoder and transformers' with the same weights and inputs."""

    hidden: float
    """Of the hidden states at real tokens, absolute."""
    pooled: float
    """Absolute."""
    gradient: float
    """Of a parameter's gradient, relative to the largest entry of that gradient."""
    worst_parameter: str


def differences(encoder, lengths, *, training=False, attention="eager", seed=0):
    """Return the differences for random ids of these lengths; the loss weighs pooled and hidden at random.

    transformers' attention is the one written out (eager) unless its fused one (sdpa) is asked for.

    Key biases are left out of the gradients: theirs is zero in exact arithmetic, for a bias of the keys
    adds the same to all scores of a query. No id is 0, whose embedding transformers gives no gradient.
    """
    reference = BertModel(BertConfig(**asdict(encoder.config), attn_implementation=attention))
    reference.load_state_dict(encoder.state_dict())
    draw = torch.Generator().manual_seed(seed)
    shape = len(lengths), max(lengths)
    ids = torch.randint(1, encoder.config.vocab_size, shape, generator=draw)
    types = torch.randint(0, encoder.config.type_vocab_size, shape, generator=draw)
    counts = torch.tensor(lengths)
    real = torch.arange(max(lengths)) < counts[:, None]
    ids, types = ids * real, types * real
    of_pooled = torch.randn(len(lengths), encoder.config.hidden_size, generator=draw)
    of_hidden = torch.randn(*shape, encoder.config.hidden_size, generator=draw) * real[..., None]

    def results(model, hidden, pooled):
        ((hidden * of_hidden).sum() + (pooled * of_pooled).sum()).backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if "key.bias" not in name}
        return hidden.detach()[real], pooled.detach(), gradients

    assert reference.config._attn_implementation == attention
    encoder.train(training).zero_grad()
    reference.train(training)
    ours = results(encoder, *encoder(ids, types, counts))
    out = reference(input_ids=ids, token_type_ids=types, attention_mask=real.long())
    theirs = results(reference, out.last_hidden_state, out.pooler_output)
    assert ours[2].keys() == theirs[2].keys()
    gradients = {
        name: ((ours[2][name] - expected).abs().max() / expected.abs().max()).item()
        for name, expected in theirs[2].items()
    }
    worst = max(gradients, key=gradients.get)
    return Differences(
        (ours[0] - theirs[0]).abs().max().item(),
        (ours[1] - theirs[1]).abs().max().item(),
        gradients[worst],
        worst,
    )


def random_encoder(seed=0, deviation=0.02, **shape):
    """Return an encoder of a shape with random weights, biases and LayerNorms included."""
    encoder = Encoder(EncoderConfig(model_type="bert", **shape))
    encoder.initialise(seed, deviation)
    draw = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if name.endswith("bias") or "LayerNorm" in name:
                parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=deviation)
    return encoder


BASE = {
    "vocab_size": 1_000,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3_072,
}
ODD = {
    "vocab_size": 101,
    "hidden_size": 60,
    "num_hidden_layers": 2,
    "num_attention_heads": 5,
    "intermediate_size": 77,
    "max_position_embeddings": 40,
    "type_vocab_size": 3,
}
SMALL = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 16,
}


def assert_equal_to_transformers(found, record_property):
    """Record the differences, then hold them to the bounds."""
    record_property("differences", found)
    print(found)
    assert found.hidden <= MAX_OUTPUT
    assert found.pooled <= MAX_OUTPUT
    assert found.gradient <= MAX_RELATIVE_GRADIENT, found.worst_parameter


@pytest.mark.parametrize("training", [False, True])
def test_minilm_equals_transformers(training, record_property):
    """MiniLM's real weights give transformers' outputs and gradients, in eval mode and without dropout."""
    source = find_encoder("minilm")
    encoder = Encoder(replace(source.config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
    encoder.load_state_dict(load_encoder(source).state_dict())

    assert_equal_to_transformers(differences(encoder, [24, 7, 2], training=training), record_property)


def test_the_shape_of_bert_base_equals_transformers(record_property):
    """Twelve layers of 768 give transformers' outputs and gradients."""
    encoder = random_encoder(seed=3, **BASE)

    assert_equal_to_transformers(differences(encoder, [12, 5]), record_property)


@pytest.mark.parametrize(
    "shape",
    [ODD, ODD | {"num_hidden_layers": 1, "num_attention_heads": 1}, ODD | {"layer_norm_eps": 1e-3}],
    ids=["odd", "one layer, one head", "large epsilon"],
)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train without dropout"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_odd_shapes_equal_transformers(shape, training, attention, record_property):
    """Heads of 12, three token types, 40 positions or a single layer give transformers' numbers."""
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    encoder = random_encoder(seed=4, deviation=0.1, **shape, **still)

    found = differences(encoder, [40, 23, 9, 2], training=training, attention=attention)

    assert_equal_to_transformers(found, record_property)


def test_the_comparison_finds_a_wrong_weight():
    """A thousandth on a single weight of one layer shows in the differences."""
    encoder = random_encoder(seed=5, deviation=0.1, **SMALL)
    honest = encoder.state_dict
    changed = {name: tensor.clone() for name, tensor in honest().items()}
    changed["encoder.layer.1.attention.self.query.weight"][0, 0] += 1e-3
    encoder.state_dict = lambda: changed

    found = differences(encoder, [16, 9])

    assert found.hidden > MAX_OUTPUT
    assert found.gradient > MAX_RELATIVE_GRADIENT


def random_batch(lengths, vocab_size, seed):
    """Return random ids and types, whatever stands beyond a sequence's end included."""
    draw = torch.Generator().manual_seed(seed)
    shape = len(lengths), max(lengths)
    ids = torch.randint(0, vocab_size, shape, generator=draw)
    return ids, torch.randint(0, 2, shape, generator=draw), torch.tensor(lengths)


@settings(max_examples=20)
@given(st.lists(st.integers(2, 16), min_size=1, max_size=6), st.integers(0, 1_000))
def test_padding_does_not_matter(lengths, seed):
    """A sequence's outputs are the same alone and beside longer ones, whatever the padding holds."""
    encoder = random_encoder(seed=1, deviation=0.2, **SMALL).eval()
    ids, types, counts = random_batch(lengths, 50, seed)

    with torch.no_grad():
        hidden, pooled = encoder(ids, types, counts)
        for i, n in enumerate(lengths):
            alone_hidden, alone_pooled = encoder(ids[i : i + 1, :n], types[i : i + 1, :n], counts[i : i + 1])
            torch.testing.assert_close(hidden[i, :n], alone_hidden[0], atol=MAX_PADDING, rtol=0)
            torch.testing.assert_close(pooled[i], alone_pooled[0], atol=MAX_PADDING, rtol=0)


@settings(max_examples=20)
@given(st.lists(st.integers(2, 16), min_size=2, max_size=6).flatmap(lambda x: st.tuples(
    st.just(x), st.permutations(range(len(x))))), st.integers(0, 1_000))  # fmt: skip
def test_permuting_a_batch_permutes_the_output(lengths_and_order, seed):
    """The place of a sequence in its batch has no effect on its outputs."""
    lengths, order = lengths_and_order
    encoder = random_encoder(seed=2, deviation=0.2, **SMALL).eval()
    ids, types, counts = random_batch(lengths, 50, seed)

    with torch.no_grad():
        hidden, pooled = encoder(ids, types, counts)
        moved_hidden, moved_pooled = encoder(ids[order], types[order], counts[order])

    torch.testing.assert_close(moved_hidden, hidden[order], atol=MAX_PADDING, rtol=0)
    torch.testing.assert_close(moved_pooled, pooled[order], atol=MAX_PADDING, rtol=0)


def test_the_shortest_and_the_longest_sequence_equal_transformers(record_property):
    """An empty sentence (two tokens) and one of all 512 positions give transformers' numbers in one batch."""
    encoder = random_encoder(seed=6, deviation=0.1, **SMALL | {"max_position_embeddings": 512})

    assert_equal_to_transformers(differences(encoder, [2, 512]), record_property)


def test_a_sequence_beyond_the_positions_is_an_error():
    """One token more than there are positions raises; nothing wraps around."""
    encoder = random_encoder(**SMALL)

    with pytest.raises((IndexError, RuntimeError)):
        encoder(*random_batch([17], 50, seed=0))


def test_frozen_layers_have_no_dropout_in_train_mode():
    """In train mode the frozen prefix computes the same twice, the unfrozen top layer does not."""
    encoder = random_encoder(deviation=0.2, **SMALL, hidden_dropout_prob=0.5)
    encoder.freeze_below(1)
    encoder.train()
    seen = {1: [], 2: []}
    for i, outputs in seen.items():
        encoder.encoder.layer[i].register_forward_hook(lambda *args, to=outputs: to.append(args[-1]))
    batch = random_batch([9, 4], 50, seed=0)

    for _ in range(2):
        encoder(*batch)

    assert torch.equal(*seen[1])
    assert not torch.equal(*seen[2])


@pytest.mark.parametrize(("hidden", "attention"), [(0.1, 0.0), (0.0, 0.1), (0.2, 0.3)])
def test_dropout_stands_where_transformers_has_it(hidden, attention):
    """With the same random numbers both drop the same entries: of embeddings, attention and each residual."""
    rates = {"hidden_dropout_prob": hidden, "attention_probs_dropout_prob": attention}
    encoder = random_encoder(deviation=0.2, **SMALL, **rates).train()
    reference = BertModel(BertConfig(**asdict(encoder.config), attn_implementation="sdpa")).train()
    reference.load_state_dict(encoder.state_dict())
    ids, types, counts = random_batch([16, 9], 50, seed=0)
    real = torch.arange(16) < counts[:, None]

    with torch.no_grad():
        torch.manual_seed(1)
        ours = encoder(ids, types, counts)[0]
        torch.manual_seed(1)
        theirs = reference(input_ids=ids, token_type_ids=types, attention_mask=real.long()).last_hidden_state
        still = encoder.eval()(ids, types, counts)[0]

    torch.testing.assert_close(ours[real], theirs[real], atol=MAX_OUTPUT, rtol=0)
    assert (ours - still)[real].abs().max() > 0.1


@pytest.mark.parametrize("unfrozen", [0, 1, 2, 3, "all"])
def test_exactly_the_unfrozen_parameters_get_a_gradient(unfrozen):
    """Top layers and pooler train, all below does not; every parameter is on one side or the other."""
    encoder = random_encoder(**SMALL)
    encoder.freeze_below(unfrozen)
    tops = range(3) if unfrozen == "all" else range(3 - unfrozen, 3)
    prefixes = (*(f"encoder.layer.{i}." for i in tops), "pooler.", *(["embeddings."] * (unfrozen == "all")))

    hidden, pooled = encoder(*random_batch([9, 4], 50, seed=0))
    (hidden.square().sum() + pooled.sum()).backward()

    trained = {name for name, p in encoder.named_parameters() if p.grad is not None}
    assert trained == {name for name, _ in encoder.named_parameters() if name.startswith(prefixes)}
    frozen = {id(p) for module in encoder.frozen_modules() for p in module.parameters()}
    assert len(trained) + len(frozen) == len(list(encoder.parameters()))


@settings(max_examples=10)
@given(st.integers(1, 4), st.permutations([0, 1, 2, 3, 4, "all"]))
def test_trainable_parameters_grow_with_unfrozen_layers(layers, choices):
    """Each layer unfrozen adds a layer's parameters, in whatever order a model is frozen and unfrozen."""
    encoder = random_encoder(**SMALL | {"num_hidden_layers": layers})
    a_layer = sum(p.numel() for p in encoder.encoder.layer[0].parameters())
    pooler = sum(p.numel() for p in encoder.pooler.parameters())
    everything = sum(p.numel() for p in encoder.parameters())

    for choice in choices:
        if choice == "all" or choice <= layers:
            encoder.freeze_below(choice)
            trains = sum(p.numel() for p in encoder.parameters() if p.requires_grad)
            assert trains == (everything if choice == "all" else pooler + choice * a_layer)


@pytest.mark.parametrize("unfrozen", [4, -1])
def test_more_unfrozen_layers_than_there_are_is_refused(unfrozen):
    """The error says what was asked for and how many layers there are."""
    with pytest.raises(ValueError, match=rf"unfrozen_layers is {unfrozen}; the encoder has 3 layers"):
        random_encoder(**SMALL).freeze_below(unfrozen)


def test_training_mode_survives_freezing():
    """Whether freezing comes before or after train(), the same modules end up in train mode."""
    before, after = random_encoder(**SMALL), random_encoder(**SMALL)
    before.freeze_below(2)
    before.train()
    after.train()
    after.freeze_below(2)

    modes = [{name: module.training for name, module in e.named_modules()} for e in (before, after)]
    assert modes[0] == modes[1]
    assert not modes[0]["embeddings"]
    assert modes[0]["encoder.layer.1"]


def test_heads_that_do_not_divide_the_width_are_refused():
    """A width of 60 has no 7 heads."""
    with pytest.raises(ValueError, match="hidden_size 60 is no multiple of 7 heads"):
        EncoderConfig(model_type="bert", **ODD | {"num_attention_heads": 7})
