"""Sizes known from shapes alone are those of the modules that are built."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import HeadConfig, TrialConfig
from model.encoder import Encoder
from model.encoder_config import EncoderConfig, tensor_shapes
from model.frozen_prefix import FrozenPrefix
from model.multitask import MultitaskModel
from model.sizes import parameter_counts
from model.tasks import TASKS

SHAPES = st.builds(
    EncoderConfig,
    model_type=st.just("bert"),
    vocab_size=st.integers(1, 50),
    hidden_size=st.sampled_from([4, 12]),
    num_hidden_layers=st.integers(1, 4),
    num_attention_heads=st.sampled_from([1, 2, 4]),
    intermediate_size=st.integers(1, 30),
    max_position_embeddings=st.integers(1, 20),
    type_vocab_size=st.integers(1, 3),
)
HEADS = st.builds(
    HeadConfig,
    common_layers=st.integers(0, 3),
    task_layers=st.integers(1, 3),
    normalisation=st.sampled_from(["none", "layer"]),
    activation=st.sampled_from(["none", "relu"]),
)


@st.composite
def configs(draw, layers):
    """Draw a config that an encoder of so many layers can have."""
    unfrozen = draw(st.sampled_from(["all", *range(layers + 1)]))
    tasks = draw(st.lists(st.sampled_from(["sentiment", "paraphrase", "similarity"]), min_size=1, unique=True))
    encoding = draw(st.sampled_from(["separate", "joint"]))
    return TrialConfig(
        tasks=tuple(tasks),
        unfrozen_layers=unfrozen,
        train_pooler=draw(st.booleans()) if unfrozen == 0 else True,
        prefix_dropout=draw(st.booleans()),
        heads=draw(HEADS),
        pair_encoding={"similarity": encoding},
        losses={"similarity": "cosine"} if encoding == "separate" and draw(st.booleans()) else {},
    )


@given(SHAPES)
@settings(max_examples=30)
def test_tensor_shapes_are_those_of_the_encoder(shape):
    """By name, in the state that is loaded."""
    with torch.device("meta"):
        built = Encoder(shape).state_dict()

    assert tensor_shapes(shape) == {name: tuple(tensor.shape) for name, tensor in built.items()}


@given(SHAPES, st.data())
@settings(max_examples=60)
def test_parameter_counts_are_those_of_a_real_model(shape, data):
    """In all, and those that train, also as a checkpoint of the part above the frozen layers holds them."""
    config = data.draw(configs(shape.num_hidden_layers))
    tasks = [TASKS[name] for name in config.tasks]
    with torch.device("meta"):
        model = MultitaskModel(config, tasks, Encoder(shape))
        top = FrozenPrefix(config, Encoder(shape), torch.device("meta")).top()
        trained = MultitaskModel(config, tasks, top).trained_tensors()

    assert parameter_counts(config, tasks, shape) == (
        sum(p.numel() for p in model.parameters()),
        sum(p.numel() for p in model.parameters() if p.requires_grad),
    )
    assert parameter_counts(config, tasks, shape)[1] == sum(tensor.numel() for tensor in trained.values())
