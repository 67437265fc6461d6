"""How many common and task-specific layers should the heads have?

Linear layers on the pooled vector, shared by the tasks (common) and then each task's own (the last is its
output). The study: no common layer and three task layers won; parameters shared above the encoder hurt.

    python -m orchestrator.sweep search_spaces/exp4.py
"""

from dataclasses import replace

from model.config import HeadConfig, TrialConfig
from orchestrator.spec import Sweep

BASE = TrialConfig()
COMMON_AND_TASK_LAYERS = [(1, 1), (0, 1), (0, 3), (0, 5), (2, 2), (5, 5), (9, 9)]

SWEEP = Sweep(
    question="How many common and task-specific layers should the heads have?",
    baseline=BASE,  # 1 common, 1 task
    configs=[
        replace(BASE, heads=HeadConfig(common_layers=common, task_layers=task))
        for common, task in COMMON_AND_TASK_LAYERS
    ],
)
