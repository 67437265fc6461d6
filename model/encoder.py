"""BERT's encoder (Devlin et al. 2019, section 3; Vaswani et al. 2017 for a layer), to be read beside them.

Shape letters: B sequences, T tokens of the longest, D hidden, H heads, K = D / H, F feed-forward width.
Modules carry the names of published BERT checkpoints, so that loading is a strict load_state_dict.
"""

from typing import Annotated, Any, Literal, Self

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

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


class Embeddings(nn.Module):
    """Word, position and token-type embeddings, added and normalised."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, ids_BT: Tensor, types_BT: Tensor) -> Tensor:
        """Return hidden states [B, T, D]."""
        positions_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
        hidden_BTD = self.word_embeddings(ids_BT) + self.token_type_embeddings(types_BT)
        hidden_BTD = hidden_BTD + self.position_embeddings(positions_T)
        out: Tensor = self.dropout(self.LayerNorm(hidden_BTD))
        return out


class SelfAttention(nn.Module):
    """Multi-head scaled dot-product attention."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.dropout_rate = config.attention_probs_dropout_prob
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_BTD: Tensor, attend_B11T: Tensor) -> Tensor:
        """Return the context [B, T, D]; `attend_B11T` is True at real tokens."""
        query, key, value = (
            project(hidden_BTD).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        context_BHTK = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attend_B11T, dropout_p=self.dropout_rate if self.training else 0.0
        )
        return context_BHTK.transpose(1, 2).flatten(-2)


class Residual(nn.Module):
    """Dense, dropout, then LayerNorm of the sum with the block's input (post-norm)."""

    def __init__(self, config: EncoderConfig, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, branch: Tensor, block_input_BTD: Tensor) -> Tensor:
        """Return LayerNorm(input + dropout(dense(branch)))."""
        out: Tensor = self.LayerNorm(block_input_BTD + self.dropout(self.dense(branch)))
        return out


class Attention(nn.Module):
    """Self-attention and its residual, under a checkpoint's two names."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.self = SelfAttention(config)
        self.output = Residual(config, config.hidden_size)

    def forward(self, hidden_BTD: Tensor, attend_B11T: Tensor) -> Tensor:
        """Return hidden states [B, T, D]."""
        out: Tensor = self.output(self.self(hidden_BTD, attend_B11T), hidden_BTD)
        return out


class Intermediate(nn.Module):
    """The feed-forward network's first half."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        """Return gelu(dense(hidden)) [B, T, F]; the exact gelu, by erf, as BERT's."""
        return functional.gelu(self.dense(hidden_BTD))


class Layer(nn.Module):
    """One transformer layer."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.intermediate = Intermediate(config)
        self.output = Residual(config, config.intermediate_size)

    def forward(self, hidden_BTD: Tensor, attend_B11T: Tensor) -> Tensor:
        """Return hidden states [B, T, D]."""
        attended_BTD = self.attention(hidden_BTD, attend_B11T)
        out: Tensor = self.output(self.intermediate(attended_BTD), attended_BTD)
        return out


class Layers(nn.Module):
    """The stack of layers, under a checkpoint's name `encoder.layer.N`."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))


class Pooler(nn.Module):
    """dense + tanh on [CLS]."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        """Return the pooled vector [B, D]."""
        return torch.tanh(self.dense(hidden_BTD[:, 0]))


class Encoder(nn.Module):
    """BERT: embeddings, layers, pooler."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.encoder = Layers(config)
        self.pooler = Pooler(config)
        self.frozen_layers: int | None = None

    def freeze_below(self, unfrozen_layers: int | Literal["all"]) -> None:
        """Freeze the embeddings and all layers but the top `unfrozen_layers`; "all" freezes nothing.

        What is frozen takes no gradient and stays in eval mode (no dropout) when the rest trains.
        """
        layers = self.config.num_hidden_layers
        if unfrozen_layers == "all":
            self.frozen_layers = None
        elif 0 <= unfrozen_layers <= layers:
            self.frozen_layers = layers - unfrozen_layers
        else:
            raise ValueError(f"unfrozen_layers is {unfrozen_layers}; the encoder has {layers} layers")
        self.requires_grad_(requires_grad=True)
        for module in self.frozen_modules():
            module.requires_grad_(requires_grad=False)
        self.train(self.training)

    def frozen_modules(self) -> list[nn.Module]:
        """Return the modules of the frozen prefix, bottom first."""
        if self.frozen_layers is None:
            return []
        return [self.embeddings, *self.encoder.layer[: self.frozen_layers]]

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002  (torch's signature)
        """Set training mode, but for the frozen prefix."""
        super().train(mode)
        for module in self.frozen_modules():
            module.eval()
        return self

    def forward(self, ids_BT: Tensor, types_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return hidden states [B, T, D] after the last layer and the pooled vector [B, D].

        Token t of sequence b is real where t < lengths_B[b]; what stands beyond has no effect on real ones.
        """
        positions_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
        attend_B11T = (positions_T < lengths_B[:, None])[:, None, None]
        hidden_BTD = self.embeddings(ids_BT, types_BT)
        for layer in self.encoder.layer:
            hidden_BTD = layer(hidden_BTD, attend_B11T)
        return hidden_BTD, self.pooler(hidden_BTD)

    def initialise(self, seed: int, deviation: float = 0.02) -> None:
        """Draw random weights as BERT's authors did: normal, biases 0, LayerNorm 1. For tests and shapes."""
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            with torch.no_grad():
                if name.endswith("LayerNorm.weight"):
                    parameter.fill_(1.0)
                elif name.endswith("bias"):
                    parameter.zero_()
                else:
                    parameter.normal_(0.0, deviation, generator=generator)


def parse_encoder_config(values: Any) -> EncoderConfig:
    """Return the encoder's config from a config.json's values; raises pydantic's ValidationError."""
    from pydantic import TypeAdapter

    return TypeAdapter(EncoderConfig).validate_python(values)
