"""The smallest real trials that the project has: a BERT of three layers on 48 examples a task, an epoch in all."""

from pathlib import Path

from model.config import HeadConfig, TrialConfig
from tests.tiny import write_data, write_encoder

SPACE = '''"""How long does a trial take that has next to no work?"""

from dataclasses import replace

from benchmarks.tiny_sweep import base
from model.config import HeadConfig
from orchestrator.spec import Sweep

SWEEP = Sweep(
    question="How long does a trial take that has next to no work?",
    baseline=base({epochs}),
    configs=[
        replace(base({epochs}), seed=seed, heads=HeadConfig(dropout=0.1 * (seed % 3))) for seed in range({trials})
    ],
)
'''


def base(epochs: int) -> TrialConfig:
    """Return the config of which seed and dropout are varied."""
    return TrialConfig(
        epochs=epochs, batch_size=8, learning_rate=3e-3, max_tokens=32, unfrozen_layers=1, heads=HeadConfig(dropout=0.0)
    )


def write_tiny(folder: Path) -> tuple[Path, Path]:
    """Write data and encoder into the folder; return where they are."""
    data, encoder = folder / "data", folder / "encoder"
    data.mkdir()
    encoder.mkdir()
    return write_data(data), write_encoder(encoder)


def write_space(folder: Path, trials: int, epochs: int) -> Path:
    """Write the search space, a list of so many configs; return its file."""
    file = folder / "tiny.py"
    file.write_text(SPACE.format(trials=trials, epochs=epochs), encoding="utf-8")
    return file
