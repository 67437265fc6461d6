"""Configs: frozen, validated, the same after a way through plain values, and refused in plain words."""

import json
from dataclasses import FrozenInstanceError, fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import (
    ConfigError,
    HeadConfig,
    TrialConfig,
    check_against,
    config_from_dict,
    config_to_dict,
    field_paths,
    flatten,
    with_settings,
)
from model.files import content_hash
from model.tasks import TASKS

NAMES = st.sampled_from(["sentiment", "paraphrase", "similarity"])
RATES = st.floats(0, 1, exclude_max=True)
HEADS = st.builds(
    HeadConfig,
    common_layers=st.integers(0, 64),
    task_layers=st.integers(1, 64),
    activation=st.sampled_from(["none", "relu", "gelu", "tanh"]),
    normalisation=st.sampled_from(["none", "layer"]),
    dropout=RATES,
    inner_dropout=RATES,
)
LOSSES = st.sampled_from(["cross_entropy", "binary_cross_entropy", "mean_squared_error", "cosine"])
OF_EACH_FIELD = {
    "tasks": st.lists(NAMES, min_size=1, max_size=4).map(tuple),
    "unfrozen_layers": st.integers(0, 48) | st.just("all"),
    "train_pooler": st.booleans(),
    "heads": HEADS,
    "pair_encoding": st.dictionaries(NAMES, st.sampled_from(["separate", "joint"])),
    "losses": st.dictionaries(NAMES, LOSSES),
    "loss_weights": st.dictionaries(NAMES, st.floats(0, 1e6)),
    "sampling": st.sampled_from(["proportional", "uniform", "annealed"]),
    "max_train_examples": st.none() | st.integers(1, 10**9),
    "max_tokens": st.integers(8, 512),
    "epochs": st.integers(1, 10_000),
    "batch_size": st.integers(1, 65_536),
    "learning_rate": st.floats(0, 1, exclude_min=True, exclude_max=True),
    "learning_rate_decay": st.floats(0, 1, exclude_min=True),
    "weight_decay": RATES,
    "prefix_dropout": st.booleans(),
    "prefix_format": st.sampled_from(["fp16", "fp32"]),
    "precision": st.sampled_from(["fp32", "bf16"]),
    "seed": st.integers(0, 2**32 - 1),
}
CONFIGS = st.builds(TrialConfig, **OF_EACH_FIELD)
LIMITS = {"layers": 12, "positions": 512, "tasks": TASKS}


def test_the_laws_cover_every_field():
    """A field that is added is added to the strategy too."""
    assert set(OF_EACH_FIELD) == {field.name for field in fields(TrialConfig)}


@settings(max_examples=60)
@given(CONFIGS)
def test_a_config_comes_back_from_plain_values(config):
    """Through a plain dict, through JSON and back it is equal, and so is its hash."""
    plain = config_to_dict(config)

    assert config_from_dict(plain) == config
    assert config_from_dict(json.loads(json.dumps(plain))) == config
    assert content_hash(config_to_dict(config_from_dict(plain))) == content_hash(plain)


@settings(max_examples=60)
@given(CONFIGS)
def test_a_flat_config_set_over_the_default_is_the_config(config):
    """Dotted paths name every field: what `flatten` gives, `with_settings` takes."""
    assert with_settings(TrialConfig(), flatten(config_to_dict(config))) == config


@settings(max_examples=30)
@given(CONFIGS)
def test_plain_values_are_json(config):
    """Only what JSON knows crosses a process border: no tuples, no NaN, no classes."""
    plain = config_to_dict(config)

    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_the_defaults_are_the_studys():
    """One common and one task layer, top 2 layers, 2e-5 with decay 0.9, dropout 0.3, batch 32, 10 epochs."""
    config = TrialConfig()

    assert (config.heads.common_layers, config.heads.task_layers, config.heads.dropout) == (1, 1, 0.3)
    assert (config.unfrozen_layers, config.learning_rate, config.learning_rate_decay) == (2, 2e-5, 0.9)
    assert (config.batch_size, config.epochs, config.sampling) == (32, 10, "proportional")
    assert check_against(config, **LIMITS) == []


def test_a_config_cannot_be_changed():
    """Nothing is assigned to a config; another one is made with replace."""
    config = TrialConfig()

    with pytest.raises(FrozenInstanceError):
        config.seed = 1
    assert replace(config, seed=1).seed == 1


def test_fields_have_dotted_paths():
    """Each field of the heads has its own path."""
    paths = field_paths()

    assert "heads.dropout" in paths
    assert "learning_rate" in paths
    assert len(paths) == len(fields(TrialConfig)) - 1 + len(fields(HeadConfig))


