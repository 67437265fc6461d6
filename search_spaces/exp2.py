"""Which learning rate suits the partly frozen model?

Everything else is the study's: top 2 layers train, decay 0.9 an epoch. The study: 1e-5 won.

    python -m orchestrator.sweep search_spaces/exp2.py
"""

from dataclasses import replace

from model.config import TrialConfig
from orchestrator.spec import Sweep

BASE = TrialConfig()

SWEEP = Sweep(
    question="Which learning rate suits the partly frozen model?",
    baseline=BASE,  # 2e-5
    configs=[replace(BASE, learning_rate=rate) for rate in (1e-5, 2e-5, 3e-5)],
)
