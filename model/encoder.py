"""BERT's encoder (Devlin et al. 2019, section 3; Vaswani et al. 2017 for a layer), to be read beside them.

Three things differ from the papers' reading, none in what is computed: batches are packed without padding
(model/packing.py), an encoder may be a part of one, cut at a depth, and the last layer is computed for [CLS] alone,
since nothing else of it is pooled.

Shape letters: B sequences, N tokens of all of them, G sequences of one group and T tokens of each, D hidden, H heads,
K = D / H, F feed-forward width. Modules carry the names of published BERT checkpoints.
"""

import hashlib
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.encoder_config import EncoderConfig
from model.packing import Packing


class Embeddings(nn.Module):
    """Word, position and token-type embeddings, added and normalised."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, ids_N: Tensor, types_N: Tensor, positions_N: Tensor) -> Tensor:
        """Return hidden states [N, D]."""
        hidden_ND = self.word_embeddings(ids_N) + self.token_type_embeddings(types_N)
        hidden_ND = hidden_ND + self.position_embeddings(positions_N)
        out: Tensor = self.dropout(self.LayerNorm(hidden_ND))
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

    def forward(self, hidden_ND: Tensor, packing: Packing) -> Tensor:
        """Return the context [N, D] of every token."""
        projections = (self.query, self.key, self.value)
        weight = torch.cat([each.weight for each in projections])
        bias = torch.cat([each.bias for each in projections])
        projected = functional.linear(hidden_ND, weight, bias)  # one product of [N, D] with [D, 3D]
        dropout = self.dropout_rate if self.training else 0.0
        contexts = []
        for group, padded in zip(packing.groups, packing.split(projected), strict=True):
            query, key, value = padded.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [G, H, T, K]
            mask = None if group.attend_GT is None else group.attend_GT[:, None, None]
            context_GHTK = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
            contexts.append(context_GHTK.transpose(1, 2).flatten(-2))
        return packing.join(contexts)

    def of_first(self, hidden_ND: Tensor, first_BD: Tensor, packing: Packing) -> Tensor:
        """Return the context [B, D] of each sequence's [CLS], without projecting any other token.

        With one query a head, its score with token j is q.(W_k h_j + b_k) = (W_k^T q).h_j and a constant that the
        softmax cancels; the context is W_v (sum_j a_j h_j) + b_v sum_j a_j, and sum_j a_j is 1 but for dropout.
        """
        heads, scale = (self.heads, -1), (hidden_ND.shape[-1] / self.heads) ** -0.5
        key_HKD, value_HKD = (each.weight.unflatten(0, heads) for each in (self.key, self.value))
        query_HBK = self.query(first_BD).unflatten(-1, heads).transpose(0, 1) * scale
        absorbed_BHD = torch.bmm(query_HBK, key_HKD).transpose(0, 1)
        parts = absorbed_BHD.split([group.sequences for group in packing.groups])
        mixed, totals = [], []
        for group, absorbed_GHD, hidden_GTD in zip(packing.groups, parts, packing.split(hidden_ND), strict=True):
            scores_GHT = torch.bmm(absorbed_GHD, hidden_GTD.transpose(1, 2))
            if group.attend_GT is not None:
                scores_GHT = scores_GHT.masked_fill(~group.attend_GT[:, None], -torch.inf)
            weights_GHT = functional.dropout(scores_GHT.softmax(-1, torch.float32), self.dropout_rate, self.training)
            mixed.append(torch.bmm(weights_GHT.to(hidden_GTD.dtype), hidden_GTD))
            totals.append(weights_GHT.sum(-1))
        mixed_HBD, total_HB1 = torch.cat(mixed).transpose(0, 1), torch.cat(totals).T[..., None]
        bias_H1K = self.value.bias.unflatten(0, heads)[:, None]
        context_HBK = torch.bmm(mixed_HBD, value_HKD.transpose(1, 2)) + total_HB1 * bias_H1K
        out: Tensor = context_HBK.transpose(0, 1).flatten(-2)
        return out


class Residual(nn.Module):
    """Dense, dropout, then LayerNorm of the sum with the block's input (post-norm)."""

    def __init__(self, config: EncoderConfig, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, branch: Tensor, block_input: Tensor) -> Tensor:
        """Return LayerNorm(input + dropout(dense(branch))), row by row."""
        out: Tensor = self.LayerNorm(block_input + self.dropout(self.dense(branch)))
        return out


class Attention(nn.Module):
    """Self-attention and its residual, under a checkpoint's two names."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.self = SelfAttention(config)
        self.output = Residual(config, config.hidden_size)

    def forward(self, hidden_ND: Tensor, packing: Packing) -> Tensor:
        """Return hidden states [N, D]."""
        out: Tensor = self.output(self.self(hidden_ND, packing), hidden_ND)
        return out

    def of_first(self, hidden_ND: Tensor, packing: Packing) -> Tensor:
        """Return the hidden states [B, D] of each sequence's [CLS]."""
        first_BD = hidden_ND.index_select(0, packing.firsts_B)
        out: Tensor = self.output(self.self.of_first(hidden_ND, first_BD, packing), first_BD)
        return out


