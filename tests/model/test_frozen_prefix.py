"""The frozen prefix: kept or computed anew it gives the same bits, and nothing but its own states is ever used."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model import frozen_prefix
from model.config import TrialConfig
from model.encoder_files import find_encoder
from model.frozen_prefix import ComputedInputs, FrozenPrefix
from model.inputs import StateInputs, TokenInputs
from model.multitask import MultitaskModel
from model.prefix_cache import PrefixCache
from model.sizes import parameter_counts
from model.training import fine_tune

CPU = torch.device("cpu")
FORMS = [(precision, kept) for precision in ("fp32", "bf16") for kept in ("fp16", "fp32")]
LENGTHS = [9, 2, 3, 3, 64, 17, 9, 40, 5, 2, 33, 12, 12, 12, 7, 21]


def built(encoder, tokens, folder, precision="fp32", prefix_format="fp16"):
    """Return a function from unfrozen layers to a prefix; the cache holds all depths, made in one pass."""
    layers = encoder.config.num_hidden_layers

    def prefix(unfrozen):
        config = TrialConfig(unfrozen_layers=unfrozen, precision=precision, prefix_format=prefix_format)
        return FrozenPrefix(config, encoder, CPU, PrefixCache(folder))

    list(prefix(1).build([tokens], range(layers + 1)))
    return prefix


def both(prefix, tokens):
    """Return the kept and the computed inputs of the same tokens."""
    kept = prefix.inputs([tokens])[0]
    assert isinstance(kept, StateInputs)
    return kept, ComputedInputs(prefix, TokenInputs(tokens, CPU))


def assert_same_batches(kept, computed, sequences):
    """Hold two batches of the same sequences to equal bits in equal places."""
    one, other = (inputs.batch(np.asarray(sequences)) for inputs in (kept, computed))
    assert one.hidden_ND.dtype == other.hidden_ND.dtype == torch.float32
    assert torch.equal(one.hidden_ND, other.hidden_ND)
    assert np.array_equal(one.packing.lengths, other.packing.lengths)
    assert torch.equal(one.packing.restore_B, other.packing.restore_B)


@pytest.fixture(scope="module")
def tiny_tokens(random_tokens):
    """Return sequences of many lengths for the tiny encoder, some of them equal."""
    tokens = random_tokens(LENGTHS, 90)
    tokens.ids[: LENGTHS[0]] = tokens.ids[tokens.offsets[6] : tokens.offsets[7]]
    tokens.types[: LENGTHS[0]] = tokens.types[tokens.offsets[6] : tokens.offsets[7]]
    return tokens


@pytest.fixture(scope="module")
def tiny_prefixes(tiny_source, tiny_tokens, tmp_path_factory):
    """Return prefixes of the tiny encoder at every depth, in every form."""
    return {
        (*form, depth): both(prefix(3 - depth), tiny_tokens)
        for form in FORMS
        for prefix in [built(tiny_source, tiny_tokens, tmp_path_factory.mktemp("states"), *form)]
        for depth in (1, 2, 3)
    }


@settings(max_examples=25)
@given(st.lists(st.integers(0, len(LENGTHS) - 1), min_size=1, max_size=24))
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize(("precision", "prefix_format"), FORMS)
def test_kept_and_computed_states_have_the_same_bits(tiny_prefixes, precision, prefix_format, depth, sequences):
    """For any batch of a tiny encoder, one sequence or many, in any order, at every depth and in every form."""
    assert_same_batches(*tiny_prefixes[precision, prefix_format, depth], sequences)


@pytest.mark.parametrize(("precision", "prefix_format"), FORMS)
def test_kept_and_computed_states_of_minilm_have_the_same_bits(random_tokens, tmp_path, precision, prefix_format):
    """MiniLM's matrices are large enough for other kernels: every depth, one sequence of two tokens or all at once."""
    source = find_encoder("minilm")
    tokens = random_tokens([2, 3, 5, 8, 8, 13, 21, 34, 5, 70], source.config.vocab_size)
    prefix = built(source, tokens, tmp_path, precision, prefix_format)
    draw = np.random.default_rng(0)

    for unfrozen in range(6):
        kept, computed = both(prefix(unfrozen), tokens)
        for sequences in ([0], [9], draw.integers(0, 10, 3), draw.permutation(10)):
            assert_same_batches(kept, computed, sequences)


