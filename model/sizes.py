"""How many parameters a config has and trains, from shapes alone: known before torch is loaded."""

from collections.abc import Mapping, Sequence
from math import prod

from model.config import TrialConfig, encoding_of, loss_of
from model.encoder_config import EncoderConfig, frozen_depth, tensor_shapes
from model.tasks import Task


def parameter_counts(config: TrialConfig, tasks: Sequence[Task], shape: EncoderConfig) -> tuple[int, int]:
    """Return the number of parameters in all, and of those that train: those of model.multitask.MultitaskModel.

    Of the tasks, those count that the config names.
    """
    heads = _heads(config, [task for task in tasks if task.name in config.tasks], shape.hidden_size)
    encoder = tensor_shapes(shape)
    trained = {name: size for name, size in encoder.items() if _trains(name, config, shape)}
    return heads + _total(encoder), heads + _total(trained)


def _trains(name: str, config: TrialConfig, shape: EncoderConfig) -> bool:
    """Return whether the encoder's tensor of this name trains."""
    depth = frozen_depth(config.unfrozen_layers, shape.num_hidden_layers)
    if name.startswith("pooler."):
        return config.train_pooler
    if depth is None:
        return True
    return name.startswith("encoder.layer.") and int(name.split(".")[2]) >= depth


def _heads(config: TrialConfig, tasks: Sequence[Task], hidden: int) -> int:
    """Return the parameters of model.heads.Heads."""
    heads = config.heads
    layer = hidden * hidden + hidden + (2 * hidden if heads.normalisation == "layer" else 0)
    found = heads.common_layers * layer
    for task in tasks:
        found += (heads.task_layers - 1) * layer
        if loss_of(config, task) != "cosine":
            vectors = 2 if task.is_pair and encoding_of(config, task) == "separate" else 1
            found += (vectors * hidden + 1) * task.outputs
    return found


def _total(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return sum(prod(each) for each in shapes.values())
