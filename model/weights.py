"""An encoder's weights, read from a checked folder."""

import torch
from safetensors import safe_open

from model.encoder import Encoder
from model.encoder_files import WEIGHTS, EncoderSource, usual_name


def load_encoder(source: EncoderSource, *, start: int | None = None, stop: int | None = None) -> Encoder:
    """Return the encoder, or a part of it, in fp32 on the CPU; reads no tensor that the part does not have."""
    with torch.device("meta"):
        encoder = Encoder(source.config, start=start, stop=stop)
    wanted = encoder.state_dict().keys()
    with safe_open(str(source.folder / WEIGHTS), framework="pt") as file:
        keys = [key for key in list(file.keys()) if usual_name(key) in wanted]
        tensors = {usual_name(key): file.get_tensor(key).float() for key in keys}
    encoder.load_state_dict(tensors, strict=True, assign=True)
    return encoder.requires_grad_(requires_grad=True)
