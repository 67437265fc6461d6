"""An encoder's shape: what its config.json says, and the tensors that follow from it. Imports no torch."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="ignore"))
class EncoderConfig:
    """The part of a BERT config.json that decides the encoder, under its usual names."""

    model_type: Literal["bert"]
    vocab_size: Count
    hidden_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    intermediate_size: Count
    max_position_embeddings: Count = 512
    type_vocab_size: Count = 2
    hidden_act: Literal["gelu"] = "gelu"
    layer_norm_eps: Annotated[float, Field(gt=0)] = 1e-12
    hidden_dropout_prob: Rate = 0.1
    attention_probs_dropout_prob: Rate = 0.1
    position_embedding_type: Literal["absolute"] = "absolute"

    def __post_init__(self) -> None:
        """Heads share the hidden width evenly."""
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of {self.num_attention_heads} heads")


BERT_BASE = EncoderConfig(
    model_type="bert",
    vocab_size=30_522,
    hidden_size=768,
    num_hidden_layers=12,
    num_attention_heads=12,
    intermediate_size=3_072,
)
"""The shape of bert-base-uncased, for counting parameters where its weights are not at hand."""


def parse_encoder_config(values: Any) -> EncoderConfig:
    """Return the encoder's config from a config.json's values; raises pydantic's ValidationError."""
    return TypeAdapter(EncoderConfig).validate_python(values)


def frozen_depth(unfrozen_layers: int | Literal["all"], layers: int) -> int | None:
    """Return the depth below which nothing trains, None where everything does. Raises ValueError beyond the layers."""
    if unfrozen_layers == "all":
        return None
    if not 0 <= unfrozen_layers <= layers:
        raise ValueError(f"unfrozen_layers is {unfrozen_layers}; the encoder has {layers} layers")
    return layers - unfrozen_layers


def tensor_shapes(config: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of all tensors of an encoder, those of model.encoder.Encoder's state_dict."""
    hidden, wide = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        f"embeddings.{name}_embeddings.weight": (rows, hidden)
        for name, rows in (
            ("word", config.vocab_size),
            ("position", config.max_position_embeddings),
            ("token_type", config.type_vocab_size),
        )
    }
    shapes |= _layer_norm("embeddings.LayerNorm", hidden)
    for layer in (f"encoder.layer.{number}" for number in range(config.num_hidden_layers)):
        for name in ("query", "key", "value"):
            shapes |= _linear(f"{layer}.attention.self.{name}", hidden, hidden)
        shapes |= _linear(f"{layer}.attention.output.dense", hidden, hidden)
        shapes |= _layer_norm(f"{layer}.attention.output.LayerNorm", hidden)
        shapes |= _linear(f"{layer}.intermediate.dense", hidden, wide)
        shapes |= _linear(f"{layer}.output.dense", wide, hidden)
        shapes |= _layer_norm(f"{layer}.output.LayerNorm", hidden)
    return shapes | _linear("pooler.dense", hidden, hidden)


def _linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _layer_norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
