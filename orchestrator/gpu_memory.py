"""What a config takes of a GPU at the very least: a sweep with one that cannot fit is refused before it starts.

A lower bound, from shapes alone: sixteen bytes a trained parameter (weight, gradient, AdamW's two moments, fp32), and
of each token and each trained layer that is computed for all tokens ten vectors kept for the backward pass (its input;
queries, keys, values; context; one of the residual; four widths within the feed-forward, of eight that are kept).
"""

from model.config import TrialConfig
from model.encoder_config import EncoderConfig, frozen_depth
from model.files import size_text
from model.sizes import parameter_counts
from orchestrator.inspection import Inspected
from orchestrator.token_counts import TokenCounts

STATES_BYTES = 16
VECTORS_A_LAYER = 10
BYTES_AN_ACTIVATION = {"fp32": 4, "bf16": 2}


def too_large_for_the_gpu(inspected: Inspected, gpu_bytes: int) -> list[str]:
    """Return a line for the config that takes most, where no GPU of so many bytes can hold it; none for 0 bytes."""
    if not gpu_bytes:
        return []
    lengths = TokenCounts(inspected.encoder)
    needs = [(least_bytes(config, inspected, lengths), config) for config in inspected.configs]
    (states, activations), config = max(needs, key=lambda each: sum(each[0]))
    need = states + activations
    if need <= gpu_bytes:
        return []
    driver = f"batch_size {config.batch_size}" if activations > states else f"unfrozen_layers {config.unfrozen_layers}"
    loaded = inspected.loaded
    what = f"the largest config needs at least {size_text(need)} of GPU memory, the GPU has {size_text(gpu_bytes)}"
    return [f"{loaded.path}:{loaded.line}: {what}; most of it comes of {driver}"]


def least_bytes(config: TrialConfig, inspected: Inspected, lengths: TokenCounts) -> tuple[int, int]:
    """Return what weights and optimizer take at least, and what one step's activations do on average."""
    shape = inspected.encoder.config
    longest = max(lengths.mean(inspected.corpus[name]["train"], config) for name in config.tasks)
    values = config.batch_size * longest * _whole_layers(config, shape) * VECTORS_A_LAYER * shape.hidden_size
    _, trained = parameter_counts(config, inspected.tasks, shape)
    return STATES_BYTES * trained, int(values * BYTES_AN_ACTIVATION[config.precision])


def _whole_layers(config: TrialConfig, shape: EncoderConfig) -> int:
    """Return how many trained layers are computed for all tokens: all but the last, which is for [CLS] alone."""
    depth = frozen_depth(config.unfrozen_layers, shape.num_hidden_layers) or 0
    return max(0, shape.num_hidden_layers - depth - 1)
