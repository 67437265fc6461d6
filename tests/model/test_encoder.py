"""The encoder against transformers' BertModel, and the laws that any encoder keeps."""

from dataclasses import asdict, dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from transformers import BertConfig, BertModel

from model import packing
from model.encoder import Encoder, SelfAttention
from model.encoder_config import EncoderConfig, frozen_depth
from model.encoder_files import find_encoder
from model.inputs import TokenInputs
from model.packing import Packing, pack
from model.weights import load_encoder

CPU = torch.device("cpu")
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


@dataclass(frozen=True)
class Outputs:
    """What an encoder gives for a batch."""

    hidden_ND: torch.Tensor
    pooled_BD: torch.Tensor
    packing: Packing


def differences(encoder, tokens, shapes, *, training=False, attention="eager", seed=0):
    """Return the differences for these sequences; the loss weighs pooled and hidden at random.

    transformers' attention is the one written out (eager) unless its fused one (sdpa) is asked for.

    Key biases are left out of the gradients: theirs is zero in exact arithmetic, for a bias of the keys
    adds the same to all scores of a query. No id is 0, whose embedding transformers gives no gradient.
    """
    reference = BertModel(BertConfig(**asdict(encoder.config), attn_implementation=attention))
    reference.load_state_dict(encoder.state_dict())
    draw = torch.Generator().manual_seed(seed)
    of_pooled = torch.randn(len(tokens), encoder.config.hidden_size, generator=draw)
    of_hidden = torch.randn(len(tokens.ids), encoder.config.hidden_size, generator=draw)

    def results(model, hidden, pooled):
        ((hidden * of_hidden).sum() + (pooled * of_pooled).sum()).backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if "key.bias" not in name}
        return hidden.detach(), pooled.detach(), gradients

    assert reference.config._attn_implementation == attention
    encoder.train(training).zero_grad()
    reference.train(training)
    unpacked, padded = shapes
    found = outputs(encoder, tokens)
    ours = results(encoder, torch.cat(unpacked(found.hidden_ND, found.packing)), found.pooled_BD)
    given = padded(tokens, np.arange(len(tokens)))
    out = reference(**given)
    theirs = results(reference, out.last_hidden_state[given["attention_mask"].bool()], out.pooler_output)
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


@pytest.fixture
def shapes(unpacked, padded):
    """Return how sequences lie in our batches and how in transformers'."""
    return unpacked, padded


def outputs(encoder, tokens):
    """Return every token's hidden states after the last layer, the pooled vectors, and the packing of the former.

    The last layer is computed twice: for all tokens, and for [CLS] alone as pooling has it.
    """
    batch = TokenInputs(tokens, CPU).batch(np.arange(len(tokens)))
    embedded = encoder.embed(*batch.tokens, batch.packing)
    *_, hidden = encoder.hidden_states(embedded, batch.packing)
    return Outputs(hidden, encoder.pooled(embedded, batch.packing), batch.packing)


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
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def assert_equal_to_transformers(found, record_property):
    """Record the differences, then hold them to the bounds."""
    record_property("differences", found)
    print(found)
    assert found.hidden <= MAX_OUTPUT
    assert found.pooled <= MAX_OUTPUT
    assert found.gradient <= MAX_RELATIVE_GRADIENT, found.worst_parameter


