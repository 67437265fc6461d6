"""From the pooled vectors to the tasks' outputs.

Shape letters: B examples, S vectors an example (2 for a separately encoded pair), D hidden, O outputs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.config import HeadConfig, TrialConfig, encoding_of, loss_of
from model.tasks import Task

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}


class Heads(nn.Module):
    """Dropout, common layers, then each task's layers; the last one is its output layer.

    For a separately encoded pair, dropout, common and inner layers act on each vector; the two are
    concatenated before the output layer, or compared by their cosine where that is the loss.
    """

    def __init__(self, config: TrialConfig, tasks: Sequence[Task], hidden: int) -> None:
        super().__init__()
        heads = config.heads
        self.dropout = nn.Dropout(heads.dropout)
        self.common = nn.Sequential(*(_layer(hidden, heads) for _ in range(heads.common_layers)))
        self.inner = nn.ModuleDict()
        self.output = nn.ModuleDict()
        for task in tasks:
            self.inner[task.name] = nn.Sequential(*(_layer(hidden, heads) for _ in range(heads.task_layers - 1)))
            if loss_of(config, task) != "cosine":
                vectors = 2 if task.is_pair and encoding_of(config, task) == "separate" else 1
                self.output[task.name] = nn.Linear(vectors * hidden, task.outputs)

    def forward(self, task: Task, pooled_BSD: Tensor) -> Tensor:
        """Return outputs [B, O]: logits, a value, or the cosine scaled to the largest label."""
        features_BSD = self.inner[task.name](self.common(self.dropout(pooled_BSD)))
        if task.name in self.output:
            out: Tensor = self.output[task.name](features_BSD.flatten(1))
            return out
        first_BD, second_BD = features_BSD.unbind(1)
        return torch.cosine_similarity(first_BD, second_BD)[:, None] * task.high


def _layer(hidden: int, config: HeadConfig) -> nn.Module:
    parts: list[nn.Module] = [nn.Linear(hidden, hidden)]
    if config.normalisation == "layer":
        parts.append(nn.LayerNorm(hidden))
    if config.activation != "none":
        parts.append(ACTIVATIONS[config.activation]())
    if config.inner_dropout:
        parts.append(nn.Dropout(config.inner_dropout))
    return nn.Sequential(*parts)
