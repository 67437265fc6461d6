"""What the orchestrator's tests share: plans without encoder or data, and a real draft on the tiny ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.config import HeadConfig, TrialConfig, config_to_dict
from model.tasks import TASKS
from orchestrator.inspection import Options, inspect, varying
from orchestrator.paths import SweepPaths
from orchestrator.plan import Plan, draft
from orchestrator.resources import Machine, Node
from orchestrator.spec import LoadedSweep, Sweep
from tests.predicted import EXAMPLES, answers, predicted_trial

TINY = TrialConfig(
    unfrozen_layers=1,
    heads=HeadConfig(dropout=0.1),
    max_tokens=32,
    epochs=2,
    batch_size=16,
    learning_rate=1e-3,
)


@pytest.fixture(scope="session")
def tiny_config():
    """Return a config that trains the tiny encoder on the tiny data for two epochs within a second."""
    return TINY


@pytest.fixture(scope="session")
def bare_plan():
    """Return a function from configs (or none, for a space) to a plan, without encoder and data."""

    def planned(configs=(), **changes):
        baseline = configs[0] if configs else TINY
        values = {
            "version": 302,
            "sweep_id": "0" * 32,
            "name": "bare",
            "question": "Which?",
            "profile": "laptop",
            "configs": [config_to_dict(config) for config in configs],
            "baseline": config_to_dict(baseline),
            "space_code": None if configs else "f" * 64,
            "sampler": "tpe",
            "early_stopping": None,
            "trials": len(configs),
            "seeds": 1,
            "seed": 0,
            "varies": varying(configs),
            "settings": {},
            "tasks": [],
            "encoder": {},
            "data": {},
            "cpus_per_trial": 1.0,
            "gpus_per_trial": 0.0,
            "threads": 1,
        }
        return Plan(**{**values, **changes})

    return planned


@pytest.fixture(scope="session")
def options_for(tiny_encoder, tiny_data):
    """Return a function that gives the options of a command line on the tiny encoder and data."""

    def chosen(**changes):
        values = {
            "name": "tiny",
            "profile": "laptop",
            "encoder": str(tiny_encoder),
            "data": str(tiny_data),
            "profile_settings": {},
            "settings": {},
            "trials": None,
            "max_dev_examples": None,
            "seed": 0,
            "gpus_per_trial": None,
            "cpus_per_trial": None,
        }
        return Options(**{**values, **changes})

    return chosen


@pytest.fixture(scope="session")
def machine():
    """Return a machine of two cores and no GPU."""
    return Machine((Node(2, 0.0),), "a test's machine")


@pytest.fixture(scope="session")
def loaded_list():
    """Return a function from configs to a sweep over that exact list, as if loaded from a file."""

    def loaded(*configs, path="given.py"):
        return LoadedSweep(Path(path), Sweep(question="Which?", baseline=configs[0], configs=configs), "a" * 64)

    return loaded


@pytest.fixture(scope="session")
def tiny_plan(options_for, machine, loaded_list):
    """Return a function from configs to the plan of a sweep over them on the tiny encoder and data."""

    def planned(*configs, **changes):
        options = options_for(**{"cpus_per_trial": 1.0, **changes})  # one thread: the machine is shared
        inspected = inspect(loaded_list(*(configs or (TINY, replace(TINY, seed=1)))), options)
        return draft(inspected, machine).plan

    return planned


@pytest.fixture
def paths(tmp_path):
    """Return the paths of a sweep called tiny."""
    return SweepPaths(tmp_path / "runs", "tiny")


@pytest.fixture
def sweep(bare_plan, tiny_config, paths):
    """Return a function from skills, one a config, and seeds to a plan and trials whose predictions lie there."""

    def made(skills, seeds=1, seed_noise=0.0, there=paths):
        bases = [replace(tiny_config, weight_decay=0.001 * n) for n in range(len(skills))]
        configs = [replace(config, seed=seed) for seed in range(seeds) for config in bases]
        tasks = [TASKS[name].to_dict() for name in EXAMPLES]
        plan = replace(bare_plan(configs), seeds=seeds, varies=["weight_decay"], tasks=tasks)
        rng, trials = np.random.default_rng(1), []
        for number, config in enumerate(configs):
            predictions = answers(skills[number % len(skills)] + rng.normal(0, seed_noise), rng)
            trials.append(predicted_trial(there, number, config, predictions))
        return plan, trials

    return made
