"""Profiles: what a machine's size decides. A field that the search-space file varies or sets is left alone."""

from dataclasses import dataclass, field
from typing import Any, Literal

from model.data import SAMPLE
from model.encoder_files import MINILM

ProfileName = Literal["laptop", "study"]


@dataclass(frozen=True)
class Profile:
    """Encoder, data and settings that hold unless the command line says otherwise."""

    name: ProfileName
    encoder: str
    data: str
    settings: dict[str, Any] = field(default_factory=dict)
    """Dotted field to value."""


PROFILES: dict[ProfileName, Profile] = {
    "laptop": Profile("laptop", MINILM, str(SAMPLE), {"epochs": 3, "batch_size": 16, "learning_rate": 3e-4}),
    "study": Profile("study", "bert-base-uncased", "hub"),
}


def choose(asked: Literal["auto", "laptop", "study"], gpus: float) -> tuple[Profile, str]:
    """Return the profile and, in a few words, why it is this one."""
    if asked != "auto":
        return PROFILES[asked], "asked for"
    return (PROFILES["study"], "there is a GPU") if gpus else (PROFILES["laptop"], "no GPU")