@pytest.mark.parametrize(
    ("values", "unknown", "meant"),
    [
        ({"lerning_rate": 1e-5}, "lerning_rate", "learning_rate"),
        ({"heads": {"dropuot": 0.1}}, "heads.dropuot", "heads.dropout"),
        ({"dropout": 0.1}, "dropout", "heads.dropout"),
        ({"unfrozen_layer": 2}, "unfrozen_layer", "unfrozen_layers"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest(values, unknown, meant):
    """The message asks whether another field was meant."""
    with pytest.raises(ConfigError, match=rf"unknown field '{unknown}' \(did you mean '{meant}'\?\)"):
        config_from_dict(values)
    with pytest.raises(ConfigError, match=rf"unknown field '{unknown}' \(did you mean '{meant}'\?\)"):
        with_settings(TrialConfig(), flatten(values))


def test_an_unknown_field_that_is_like_none_is_refused_with_all():
    """Without a near one the fields are listed, and nothing is suggested."""
    with pytest.raises(ConfigError, match=r"^unknown field 'xyz'; the fields are tasks, .*, seed$"):
        with_settings(TrialConfig(), {"xyz": 1})


@pytest.mark.parametrize("path", ["loss_weights.nope", "seed.x", "heads.dropout.x", "", "losses"])
def test_settings_below_what_has_no_fields_are_refused(path):
    """Only a registered task can be named below loss_weights, and nothing below a number."""
    with pytest.raises(ConfigError, match="losses is 1" if path == "losses" else "unknown field"):
        with_settings(TrialConfig(), {path: 1})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("unfrozen_layers", -1),
        ("unfrozen_layers", "most"),
        ("unfrozen_layers", True),
        ("unfrozen_layers", 1.5),
        ("train_pooler", "yes"),
        ("heads.common_layers", -1),
        ("heads.task_layers", 0),
        ("heads.activation", "swish"),
        ("heads.dropout", 1.0),
        ("heads.dropout", float("nan")),
        ("heads.dropout", "0.5"),
        ("tasks", []),
        ("sampling", "random"),
        ("max_train_examples", 0),
        ("max_tokens", 7),
        ("max_tokens", 513),
        ("epochs", 0),
        ("epochs", 2.0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", -1e-5),
        ("learning_rate", float("nan")),
        ("learning_rate", 1.0),
        ("learning_rate_decay", 0.0),
        ("learning_rate_decay", 1.1),
        ("learning_rate_decay", float("nan")),
        ("weight_decay", -0.1),
        ("weight_decay", float("inf")),
        ("seed", -1),
        ("seed", 2**32),
        ("loss_weights.sentiment", -1.0),
        ("loss_weights.sentiment", float("inf")),
        ("losses.sentiment", "hinge"),
        ("pair_encoding.paraphrase", "both"),
    ],
)
def test_values_out_of_range_are_refused_by_name(path, value):
    """Every field has its range and kind; the message has the path and the value."""
    with pytest.raises(ConfigError) as caught:
        with_settings(TrialConfig(), {path: value})

    assert f"{path} is {value!r}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_problems_are_told_at_once():
    """Two wrong fields are two sentences of one message."""
    with pytest.raises(ConfigError) as caught:
        config_from_dict({"epochs": 0, "batch_size": 0})

    assert [part.split()[0] for part in str(caught.value).split("; ")] == ["epochs", "batch_size"]


@pytest.mark.parametrize(
    ("fields_", "problem"),
    [
        ({"unfrozen_layers": 13}, 'unfrozen_layers is 13: the encoder has 12 layers; 0..12 or "all"'),
        ({"train_pooler": False}, "train_pooler=False goes with unfrozen_layers=0"),
        ({"train_pooler": False, "unfrozen_layers": "all"}, "train_pooler=False goes with unfrozen_layers=0"),
        ({"tasks": ("sentimant",)}, "unknown task 'sentimant' (did you mean 'sentiment'?)"),
        ({"tasks": ("similarity", "similarity")}, "tasks names one twice"),
        (
            {"tasks": ("sentiment",), "losses": {"similarity": "cosine"}},
            "losses names 'similarity', which is not",
        ),
        ({"tasks": ("sentiment",), "loss_weights": {"similarity": 1.0}}, "loss_weights names 'similarity'"),
        (
            {"tasks": ("sentiment",), "pair_encoding": {"similarity": "joint"}},
            "pair_encoding names 'similarity'",
        ),
        ({"losses": {"sentiment": "cosine"}}, "losses.sentiment is 'cosine': a classes task takes"),
        ({"losses": {"similarity": "cross_entropy"}}, "losses.similarity is 'cross_entropy': a regression"),
        ({"losses": {"similarity": "cosine"}}, "needs pair_encoding.similarity='separate'"),
        (
            {"pair_encoding": {"sentiment": "joint"}},
            "pair_encoding.sentiment: sentiment has single sentences",
        ),
        ({"tasks": ("sentiment",), "loss_weights": {"sentiment": 0.0}}, "loss_weights are all 0"),
        (
            {
                "tasks": ("similarity",),
                "losses": {"similarity": "cosine"},
                "pair_encoding": {"similarity": "separate"},
                "heads": HeadConfig(common_layers=0, task_layers=1),
                "unfrozen_layers": 0,
                "train_pooler": False,
            },
            "nothing would train",
        ),
    ],
)
def test_what_cannot_be_trained_is_told_before_training(fields_, problem):
    """Each impossible combination has its sentence."""
    problems = check_against(TrialConfig(**fields_), **LIMITS)

    assert any(problem in text for text in problems), problems


def test_more_tokens_than_positions_are_told():
    """An encoder with 64 positions takes no 65 tokens."""
    config = TrialConfig(max_tokens=65)

    assert check_against(config, layers=12, positions=64, tasks=TASKS) == [
        "max_tokens is 65: the encoder has 64 positions"
    ]
    assert check_against(replace(config, max_tokens=64), layers=12, positions=64, tasks=TASKS) == []


@pytest.mark.parametrize(
    "fields_",
    [
        {"unfrozen_layers": 0, "train_pooler": False},
        {"unfrozen_layers": "all"},
        {"unfrozen_layers": 12},
        {"tasks": ("sentiment",)},
        {"losses": {"similarity": "cosine"}, "pair_encoding": {"similarity": "separate"}},
        {"loss_weights": {"sentiment": 0.0}},
    ],
)
def test_what_can_be_trained_has_no_problems(fields_):
    """The single-task baseline, heads alone, everything, and the cosine loss are all fine."""
    assert check_against(TrialConfig(**fields_), **LIMITS) == []