@pytest.mark.parametrize("training", [False, True])
def test_minilm_equals_transformers(random_tokens, shapes, training, record_property):
    """MiniLM's real weights give transformers' outputs and gradients, in eval mode and without dropout."""
    source = find_encoder("minilm")
    encoder = Encoder(replace(source.config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
    encoder.load_state_dict(load_encoder(source).state_dict())
    tokens = random_tokens([24, 7, 2], source.config.vocab_size)

    assert_equal_to_transformers(differences(encoder, tokens, shapes, training=training), record_property)


def test_the_shape_of_bert_base_equals_transformers(random_encoder, random_tokens, shapes, record_property):
    """Twelve layers of 768 give transformers' outputs and gradients."""
    encoder = random_encoder(seed=3, **BASE)

    assert_equal_to_transformers(differences(encoder, random_tokens([12, 5], 1_000), shapes), record_property)


@pytest.mark.parametrize(
    "shape",
    [ODD, ODD | {"num_hidden_layers": 1, "num_attention_heads": 1}, ODD | {"layer_norm_eps": 1e-3}],
    ids=["odd", "one layer, one head", "large epsilon"],
)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train without dropout"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("groups", [1, 8], ids=["padded", "unpadded"])
def test_odd_shapes_equal_transformers(
    random_encoder, random_tokens, shapes, monkeypatch, shape, training, attention, groups, record_property
):
    """Heads of 12, three token types, 40 positions or a single layer give transformers' numbers."""
    monkeypatch.setitem(packing.MAX_GROUPS, "cpu", groups)
    encoder = random_encoder(seed=4, deviation=0.1, **shape, **STILL)
    tokens = random_tokens([40, 23, 9, 2], 101, types=3)

    found = differences(encoder, tokens, shapes, training=training, attention=attention)

    assert_equal_to_transformers(found, record_property)


def test_the_comparison_finds_a_wrong_weight(random_encoder, random_tokens, shapes):
    """A thousandth on a single weight of one layer shows in the differences."""
    encoder = random_encoder(seed=5, deviation=0.1, **SMALL)
    honest = encoder.state_dict
    changed = {name: tensor.clone() for name, tensor in honest().items()}
    changed["encoder.layer.1.attention.self.query.weight"][0, 0] += 1e-3
    encoder.state_dict = lambda: changed

    found = differences(encoder, random_tokens([16, 9]), shapes)

    assert found.hidden > MAX_OUTPUT
    assert found.gradient > MAX_RELATIVE_GRADIENT


def part_of(tokens, sequences):
    """Return these sequences of packed tokens alone."""
    rows = tokens.rows(np.asarray(sequences))
    offsets = np.concatenate([[0], np.cumsum(tokens.lengths[sequences])])
    return replace(tokens, ids=tokens.ids[rows], types=tokens.types[rows], offsets=offsets)


LONG = SMALL | {"max_position_embeddings": 512}
LENGTHS = st.one_of(
    st.lists(st.integers(2, 16), min_size=1, max_size=12),
    st.lists(st.integers(2, 512), min_size=1, max_size=3),
    st.tuples(st.just(2), st.integers(2, 40), st.just(512)).map(list),
)


def results_of(encoder, tokens, unpacked, groups):
    """Return each sequence's hidden states and pooled vectors, padded to at most so many groups."""
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setitem(packing.MAX_GROUPS, "cpu", groups)
        found = outputs(encoder, tokens)
    return unpacked(found.hidden_ND, found.packing), found.pooled_BD


@settings(max_examples=25)
@given(LENGTHS, st.integers(0, 1_000), st.sampled_from([1, 2, 8]))
def test_padding_does_not_matter(random_encoder, random_tokens, unpacked, lengths, seed, groups):
    """A sequence's outputs are the same alone and beside longer ones, whatever groups attend together."""
    encoder = random_encoder(seed=1, deviation=0.2, **LONG).eval()
    tokens = random_tokens(lengths, seed=seed)

    hidden, pooled = results_of(encoder, tokens, unpacked, groups)

    for i in range(len(lengths)):
        (alone_hidden,), alone_pooled = results_of(encoder, part_of(tokens, [i]), unpacked, groups)
        torch.testing.assert_close(hidden[i], alone_hidden, atol=MAX_PADDING, rtol=0)
        torch.testing.assert_close(pooled[i], alone_pooled[0], atol=MAX_PADDING, rtol=0)


@settings(max_examples=25)
@given(LENGTHS.flatmap(lambda x: st.tuples(st.just(x), st.permutations(range(len(x))))), st.integers(0, 1_000),
       st.sampled_from([1, 2, 8]))  # fmt: skip
def test_permuting_a_batch_permutes_the_output(
    random_encoder, random_tokens, unpacked, lengths_and_order, seed, groups
):
    """The place of a sequence in its batch has no effect on its outputs."""
    lengths, order = lengths_and_order
    encoder = random_encoder(seed=2, deviation=0.2, **LONG).eval()
    tokens = random_tokens(lengths, seed=seed)

    hidden, pooled = results_of(encoder, tokens, unpacked, groups)
    moved_hidden, moved_pooled = results_of(encoder, part_of(tokens, order), unpacked, groups)

    for place, i in enumerate(order):
        torch.testing.assert_close(moved_hidden[place], hidden[i], atol=MAX_PADDING, rtol=0)
        torch.testing.assert_close(moved_pooled[place], pooled[i], atol=MAX_PADDING, rtol=0)


@pytest.mark.parametrize("groups", [1, 8], ids=["padded", "unpadded"])
def test_the_shortest_and_the_longest_sequence_equal_transformers(
    random_encoder, random_tokens, shapes, monkeypatch, groups, record_property
):
    """An empty sentence (two tokens) and one of all 512 positions give transformers' numbers in one batch."""
    monkeypatch.setitem(packing.MAX_GROUPS, "cpu", groups)
    encoder = random_encoder(seed=6, deviation=0.1, **LONG)

    assert_equal_to_transformers(differences(encoder, random_tokens([2, 512]), shapes), record_property)


def test_a_sequence_beyond_the_positions_is_an_error(random_encoder, random_tokens):
    """One token more than there are positions raises; nothing wraps around."""
    with pytest.raises((IndexError, RuntimeError)):
        outputs(random_encoder(**SMALL), random_tokens([17]))


@pytest.mark.parametrize(
    ("hidden", "attention", "lengths"),
    [(0.1, 0.0, [16, 16]), (0.0, 0.1, [16, 16]), (0.2, 0.3, [16, 16]), (0.0, 0.1, [9, 16])],
    ids=["hidden", "attention", "both", "attention, padded"],
)
def test_dropout_stands_where_transformers_has_it(
    random_encoder, random_tokens, unpacked, padded, monkeypatch, hidden, attention, lengths
):
    """With the same random numbers both drop the same entries: of embeddings, attention and each residual.

    Where residuals drop, no row is padded: transformers draws numbers for padding too, we have none there.
    """
    monkeypatch.setitem(packing.MAX_GROUPS, "cpu", 1)
    rates = {"hidden_dropout_prob": hidden, "attention_probs_dropout_prob": attention}
    encoder = random_encoder(deviation=0.2, **SMALL, **rates).train()
    reference = BertModel(BertConfig(**asdict(encoder.config), attn_implementation="sdpa")).train()
    reference.load_state_dict(encoder.state_dict())
    tokens = random_tokens(lengths)
    given = padded(tokens, np.arange(2))

    with torch.no_grad():
        torch.manual_seed(1)
        found = outputs(encoder, tokens)
        ours = torch.cat(unpacked(found.hidden_ND, found.packing))
        torch.manual_seed(1)
        theirs = reference(**given).last_hidden_state[given["attention_mask"].bool()]
        still = outputs(encoder.eval(), tokens)

    torch.testing.assert_close(ours, theirs, atol=MAX_OUTPUT, rtol=0)
    assert (ours - torch.cat(unpacked(still.hidden_ND, still.packing))).abs().max() > 0.1


def written_out(attention, hidden_ND, packing):
    """Return the context of each [CLS] as the paper has it: every token projected, weights dropped, values summed."""
    query, key, value = (project(hidden_ND) for project in (attention.query, attention.key, attention.value))
    width = hidden_ND.shape[-1] // attention.heads
    contexts = []
    for group, q, k, v in zip(packing.groups, *map(packing.split, (query, key, value)), strict=True):
        heads = [part.unflatten(-1, (attention.heads, width)).transpose(1, 2) for part in (q[:, :1], k, v)]
        scores = heads[0] @ heads[1].transpose(2, 3) / width**0.5
        if group.attend_GT is not None:
            scores = scores.masked_fill(~group.attend_GT[:, None, None], -torch.inf)
        weights = functional.dropout(scores.softmax(-1), attention.dropout_rate, attention.training)
        contexts.append((weights @ heads[2]).transpose(1, 2).flatten(1))
    return torch.cat(contexts)


@settings(max_examples=40)
@given(LENGTHS, st.randoms(use_true_random=False), st.sampled_from([0.0, 0.1, 0.5]), st.sampled_from([1, 2, 8, None]))
def test_the_attention_of_first_tokens_is_that_written_out(lengths, random, rate, groups):
    """Absorbed projections give the literal context and gradients, with the same entries dropped, padded or not."""
    random.shuffle(lengths)
    torch.manual_seed(random.randrange(1_000))
    shape = EncoderConfig(model_type="bert", **SMALL, attention_probs_dropout_prob=rate)
    absorbed, hidden = SelfAttention(shape).train(), torch.randn(sum(lengths), 16)
    literal = SelfAttention(shape).train()
    literal.load_state_dict(absorbed.state_dict())
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(packing.MAX_GROUPS, "cpu", groups or 8)
        packed = pack(lengths, CPU, unpadded=groups is None)

    found_by, gradients = [], []
    for attention, of in ((absorbed, absorbed.of_first), (literal, None)):
        rows = hidden.clone().requires_grad_()
        torch.manual_seed(1)
        out = of(rows, rows[packed.firsts_B], packed) if of else written_out(attention, rows, packed)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        found_by.append(out.detach())
        gradients.append({"rows": rows.grad} | {n: p.grad for n, p in attention.named_parameters()})

    torch.testing.assert_close(*found_by, atol=MAX_OUTPUT, rtol=0)
    ours, theirs = gradients
    assert ours.pop("key.bias") is None  # the softmax cancels it: zero in exact arithmetic
    for name, found in ours.items():
        worst = (found - theirs[name]).abs().max() / theirs[name].abs().max().clamp(min=1e-3)
        assert worst <= MAX_RELATIVE_GRADIENT, (name, worst)


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_a_top_on_a_bottom_is_the_whole_encoder(random_encoder, random_tokens, depth):
    """Cut at any depth, the parts together give the whole's bits, and hold each of its tensors once."""
    encoder = random_encoder(deviation=0.2, **SMALL).eval()
    bottom, top = encoder.part(stop=depth).eval(), encoder.part(start=depth).eval()
    batch = TokenInputs(random_tokens([9, 4, 9]), CPU).batch(np.arange(3))

    with torch.no_grad():
        embedded = bottom.embed(*batch.tokens, batch.packing)
        *_, states = [embedded, *bottom.hidden_states(embedded, batch.packing)]
        found = top.pooled(states, batch.packing)
        expected = encoder.pooled(encoder.embed(*batch.tokens, batch.packing), batch.packing)

    if depth < 3:
        assert torch.equal(found, expected)
    else:  # the whole encoder computes its last layer for [CLS] alone, a bottom for all tokens
        torch.testing.assert_close(found, expected, atol=MAX_PADDING, rtol=0)
    names = [name for part in (bottom, top) for name, _ in part.named_parameters()]
    assert sorted(names) == sorted(name for name, _ in encoder.named_parameters())


def test_a_part_has_weights_of_its_own(random_encoder):
    """Training a part changes neither the encoder that it is of nor another part."""
    encoder = random_encoder(**SMALL)
    whole, part = encoder.weights_sha256, encoder.part(start=1)

    with torch.no_grad():
        part.pooler.dense.bias.add_(1)

    assert encoder.weights_sha256 == whole
    assert encoder.part(start=1).weights_sha256 != part.weights_sha256


def test_making_a_part_draws_no_random_number(random_encoder):
    """When a part is made has no effect on what is dropped afterwards."""
    encoder = random_encoder(**SMALL)
    torch.manual_seed(1)
    expected = torch.rand(2)

    torch.manual_seed(1)
    encoder.part(stop=2)

    assert torch.equal(torch.rand(2), expected)


def test_every_weight_is_in_the_hash(random_encoder):
    """The smallest change of any tensor is another encoder."""
    encoder = random_encoder(**SMALL)
    seen = {encoder.weights_sha256}

    for parameter in encoder.parameters():
        with torch.no_grad():
            parameter.flatten()[-1:].add_(1e-3)
        seen.add(encoder.weights_sha256)

    assert len(seen) == 1 + len(list(encoder.parameters()))


@pytest.mark.parametrize("cut", [{"start": 4}, {"stop": 4}, {"start": -1}])
def test_a_cut_beyond_the_layers_is_refused(random_encoder, cut):
    """The error says which depth was asked for and how many layers there are."""
    with pytest.raises(ValueError, match=rf"an encoder of 3 layers has no depth {next(iter(cut.values()))}"):
        random_encoder(**SMALL).part(**cut)


@given(st.integers(1, 24).flatmap(lambda layers: st.tuples(st.just(layers), st.integers(0, layers))))
def test_what_is_not_unfrozen_lies_below_the_frozen_depth(layers_and_unfrozen):
    """Freeze depth and unfrozen layers make up the layers; all of them, embeddings included, have no such depth."""
    layers, unfrozen = layers_and_unfrozen

    assert frozen_depth(unfrozen, layers) == layers - unfrozen
    assert frozen_depth("all", layers) is None


@pytest.mark.parametrize("unfrozen", [4, -1])
def test_more_unfrozen_layers_than_there_are_is_refused(unfrozen):
    """The error says what was asked for and how many layers there are."""
    with pytest.raises(ValueError, match=rf"unfrozen_layers is {unfrozen}; the encoder has 3 layers"):
        frozen_depth(unfrozen, 3)


def test_heads_that_do_not_divide_the_width_are_refused():
    """A width of 60 has no 7 heads."""
    with pytest.raises(ValueError, match="hidden_size 60 is no multiple of 7 heads"):
        EncoderConfig(model_type="bert", **ODD | {"num_attention_heads": 7})