@pytest.mark.parametrize("depth", [1, 3])
def test_kept_and_computed_states_have_the_same_bits_on_two_threads(tiny_source, tiny_tokens, tmp_path, depth):
    """The number of threads is part of the key, not a condition."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        kept, computed = both(built(tiny_source, tiny_tokens, tmp_path)(3 - depth), tiny_tokens)
        for sequences in ([1], [4, 4, 0], range(len(LENGTHS))):
            assert_same_batches(kept, computed, sequences)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("unfrozen", [0, 1, 2])
@pytest.mark.parametrize(("precision", "prefix_format"), FORMS)
def test_training_with_the_cache_and_without_gives_the_same_bits(
    tiny_source, tiny_task_data, tiny_config, tmp_path, precision, prefix_format, unfrozen
):
    """Weights, moments, losses, scores and outputs of every epoch."""
    config = replace(tiny_config, epochs=2, unfrozen_layers=unfrozen, precision=precision, prefix_format=prefix_format)
    data, cache = tiny_task_data(config), PrefixCache(tmp_path)
    splits = [split.tokens for entry in data for split in (entry.train, entry.dev)]
    list(FrozenPrefix(config, tiny_source, CPU, cache).build(splits))

    pairs = zip(fine_tune(config, data, tiny_source, cache=cache), fine_tune(config, data, tiny_source), strict=True)

    assert len(list(tmp_path.glob("*/states.npy"))) == len(splits)
    for one, other in pairs:
        for part in ("weights", "optimizer"):
            found, expected = getattr(one.state, part), getattr(other.state, part)
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[name], expected[name]) for name in expected)
        assert (one.train_loss, one.dev.scores) == (other.train_loss, other.dev.scores)
        assert all(np.array_equal(one.dev.outputs[task], outputs) for task, outputs in other.dev.outputs.items())


def test_the_encoder_in_memory_trains_as_the_one_in_a_folder(tiny_source, fresh_encoder, tiny_task_data, tiny_config):
    """Where the weights come from, and when the frozen part is made of them, changes no bit."""
    config = replace(tiny_config, epochs=2)
    data = tiny_task_data(config)

    *_, one = fine_tune(config, data, tiny_source)
    *_, other = fine_tune(config, data, fresh_encoder())

    assert one.train_loss == other.train_loss
    assert all(torch.equal(one.state.weights[name], tensor) for name, tensor in other.state.weights.items())


def test_one_pass_gives_all_the_depths_asked_for(tiny_source, tiny_tokens, tmp_path, monkeypatch):
    """A second config finds its depth there, and has nothing to build; the share done grows to 1."""
    monkeypatch.setitem(frozen_prefix.CHUNK_ROWS, "cpu", 64)
    cache = PrefixCache(tmp_path)
    prefixes = [FrozenPrefix(TrialConfig(unfrozen_layers=u), tiny_source, CPU, cache) for u in (2, 1, 0)]

    shares = list(prefixes[0].build([tiny_tokens], {0, 2, 3}))

    assert len(shares) > 3
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] == 1
    names = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert names == {prefixes[0].entry(tiny_tokens, depth).name for depth in (1, 2, 3)}
    for prefix in prefixes:
        assert isinstance(prefix.inputs([tiny_tokens])[0], StateInputs)
        assert list(prefix.build([tiny_tokens])) == []


def test_a_pass_for_one_depth_gives_the_bits_of_a_pass_for_all(tiny_source, tiny_tokens, tmp_path):
    """Which other depths were asked for has no effect on what is kept."""
    files = []
    for depths in ((), (1, 2, 3)):
        folder = tmp_path / str(len(depths))
        prefix = FrozenPrefix(TrialConfig(unfrozen_layers=1), tiny_source, CPU, PrefixCache(folder))
        list(prefix.build([tiny_tokens], depths))
        files.append((folder / prefix.entry(tiny_tokens, 2).name / "states.npy").read_bytes())

    assert files[0] == files[1]


def test_several_splits_are_built_in_turn_while_another_builder_has_one(tiny_source, random_tokens, tmp_path):
    """What is free is built first; what another process has in hand is waited for, and built where it gave up."""
    splits = [random_tokens([5, 9], 90, seed=seed) for seed in (1, 2)]
    prefix = FrozenPrefix(TrialConfig(unfrozen_layers=1), tiny_source, CPU, PrefixCache(tmp_path))
    entries = [prefix.entry(tokens, 2) for tokens in splits]
    building = prefix.build(splits)

    with PrefixCache(tmp_path).sole_builder(entries[0]) as is_ours:
        assert is_ours
        while not prefix.cache.has(entries[1]):
            next(building)
        assert not prefix.cache.has(entries[0])
    *_, last = building

    assert last == 1
    assert all(isinstance(prefix.inputs([tokens])[0], StateInputs) for tokens in splits)


def test_the_embeddings_alone_need_no_cache(tiny_source, tiny_tokens, tmp_path):
    """With every layer unfrozen the embeddings are looked up anew: nothing is built, rounded or kept."""
    folder = tmp_path / "states"
    prefix = FrozenPrefix(TrialConfig(unfrozen_layers=3), tiny_source, CPU, PrefixCache(folder))

    assert list(prefix.build([tiny_tokens], {0})) == []
    inputs = prefix.inputs([tiny_tokens])[0]
    batch, tokens = (of.batch(np.arange(4)) for of in (inputs, TokenInputs(tiny_tokens, CPU)))

    assert isinstance(inputs, ComputedInputs)
    assert not folder.exists()
    assert torch.equal(batch.hidden_ND, tiny_source.part().eval().embed(*tokens.tokens, tokens.packing))


@pytest.mark.parametrize(
    "fields", [{"unfrozen_layers": "all"}, {"unfrozen_layers": 1, "prefix_dropout": True}], ids=["all", "dropout"]
)
def test_what_is_not_computed_once_takes_tokens(tiny_source, tiny_tokens, tmp_path, fields):
    """Where nothing is frozen, or the frozen layers drop out too, the whole encoder runs and nothing is kept."""
    folder = tmp_path / "states"
    prefix = FrozenPrefix(TrialConfig(**fields), tiny_source, CPU, PrefixCache(folder))

    assert list(prefix.build([tiny_tokens], {1, 2})) == []
    assert isinstance(prefix.inputs([tiny_tokens])[0], TokenInputs)
    assert prefix.top().state_dict().keys() == tiny_source.part().state_dict().keys()
    assert not folder.exists()


@pytest.mark.parametrize("unfrozen", [0, 1, 2, 3])
def test_the_top_has_no_embeddings_and_no_frozen_layers(tiny_source, unfrozen):
    """A model above a freeze depth holds what trains; the prefix below holds the rest, in eval mode."""
    prefix = FrozenPrefix(TrialConfig(unfrozen_layers=unfrozen), tiny_source, CPU)
    top, below = prefix.top(), prefix.below

    assert top.embeddings is None
    assert list(top.encoder.layer) == [str(i) for i in range(3 - unfrozen, 3)]
    assert list(below.encoder.layer) == [str(i) for i in range(3 - unfrozen)]
    assert below.pooler is None
    assert not any(module.training for module in below.modules())
    assert not any(parameter.requires_grad for parameter in below.parameters())


def test_equal_sequences_are_kept_once(tiny_source, random_tokens, tmp_path):
    """A split of one sentence a hundred times is as large as the sentence; at the last depth, as one [CLS]."""
    once = random_tokens([9], 90)
    tokens = replace(once, ids=np.tile(once.ids, 100), types=np.tile(once.types, 100), offsets=np.arange(0, 901, 9))
    prefix = built(tiny_source, tokens, tmp_path)

    kept = {unfrozen: prefix(unfrozen).inputs([tokens])[0] for unfrozen in (0, 1)}

    assert kept[1].rows_RD.shape == (9, 32)
    assert kept[0].rows_RD.shape == (1, 32)
    assert torch.equal(kept[1].batch(np.array([99])).hidden_ND, kept[1].batch(np.array([0])).hidden_ND)


@pytest.mark.parametrize(("prefix_format", "dtype"), [("fp16", torch.float16), ("fp32", torch.float32)])
def test_computed_states_are_rounded_as_kept_ones(tiny_source, tiny_tokens, prefix_format, dtype):
    """What a model trains on can be written in the format, whether it is written or not."""
    config = TrialConfig(unfrozen_layers=1, prefix_format=prefix_format)

    hidden = FrozenPrefix(config, tiny_source, CPU).inputs([tiny_tokens])[0].batch(np.arange(9)).hidden_ND

    assert torch.equal(hidden.to(dtype).float(), hidden)
    assert torch.equal(hidden.half().float(), hidden) == (prefix_format == "fp16")


def with_other_weights(encoder):
    """Change one weight of a frozen layer a little."""
    with torch.no_grad():
        encoder.encoder.layer["0"].output.dense.bias[0] += 1e-3


def with_other_shape(**fields):
    """Return a function that changes what the same weights mean."""

    def change(encoder):
        encoder.config = replace(encoder.config, **fields)

    return change


def with_other(name):
    """Return a function that changes one id or type of the last sequence."""

    def change(tokens):
        values = getattr(tokens, name).copy()
        values[-1] ^= 1
        return replace(tokens, **{name: values})

    return change


def backwards(tokens):
    """Return the same sequences from the last to the first."""
    offsets = np.concatenate([[0], np.cumsum(tokens.lengths[::-1])])
    rows = tokens.rows(np.arange(len(tokens))[::-1])
    return replace(tokens, ids=tokens.ids[rows], types=tokens.types[rows], offsets=offsets)


@pytest.mark.parametrize(
    ("fields", "of_encoder", "of_tokens", "of_module"),
    [
        ({}, with_other_weights, None, None),
        ({}, with_other_shape(layer_norm_eps=1e-6), None, None),
        ({}, with_other_shape(num_attention_heads=2), None, None),
        ({}, None, with_other("ids"), None),
        ({}, None, with_other("types"), None),
        ({}, None, backwards, None),
        ({"precision": "bf16"}, None, None, None),
        ({"prefix_format": "fp32"}, None, None, None),
        ({"unfrozen_layers": 2}, None, None, None),
        ({}, None, None, (frozen_prefix, "CODE_SHA256", "0" * 64)),
        ({}, None, None, (torch, "__version__", "1.0.0")),
        ({}, None, None, (torch, "get_num_threads", lambda: 48)),
        ({}, None, None, None),
    ],
    ids=[
        "weights",
        "epsilon",
        "heads",
        "ids",
        "types",
        "order",
        "precision",
        "format",
        "depth",
        "version",
        "torch",
        "threads",
        "nothing",
    ],
)
def test_states_of_other_facts_are_never_used(
    request, tiny_tokens, fresh_encoder, tmp_path, monkeypatch, fields, of_encoder, of_tokens, of_module
):
    """Whatever the states follow from is in their name; with nothing changed they are found."""
    config, encoder, tokens = TrialConfig(unfrozen_layers=1), fresh_encoder(), tiny_tokens
    list(FrozenPrefix(config, fresh_encoder(), CPU, PrefixCache(tmp_path)).build([tokens]))

    if of_encoder:
        of_encoder(encoder)
    if of_tokens:
        tokens = of_tokens(tokens)
    if of_module:
        monkeypatch.setattr(*of_module)
    inputs = FrozenPrefix(replace(config, **fields), encoder, CPU, PrefixCache(tmp_path)).inputs([tokens])[0]

    assert isinstance(inputs, StateInputs) == (request.node.callspec.id == "nothing")


def prepared_model(config, tasks, source, tokens):
    """Return a config's model, its inputs, and the pooled vectors of some sequences."""
    prefix = FrozenPrefix(config, source, CPU)
    model = MultitaskModel(config, tasks, prefix.top()).train()
    inputs = prefix.inputs([tokens])[0]
    return model, lambda: model.pooled(inputs.batch(np.arange(6)))


