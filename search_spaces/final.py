"""Does the tuned model beat the one that was only fine-tuned?

Tuned, from exp1 to exp4: learning rate 1e-5, dropout 0.5, no common layer, three task layers. Only
fine-tuned: no common layer, default settings. Each with the top 2 layers and with everything trained: the
study does not say which it was. On the study's test set the model that was only fine-tuned won.

    python -m orchestrator.sweep search_spaces/final.py
"""

from dataclasses import replace

from model.config import HeadConfig, TrialConfig
from orchestrator.spec import Sweep

FINE_TUNED = TrialConfig(heads=HeadConfig(common_layers=0))
TUNED = TrialConfig(learning_rate=1e-5, heads=HeadConfig(common_layers=0, task_layers=3, dropout=0.5))

SWEEP = Sweep(
    question="Does the tuned model beat the one that was only fine-tuned?",
    baseline=FINE_TUNED,
    configs=[
        FINE_TUNED,
        TUNED,
        replace(FINE_TUNED, unfrozen_layers="all"),
        replace(TUNED, unfrozen_layers="all"),
    ],
)
