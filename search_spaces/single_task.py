"""Do the tasks help or hurt each other?

One model of all three tasks, and beside it one model a task, everything else equal. The study compared with a
model of sentiment alone; it found that parameters shared above the encoder hurt. Scores of other tasks are not
ranked: what sharing costs or brings each task stands below the leaderboard.

    python -m orchestrator.sweep search_spaces/single_task.py
"""

from dataclasses import replace

from model.config import TrialConfig
from orchestrator.spec import Sweep

SHARED = TrialConfig()

SWEEP = Sweep(
    question="Do the tasks help or hurt each other?",
    baseline=SHARED,
    configs=[SHARED, *(replace(SHARED, tasks=(task,)) for task in SHARED.tasks)],
)
