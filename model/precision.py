"""Number formats: what is computed in, and what the frozen prefix is kept in."""

import torch

from model.config import Precision, PrefixFormat

# cuDNN's attention is planned anew for each shape, up to a quarter of a second each; the other kernels take any shape.
torch.backends.cuda.enable_cudnn_sdp(False)

PREFIX_DTYPES: dict[PrefixFormat, torch.dtype] = {"fp16": torch.float16, "fp32": torch.float32}
"""Hidden states are LayerNormed, so fp16 holds them better than bf16 at the same size."""


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which matrix products run in this precision; weights stay fp32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