@pytest.mark.parametrize("prefix_dropout", [False, True])
@pytest.mark.parametrize("unfrozen", [0, 1, 2, 3, "all"])
def test_exactly_the_unfrozen_parameters_get_a_gradient(
    tiny_source, tiny_tokens, course_tasks, unfrozen, prefix_dropout
):
    """Top layers and pooler train, all below does not; the last layer's key bias has none, for it cancels."""
    config = TrialConfig(unfrozen_layers=unfrozen, prefix_dropout=prefix_dropout)
    tops = range(3) if unfrozen == "all" else range(3 - unfrozen, 3)
    prefixes = (*(f"bert.encoder.layer.{i}." for i in tops), "bert.pooler.", *(["bert.emb"] * (unfrozen == "all")))
    model, pooled = prepared_model(config, course_tasks, tiny_source, tiny_tokens)

    pooled().sum().backward()

    everything = {f"bert.{name}" for name in tiny_source.part().state_dict()}
    has_gradient = {name for name, p in model.named_parameters() if p.grad is not None}
    trains = {name for name in model.trained_tensors() if name.startswith("bert.")}
    assert trains == {name for name in everything if name.startswith(prefixes)}
    assert has_gradient == trains - {"bert.encoder.layer.2.attention.self.key.bias"}


@pytest.mark.parametrize(("prefix_dropout", "drops"), [(False, False), (True, True)])
def test_the_frozen_layers_drop_out_where_the_config_says_so(
    tiny_source, tiny_tokens, course_tasks, prefix_dropout, drops
):
    """In train mode, without a trained layer or head, pooled vectors differ only by dropout in what is frozen."""
    config = TrialConfig(unfrozen_layers=0, prefix_dropout=prefix_dropout)
    model, pooled = prepared_model(config, course_tasks, tiny_source, tiny_tokens)

    with torch.no_grad():
        first, second = pooled(), pooled()
        model.eval()
        still, again = pooled(), pooled()

    assert torch.equal(first, second) != drops
    assert torch.equal(still, again)