class Intermediate(nn.Module):
    """The feed-forward network's first half."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return gelu(dense(hidden)), D to F; the exact gelu, by erf, as BERT's."""
        return functional.gelu(self.dense(hidden))


class Layer(nn.Module):
    """One transformer layer."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.intermediate = Intermediate(config)
        self.output = Residual(config, config.intermediate_size)

    def forward(self, hidden_ND: Tensor, packing: Packing) -> Tensor:
        """Return hidden states [N, D]."""
        return self._feed_forward(self.attention(hidden_ND, packing))

    def of_first(self, hidden_ND: Tensor, packing: Packing) -> Tensor:
        """Return the hidden states [B, D] of each sequence's [CLS]: forward(...)[firsts], for the price of B rows."""
        return self._feed_forward(self.attention.of_first(hidden_ND, packing))

    def _feed_forward(self, attended: Tensor) -> Tensor:
        out: Tensor = self.output(self.intermediate(attended), attended)
        return out


class Layers(nn.Module):
    """Consecutive layers, under a checkpoint's name `encoder.layer.N`."""

    def __init__(self, config: EncoderConfig, numbers: range) -> None:
        super().__init__()
        self.layer = nn.ModuleDict({str(number): Layer(config) for number in numbers})


class Pooler(nn.Module):
    """dense + tanh on [CLS]."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, first_BD: Tensor) -> Tensor:
        """Return the pooled vector [B, D]."""
        return torch.tanh(self.dense(first_BD))


class Encoder(nn.Module):
    """BERT, or a part of it cut at a depth.

    Depth d is after d layers; depth 0 is after the embeddings. `start=d` leaves out what lies below depth d, and
    takes hidden states in place of tokens; `stop=d` leaves out what lies above, the pooler included.
    """

    def __init__(self, config: EncoderConfig, *, start: int | None = None, stop: int | None = None) -> None:
        super().__init__()
        layers = config.num_hidden_layers
        for depth in (start, stop):
            if depth is not None and not 0 <= depth <= layers:
                raise ValueError(f"an encoder of {layers} layers has no depth {depth}")
        self.config, self.start, self.stop = config, start, stop
        self.embeddings = Embeddings(config) if start is None else None
        self.encoder = Layers(config, range(start or 0, layers if stop is None else stop))
        self.pooler = Pooler(config) if stop is None else None

    @property
    def layers(self) -> list[Layer]:
        """Return the layers that this part has, bottom first."""
        return list(self.encoder.layer.values())  # type: ignore[arg-type]

    def embed(self, ids_N: Tensor, types_N: Tensor, packing: Packing) -> Tensor:
        """Return the hidden states [N, D] at depth 0."""
        assert self.embeddings is not None, "this part of the encoder begins above the embeddings"
        out: Tensor = self.embeddings(ids_N, types_N, packing.positions_N)
        return out

    def hidden_states(self, hidden_ND: Tensor, packing: Packing) -> Iterator[Tensor]:
        """Yield the hidden states [N, D] after each layer that this part has."""
        for layer in self.layers:
            hidden_ND = layer(hidden_ND, packing)
            yield hidden_ND

    def first(self, hidden_ND: Tensor, packing: Packing) -> Tensor:
        """Return the hidden states [B, D] of [CLS] after the last layer, in packed order."""
        if not self.layers:
            return hidden_ND.index_select(0, packing.firsts_B)
        *below, last = self.layers
        for layer in below:
            hidden_ND = layer(hidden_ND, packing)
        return last.of_first(hidden_ND, packing)

    def pooled(self, hidden_ND: Tensor, packing: Packing) -> Tensor:
        """Return the pooled vectors [B, D], in the batch's order."""
        assert self.pooler is not None, "this part of the encoder ends below the pooler"
        out: Tensor = self.pooler(self.first(hidden_ND, packing))
        return out.index_select(0, packing.restore_B)

    def part(self, *, start: int | None = None, stop: int | None = None) -> "Encoder":
        """Return a copy of a part of this encoder; no random number is drawn for weights that it would not keep."""
        with torch.device("meta"):
            part = Encoder(self.config, start=start, stop=stop)
        own = self.state_dict()
        part.load_state_dict({name: own[name].clone() for name in part.state_dict()}, assign=True)
        return part

    @property
    def weights_sha256(self) -> str:
        """Return a hash of the weights as they are now."""
        found = hashlib.sha256()
        for name, tensor in self.state_dict().items():
            found.update(name.encode())
            found.update(tensor.cpu().contiguous().numpy().tobytes())
        return found.hexdigest()

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


class EncoderParts(Protocol):
    """Where parts of an encoder come from: one in memory, or a checked folder (model/weights.py)."""

    @property
    def config(self) -> EncoderConfig:
        """Return the whole encoder's config."""

    @property
    def weights_sha256(self) -> str:
        """Return what tells these weights from others."""

    def part(self, *, start: int | None = None, stop: int | None = None) -> Encoder:
        """Return a part, with weights of its own that may be trained."""
