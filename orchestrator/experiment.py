"""A sweep's experiment in MLflow: known by name and tags, with the leaderboard's saved view."""

import json
import socket
import time
from collections.abc import Mapping
from typing import Any

from orchestrator import mlflow_client as _first  # noqa: F401  (sets what MLflow reads when it is imported)

# isort: split
from mlflow import MlflowClient
from mlflow.entities import Metric

from model.failpoints import reach
from orchestrator.errors import SweepError
from orchestrator.paths import SweepPaths
from orchestrator.plan import Plan
from orchestrator.redaction import redacted
from orchestrator.view import ViewColumns, view_tag

VERDICTS = ("verdict", "confirmed")
"""The leaderboard's columns that are tags of a config's run."""


def find_experiment(client: MlflowClient, plan: Plan, paths: SweepPaths, uri: str, artifacts: str | None) -> str:
    """Return the id of the sweep's experiment, with its saved view up to date; make it where there is none.

    Raises SweepError where another sweep has the name there.
    """
    tasks = [task["name"] for task in plan.tasks]
    seeds = ("seed_mean", "seed_sd") if plan.seeds > 1 else ()
    confirmed = paths.confirmed.exists()
    fresh = ("confirm_mean", "confirm_sd") if confirmed else ()
    columns = ViewColumns(
        scores=("rank", "best", "gap", "ci_low", "ci_high", *seeds, *fresh),
        verdicts=VERDICTS if confirmed else VERDICTS[:1],
        params=plan.varies,
        costs=("expected", "p_beats_baseline", *tasks, "train_seconds", "trainable_params"),
    )
    view, shown = view_tag(columns, created_at_ms=int(time.time() * 1000))
    place = f"{socket.gethostname()}:{paths.search.root}"
    found = client.get_experiment_by_name(plan.name)
    if found is not None and found.lifecycle_stage == "deleted":
        raise SweepError(
            f"MLflow's experiment {plan.name!r} was deleted; restore it, or --name NAME gives another name"
        )
    if found is not None and found.tags.get("sweep_id") != plan.sweep_id:
        if found.tags.get("place") != place:
            raise SweepError(
                f"MLflow at {redacted(uri)} has an experiment {plan.name!r} of another place "
                f"({found.tags.get('place', 'unknown')}); --name NAME gives this sweep another name"
            )
        # An earlier sweep of this folder, put aside by --new or removed: nobody goes on with its open runs.
        for run in client.search_runs([found.experiment_id], "attributes.status = 'RUNNING'"):
            client.set_terminated(run.info.run_id, "KILLED")
        client.rename_experiment(found.experiment_id, f"{found.name} (until {time.strftime('%F %T')})")
        found = None
    if found is None:
        tags = {"sweep_id": plan.sweep_id, "place": place, view: shown}
        reach("mlflow: create experiment")
        created = str(client.create_experiment(plan.name, artifacts, tags=tags))
        reach("mlflow: created experiment")
        return created
    if paths.stage == "search" and _state(found.tags.get(view)) != _state(shown):
        client.set_experiment_tag(found.experiment_id, view, shown)
    return str(found.experiment_id)


def record_test(client: MlflowClient, experiment: str, plan: Plan, test: Mapping[str, Any]) -> None:
    """Give each config that was scored on the test set a run of stage test, once an opening."""
    opening, tasks = test["id"], [task.name for task in plan.ranked_tasks()]
    for row in test["rows"]:
        words = f"tags.stage = 'test' and tags.opening = '{opening}' and tags.who = '{row['who']}'"
        run = next(iter(client.search_runs([experiment], words)), None)
        if run is not None and run.info.status == "FINISHED":
            continue
        if run is None:
            tags = {
                "kind": "trial", "stage": "test", "sweep": plan.name, "who": row["who"], "opening": opening,
                "opened": test["opened"], "openings": str(test["openings"]), "test_set": test["test_set"],
            }  # fmt: skip
            run = client.create_run(experiment, run_name=f"{row['who']} test", tags=tags)
        values = {"test/score": row["mean"], **{f"test/{task}": row[task] for task in tasks}}
        now = int(time.time() * 1000)
        client.log_batch(run.info.run_id, metrics=[Metric(name, value, now, 0) for name, value in values.items()])
        client.set_terminated(run.info.run_id, "FINISHED")


def _state(view: str | None) -> object:
    """Return what a saved view shows, without the times of its making."""
    return None if view is None else json.loads(view)["state"]