def test_the_unfrozen_layers_drop_out_on_states_that_do_not(tiny_source, tiny_tokens, course_tasks):
    """In train mode the inputs of the first unfrozen layer are the same twice, its outputs are not."""
    config = TrialConfig(unfrozen_layers=2)
    model, pooled = prepared_model(config, course_tasks, tiny_source, tiny_tokens)
    seen = {"in": [], "out": []}

    def look(_, inputs, output):
        seen["in"].append(inputs[0])
        seen["out"].append(output)

    model.bert.layers[0].register_forward_hook(look)

    pooled()
    pooled()

    assert torch.equal(*seen["in"])
    assert not torch.equal(*seen["out"])


@settings(max_examples=10)
@given(st.integers(1, 4), st.booleans())
def test_trainable_parameters_grow_with_unfrozen_layers(random_encoder, course_tasks, layers, prefix_dropout):
    """Each layer unfrozen adds a layer's parameters, "all" the embeddings too, whether they drop out or not."""
    encoder = random_encoder(
        vocab_size=50, hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=24
    )
    a_layer = sum(p.numel() for p in encoder.layers[0].parameters())
    embeddings = sum(p.numel() for p in encoder.embeddings.parameters())

    def trained(unfrozen):
        config = TrialConfig(unfrozen_layers=unfrozen, prefix_dropout=prefix_dropout)
        return parameter_counts(config, course_tasks, encoder.config)[1]

    counts = [trained(unfrozen) for unfrozen in range(layers + 1)]
    assert counts == [counts[0] + unfrozen * a_layer for unfrozen in range(layers + 1)]
    assert trained("all") == counts[-1] + embeddings
