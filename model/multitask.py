"""One encoder, the heads of all tasks, and what of it trains."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import TrialConfig, loss_of
from model.encoder import Encoder
from model.encoder_config import frozen_depth
from model.heads import Heads
from model.inputs import Batch
from model.precision import autocast
from model.tasks import Loss, Task


class MultitaskModel(nn.Module):
    """A shared encoder (`bert`, the name of published checkpoints) under task heads."""

    def __init__(self, config: TrialConfig, tasks: Sequence[Task], encoder: Encoder) -> None:
        """Build the heads with the config's seed; of the encoder, or the part given, freeze what the config freezes."""
        super().__init__()
        self.bert = encoder
        self.precision = config.precision
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.heads = Heads(config, tasks, encoder.config.hidden_size)
        self.bert.requires_grad_(requires_grad=True)  # an encoder may have served another config before
        for module in frozen_modules(config, encoder):
            module.requires_grad_(requires_grad=False)

    @property
    def device(self) -> torch.device:
        """Return where the model lies."""
        return next(self.parameters()).device

    def pooled(self, batch: Batch) -> Tensor:
        """Return the pooled vectors [sequences, hidden] in fp32."""
        with autocast(self.device, self.precision):
            hidden_ND = batch.hidden_ND
            if hidden_ND is None:
                assert batch.tokens is not None
                hidden_ND = self.bert.embed(*batch.tokens, batch.packing)
            return self.bert.pooled(hidden_ND, batch.packing).float()

    def forward(self, task: Task, pooled_SD: Tensor, per_example: int) -> Tensor:
        """Return the task's outputs [examples, outputs] in fp32 from its sequences' pooled vectors."""
        with autocast(self.device, self.precision):
            out: Tensor = self.heads(task, pooled_SD.unflatten(0, (-1, per_example)))
        return out.float()

    def trained_tensors(self) -> dict[str, Tensor]:
        """Return the parameters that train, by name: what a checkpoint holds."""
        return {name: p.detach() for name, p in self.named_parameters() if p.requires_grad}

    def load_trained(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over a checkpoint's tensors. Raises ValueError unless they are exactly those that train."""
        own = self.trained_tensors()
        if own.keys() != tensors.keys():
            odd = sorted(own.keys() ^ tensors.keys())
            raise ValueError(f"checkpoint and config disagree on {len(odd)} tensors, {odd[0]} among them")
        for name, tensor in tensors.items():
            if own[name].shape != tensor.shape:
                raise ValueError(f"checkpoint's {name} is {list(tensor.shape)}, expected {list(own[name].shape)}")
            own[name].copy_(tensor)


def frozen_modules(config: TrialConfig, encoder: Encoder) -> list[nn.Module]:
    """Return what of an encoder, or of a part, the config freezes."""
    depth = frozen_depth(config.unfrozen_layers, encoder.config.num_hidden_layers)
    frozen: list[nn.Module] = []
    if depth is not None:
        frozen += [module for module in (encoder.embeddings,) if module is not None]
        frozen += [layer for number, layer in encoder.encoder.layer.items() if int(number) < depth]
    if not config.train_pooler and encoder.pooler is not None:
        frozen.append(encoder.pooler)
    return frozen


def loss_function(loss: Loss, task: Task, outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the mean loss of a batch; labels [B] are fp32 as the data has them."""
    if loss == "cross_entropy":
        return functional.cross_entropy(outputs, (labels - task.low).long())
    if loss == "binary_cross_entropy":
        return functional.binary_cross_entropy_with_logits(outputs[:, 0], labels)
    if loss == "cosine":
        return functional.mse_loss(outputs[:, 0] / task.high, labels / task.high)
    return functional.mse_loss(outputs[:, 0], labels)


def weighted_loss(config: TrialConfig, task: Task, outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the loss that a step of this task descends."""
    loss = loss_function(loss_of(config, task), task, outputs, labels)
    return loss * config.loss_weights.get(task.name, 1.0)
