"""How deep can BERT be frozen, and what time does that buy?

The study: the top 2 layers keep 97 % of the fully trained model's performance in 52 % less time. The
leaderboard's train_seconds column is the other half of the answer. The pooler and the heads always train.

    python -m orchestrator.sweep search_spaces/exp1.py
"""

from dataclasses import replace

from model.config import TrialConfig
from orchestrator.spec import Sweep

BASE = TrialConfig()
EVERYTHING = replace(BASE, unfrozen_layers="all")

SWEEP = Sweep(
    question="How deep can BERT be frozen, and what time does that buy?",
    baseline=EVERYTHING,
    configs=[EVERYTHING, *(replace(BASE, unfrozen_layers=layers) for layers in (3, 2, 1))],
)
