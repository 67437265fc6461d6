"""How much dropout before the heads?

The study's five values differ by 0.003 in all, from one seed each: read the answer with care.

    python -m orchestrator.sweep search_spaces/exp3.py
"""

from dataclasses import replace

from model.config import HeadConfig, TrialConfig
from orchestrator.spec import Sweep

BASE = TrialConfig()  # dropout 0.3

SWEEP = Sweep(
    question="How much dropout before the heads?",
    baseline=BASE,
    configs=[replace(BASE, heads=HeadConfig(dropout=rate)) for rate in (0.0, 0.3, 0.4, 0.5, 0.6)],
)
