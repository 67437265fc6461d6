"""Do freeze depth, learning rate, dropout, heads and pair encoding have a better setting together?

The study tuned them one after the other. The range of the learning rate depends on how much trains, so the
parameter exists once for each branch.

    python -m orchestrator.sweep search_spaces/joint.py --trials 30
"""

import optuna

from model.config import HeadConfig, TrialConfig
from orchestrator.spec import Sweep


def space(trial: optuna.Trial) -> TrialConfig:
    """Return the config of one point of the space."""
    unfrozen = trial.suggest_categorical("unfrozen_layers", [1, 2, 3, "all"])
    if unfrozen == "all":
        rate = trial.suggest_float("learning_rate.all", 5e-6, 5e-5, log=True)
    else:
        rate = trial.suggest_float("learning_rate.frozen", 1e-5, 3e-4, log=True)
    return TrialConfig(
        unfrozen_layers=unfrozen,
        learning_rate=rate,
        heads=HeadConfig(
            common_layers=trial.suggest_int("heads.common_layers", 0, 2),
            task_layers=trial.suggest_int("heads.task_layers", 1, 5),
            dropout=trial.suggest_float("heads.dropout", 0.0, 0.6, step=0.1),
        ),
        pair_encoding={
            task: trial.suggest_categorical(f"pair_encoding.{task}", ["separate", "joint"])
            for task in ("paraphrase", "similarity")
        },
    )


SWEEP = Sweep(
    question="Do freeze depth, learning rate, dropout, heads and pair encoding have a better setting together?",
    baseline=TrialConfig(),
    space=space,
    trials=30,
)
