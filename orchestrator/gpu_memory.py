"""What a config takes of a GPU at the very least: a sweep with one that cannot fit is refused before it starts.

A lower bound, from shapes alone: sixteen bytes a trained parameter (weight, gradient, AdamW's two moments, fp32), and
of each token and each trained layer that is computed for all tokens ten vectors kept for the backward pass (its input;
queries, keys, values; context; one of the residual; four widths within the feed-forward, of eight that are kept).
"""

from model.config import TrialConfig
from model.encoder_config import EncoderConfig, frozen_depth
from model.files import size_text
from model.sizes import parameter_counts
from orchestrator.disk import tokens_an_example
from orchestrator.inspection import Inspected

STATES_BYTES = 16
VECTORS_A_LAYER = 10
BYTES_A_VALUE = {"fp32": 4, "bf16": 2}


def too_large_for_the_gpu(inspected: Inspected, gpu_bytes: int) -> list[str]:
    """Return a line for the config that takes most, where no GPU of so many bytes can hold it; none for 0 bytes."""
    needs = [(sum(parts := least_bytes(config, inspected)), parts, config) for config in inspected.configs]
    need, (states, activations), config = max(needs, key=lambda each: each[0])
    if not gpu_bytes or need <= gpu_bytes:
        return []
    driver = f"batch_size {config.batch_size}" if activations > states else f"unfrozen_layers {config.unfrozen_layers}"
    loaded = inspected.loaded
    what = f"the largest config needs at least {size_text(need)} of GPU memory, the GPU has {size_text(gpu_bytes)}"
    return [f"{loaded.path}:{loaded.line}: {what}; most of it comes of {driver}"]


def least_bytes(config: TrialConfig, inspected: Inspected) -> tuple[int, int]:
    """Return what weights and optimizer take at least, and what one step's activations do on average."""
    tasks = [task for task in inspected.tasks if task.name in config.tasks]
    shape, tokenizer = inspected.encoder.config, inspected.encoder.tokenizer()
    longest = max(tokens_an_example(inspected.corpus[task.name]["train"], config, tokenizer) for task in tasks)
    values = config.batch_size * longest * _whole_layers(config, shape) * VECTORS_A_LAYER * shape.hidden_size
    _, trained = parameter_counts(config, tasks, shape)
    return STATES_BYTES * trained, int(values * BYTES_A_VALUE[config.precision])


def _whole_layers(config: TrialConfig, shape: EncoderConfig) -> int:
    """Return how many trained layers are computed for all tokens: all but the last, which is for [CLS] alone."""
    depth = frozen_depth(config.unfrozen_layers, shape.num_hidden_layers) or 0
    return max(0, shape.num_hidden_layers - depth - 1)
