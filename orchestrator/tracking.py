"""MLflow as a projection of study and folders.

Nothing is read back from it but what it already has: it can lag, be down for a while or be lost without
harm, and `sync` brings it up to date from wherever it stands. Runs are found by their tags, never doubled.
"""

import math
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from orchestrator.mlflow_client import (  # sets what MLflow reads when it is imported
    artifacts_refused,
    connect,
    first_line,
    require_answer,
)

# isort: split
from mlflow.entities import Metric, Param, Run, RunTag, ViewType

from model.config import flatten
from model.failpoints import reach
from orchestrator import paths as places
from orchestrator.description import description
from orchestrator.errors import SweepError, UnreachableError
from orchestrator.experiment import VERDICTS, find_experiment, record_test
from orchestrator.judgement import Judge, Judgement
from orchestrator.leaderboard import OTHER_TASKS, TrialRecord, groups, leaderboard
from orchestrator.paths import SweepPaths
from orchestrator.plan import Plan
from orchestrator.progress import value_text
from orchestrator.redaction import bare, redacted
from orchestrator.registry import ModelRegistry
from orchestrator.retention import kept_trials
from orchestrator.store import note_store
from orchestrator.view import DEFAULT_UI, fallback_url, leaderboard_url

SUMMARY = (
    "rank", "best", "gap", "best_epoch", "ci_low", "ci_high", "difference", "difference_low", "difference_high", "p",
    "expected", "p_beats_baseline", "seed_mean", "seed_sd", "confirm_mean", "confirm_sd", "confirm_seeds",
    "train_seconds", "trainable_params",
)  # fmt: skip
"""The leaderboard's columns that are metrics of a config's run, beside the tasks' scores."""
METRICS_A_CALL = 1000
"""MLflow takes no more at once."""
JUDGED_SOON = 1000
"""Completed trials up to which verdicts are kept current; five seconds each time by then, and more than linearly so."""
CLOSE_S = 20.0
"""Longer than MLflow takes for what is left to say; a server that does not answer is not waited for."""
SETTLE_S = 3.0
"""What a server that stood still was sent meanwhile it does once it goes on, in whatever order."""


class Projection:
    """One sweep in MLflow: an experiment, a run for the sweep, a run for each trial, the best in the registry."""

    def __init__(self, plan: Plan, paths: SweepPaths, uri: str | None, keep: int = sys.maxsize) -> None:
        """Find or create the experiment; store the weights of the best `keep` trials, and of registered ones.

        Raises UnreachableError before any work is done.
        """
        self._plan, self._paths, self._keep = plan, paths, keep
        self.uri = uri or places.tracking_uri(paths.out)
        # A server has a place of its own; of a bare database MLflow would put them under the current folder.
        artifacts = None if self.uri.startswith("http") else places.artifact_root(paths.out)
        self._client = connect(self.uri)
        self._lock = threading.Lock()
        self._runs: dict[int, str] = {}
        self._described: set[int] = set()
        self._logged_epochs: dict[int, int] = {}
        self._shown: dict[int, dict[str, float]] = {}
        self._said: dict[int, dict[str, str]] = {}
        """The leaderboard's columns that MLflow has: its metrics, its tags."""
        self._board_due = self._summaries_due = 0.0
        self._described_as = ""
        self.judge, self._judgement = Judge(plan, paths), Judgement()
        """The former has read the predictions of every trial that was synced."""
        self._ended: set[int] = set()
        self._in_doubt = False
        """Whether a call has failed: it may take effect yet, long after its caller has gone on."""
        try:
            require_answer(self.uri)
            self._experiment = find_experiment(self._client, plan, paths, self.uri, artifacts)
            self.models = ModelRegistry(self._client, plan, paths, self._experiment, keep)
            self.refresh()
            self._describe_sweep()
        except SweepError:
            raise
        except Exception as error:
            refused = artifacts_refused(error)
            said = f": {refused}" if refused else f" does not answer: {first_line(error)}"
            raise UnreachableError(f"MLflow at {redacted(self.uri)}{said}") from error
        note_store(paths, uri)

    @property
    def link(self) -> str:
        """Return the link that opens the leaderboard in MLflow's UI."""
        return leaderboard_url(self._ui, self._experiment)

    @property
    def _ui(self) -> str:
        """Return where MLflow's UI is, or will be once somebody serves it."""
        return bare(self.uri) if self.uri.startswith("http") else DEFAULT_UI

    @property
    def runs(self) -> dict[int, str]:
        """Return the run of each trial that MLflow has."""
        return dict(self._runs)

    def refresh(self) -> None:
        """Learn anew what MLflow has: after a failed call nobody knows whether it took effect.

        A call that took effect and whose answer was lost, or comes late, is sent again by the client: of two runs of
        one trial the one that has more of it stays.
        """
        with self._alone():
            self._refresh()

    def _refresh(self) -> None:
        self._sweep_run = self._find_sweep_run()
        found = [(run, self._epochs_of(run)) for run in self._search("trial")]
        self.models.refresh()
        for known in (self._runs, self._logged_epochs, self._shown, self._said, self._described, self._ended):
            known.clear()
        for run, epochs in sorted(found, key=lambda each: (-each[1], each[0].info.start_time, each[0].info.run_id)):
            number = int(run.data.tags["trial"])
            if number in self._runs:
                self._client.delete_run(run.info.run_id)
                continue
            self._runs[number] = run.info.run_id
            self._logged_epochs[number] = epochs
            self._shown[number] = dict(run.data.metrics)
            self._said[number] = {name: run.data.tags[name] for name in VERDICTS if name in run.data.tags}
            if run.data.params:
                self._described.add(number)
            if run.info.status != "RUNNING":
                self._ended.add(number)

    def sync(self, trials: Sequence[TrialRecord], *, soon: bool = False) -> None:
        """Bring MLflow up to date with the trials; may be called again at any time, and after any failure.

        With `soon`, ranks and gaps, of which every new score changes many, may wait for a later call: they take a tenth
        of the time at most. So may the board that says whose weights are kept, and the ends that follow from it.
        Verdicts on more than JUDGED_SOON configs wait for the sweep's end.
        """
        with self._alone():
            self._sync(trials, soon=soon)

    def _epochs_of(self, run: Run) -> int:
        """Return the last epoch that MLflow has of a run."""
        history = self._client.get_metric_history(run.info.run_id, "dev/score")
        return max((metric.step for metric in history), default=0)

    def _sync(self, trials: Sequence[TrialRecord], *, soon: bool) -> None:
        for trial in trials:
            if trial.number not in self._ended:
                self._sync_epochs(trial)
        started = time.monotonic()
        if soon and started < self._board_due:
            return
        all_due = not soon or started >= self._summaries_due
        is_search = self._paths.stage == "search"  # fresh seeds have a judge of their own
        completed = sum(trial.state == "completed" for trial in trials)
        if all_due and is_search and (not soon or completed <= JUDGED_SOON):
            self._judgement = self.judge.judge(groups(self._plan, trials))
        judged = time.monotonic()
        board = leaderboard(self._plan, self._paths, trials, self._runs, self._judgement)
        now = time.monotonic()
        self._board_due = now + 10 * (now - judged)
        self._sync_summaries(board["rows"], all_due=all_due)
        if all_due:
            if self._paths.stage == "search" and any(row["rank"] for row in board["rows"]):
                self._describe_so_far(board)
            now = time.monotonic()
            self._summaries_due = now + 10 * (now - started)
        kept = kept_trials(board, self._keep, ())
        for trial in trials:
            if trial.state != "running" and trial.number not in self._ended:
                self._end(trial, with_model=trial.number in kept)
        if self._paths.stage == "search":
            self.models.register_best(board["trials"], self._runs)
        self.models.release(board, self._runs)

    def finish(self, board: Mapping[str, Any], majority: float | None) -> None:
        """Close the sweep's run with its leaderboard and its description; `majority` scores who knows nothing."""
        with self._alone():
            self._finish(board, majority)

    def _describe_so_far(self, board: Mapping[str, Any]) -> None:
        """Keep the description current while the sweep runs; a finished one's is written by `finish` alone."""
        ended = (
            not any(row["state"] == "running" for row in board["trials"]) and len(board["trials"]) >= self._plan.trials
        )
        text = description(board, None, self.link, ended=False)
        if not ended and text != self._described_as:
            self._client.set_tag(self._sweep_run, "mlflow.note.content", text)
            self._described_as = text

    def settle(self, trials: Sequence[TrialRecord]) -> None:
        """Where a call has failed, look a little later whether it took effect after all, and mend what that did."""
        if self._in_doubt:
            time.sleep(SETTLE_S)
            self.refresh()
            self.sync(trials)
            self._in_doubt = False

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the projection: a call of the thread's may be out still, to a server that does not answer."""
        if not self._lock.acquire(timeout=CLOSE_S):
            raise UnreachableError(f"MLflow at {redacted(self.uri)} has not answered for {CLOSE_S:.0f} s")
        try:
            yield
        except Exception:
            self._in_doubt = True
            raise
        finally:
            self._lock.release()

    def describe(self, text: str, *, done: bool = False) -> None:
        """Say in a few lines, on the run of the sweep or of its confirmation, what it has found; close it when done."""
        with self._alone():
            self._client.set_tag(self._sweep_run, "mlflow.note.content", text)
            self._client.set_tag(self._sweep_run, "trials", str(len(self._runs)))  # a confirmation's plan grows
            if done:
                self._client.set_terminated(self._sweep_run, "FINISHED")

    def _finish(self, board: Mapping[str, Any], majority: float | None) -> None:
        self._client.log_artifact(self._sweep_run, str(self._paths.leaderboard))
        if self._paths.report.is_file():
            self._client.log_artifact(self._sweep_run, str(self._paths.report))
        reach("mlflow: logged leaderboard")
        plain = fallback_url(self._ui, self._experiment)
        text = description(board, majority, self.link, ended=True, fallback=plain)
        self._client.set_tag(self._sweep_run, "mlflow.note.content", text)
        self._client.set_experiment_tag(self._experiment, "mlflow.note.content", text)
        if board["test"] is not None:
            record_test(self._client, self._experiment, self._plan, board["test"])
        reach("mlflow: end sweep")
        self._client.set_terminated(self._sweep_run, "FINISHED")
        reach("mlflow: ended sweep")

    def _find_sweep_run(self) -> str:
        if not (found := self._search("sweep")):
            tags = {"kind": "sweep", "stage": self._paths.stage, "sweep": self._plan.name}
            self._client.create_run(self._experiment, run_name=f"{self._plan.name}{self._suffix}", tags=tags)
            found = self._search("sweep")  # a call whose answer was lost is sent again by the client
        run, *doubled = sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))
        for other in doubled:
            self._client.delete_run(other.info.run_id)
        reach("mlflow: sweep run is there")
        return str(run.info.run_id)

    def _describe_sweep(self) -> None:
        """Log what does not vary from trial to trial; logging it again is harmless."""
        constants = {k: v for k, v in flatten(self._plan.baseline).items() if k not in self._plan.varies}
        constants |= {"profile": self._plan.profile}
        if self._paths.stage == "confirm":
            constants.pop("seed", None)
        # A param keeps its first value for ever: what may change while a sweep goes on is a tag.
        changing = {"encoder": self._plan.encoder["name"], "data": self._plan.data["source"]}
        changing |= {"trials": self._plan.trials}
        self._client.log_batch(
            self._sweep_run,
            params=[Param(key, str(value)) for key, value in constants.items()],
            tags=[RunTag(key, redacted(str(value))) for key, value in changing.items()],
        )
        self._client.log_artifact(self._sweep_run, str(self._paths.plan))
        self._client.log_artifact(self._sweep_run, str(self._paths.data_report))
        reach("mlflow: described the sweep")

    @property
    def _suffix(self) -> str:
        """Return what tells the runs of a confirmation from those of the search by their names."""
        return "" if self._paths.stage == "search" else f" {self._paths.stage}"

    def _search(self, kind: str) -> list[Run]:
        """Return the stage's runs of a kind: sweep or trial."""
        filter_string = f"tags.kind = '{kind}' and tags.stage = '{self._paths.stage}'"
        runs: list[Run] = []
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment], filter_string, ViewType.ACTIVE_ONLY, max_results=1000, page_token=token
            )
            runs += page
            token = page.token
            if not token:
                return runs

    def _sync_epochs(self, trial: TrialRecord) -> None:
        run = self._runs.get(trial.number) or self._create_run(trial)
        if trial.number not in self._described:
            self._describe(trial, run)
        new = [entry for entry in trial.history if entry["epoch"] > self._logged_epochs.get(trial.number, 0)]
        if not new:
            return
        batch: list[Metric] = []
        for entry in new:
            # Not the present: a call that was sent twice, or took effect late, is then the same metric once more.
            now = int(entry["ended_at_seconds"] * 1000)
            values = {
                "dev/score": entry["dev_score"],
                "train/loss": entry["train_loss"],
                "lr": entry["learning_rate"],
            }
            values |= {f"dev/{task}": score for task, score in entry["scores"].items()}
            metrics = [Metric(key, value, now, entry["epoch"]) for key, value in values.items()]
            if len(batch) + len(metrics) > METRICS_A_CALL:  # an epoch's go together: one of them tells of them all
                self._client.log_batch(run, metrics=batch)
                batch = []
            batch += metrics
        reach("mlflow: log epochs", trial=trial.number, epoch=new[-1]["epoch"])
        self._client.log_batch(run, metrics=batch)
        reach("mlflow: logged epochs", trial=trial.number, epoch=new[-1]["epoch"])
        self._logged_epochs[trial.number] = new[-1]["epoch"]

    def _create_run(self, trial: TrialRecord) -> str:
        tags = {
            "kind": "trial", "stage": self._paths.stage, "sweep": self._plan.name,
            "trial": str(trial.number), "state": "running",
        }  # fmt: skip
        reach("mlflow: create run", trial=trial.number)
        run = self._client.create_run(self._experiment, run_name=f"{trial.number:04d}{self._suffix}", tags=tags)
        reach("mlflow: created run", trial=trial.number)
        self._runs[trial.number] = run.info.run_id
        return str(run.info.run_id)

    def _describe(self, trial: TrialRecord, run: str) -> None:
        """Log the params that vary; logging an equal one again is harmless."""
        flat = flatten(trial.config)
        varied = {path: flat[path] for path in self._plan.varies if path in flat}
        texts = {path: value_text(v) if isinstance(v, list) else str(v) for path, v in varied.items()}
        self._client.log_batch(run, params=[Param(path, text) for path, text in texts.items()])
        reach("mlflow: described the trial", trial=trial.number)
        self._described.add(trial.number)

    def _sync_summaries(self, rows: Sequence[Mapping[str, Any]], *, all_due: bool) -> None:
        """Log the leaderboard's columns where they changed; where that is soon again, of new rows alone."""
        for row in rows:
            if all_due or "rank" not in self._shown.get(row["trial"], {}):
                self._sync_summary(row)

    def _sync_summary(self, row: Mapping[str, Any]) -> None:
        """Log the leaderboard's columns of a trial where they changed: tables show a metric's last value."""
        number = row["trial"]
        if row["best"] is None:
            return
        values = {
            name: round(float(row[name]), 4)
            for name in (*SUMMARY, *row["config"]["tasks"])
            if row[name] is not None and math.isfinite(row[name])
        }
        if row["verdict"] == OTHER_TASKS:  # the page sorts by it
            values.pop("best", None)
        changed = {k: v for k, v in values.items() if self._shown.get(number, {}).get(k) != v}
        said = {name: row[name] for name in VERDICTS if row[name]}
        if changed or said != self._said.get(number, said):
            now = int(time.time() * 1000)
            tags = [RunTag(name, value) for name, value in said.items()]
            metrics = [Metric(k, v, now, 0) for k, v in changed.items()]
            self._client.log_batch(self._runs[number], metrics=metrics, tags=tags)
            self._shown[number] = self._shown.get(number, {}) | changed
        self._said[number] = said
        if changed:
            reach("mlflow: logged summary", trial=number)

    def _end(self, trial: TrialRecord, *, with_model: bool) -> None:
        run = self._runs[trial.number]
        if trial.state == "completed" and with_model:
            self.models.store(trial, run)
        tags = {"state": trial.state} | ({"failure": f"{trial.failure}: {trial.error}"} if trial.failure else {})
        reach("mlflow: end", trial=trial.number)
        self._client.log_batch(run, tags=[RunTag(key, value[:5000]) for key, value in tags.items()])
        reach("mlflow: tagged the end", trial=trial.number)
        self._client.set_terminated(run, "FAILED" if trial.state == "failed" else "FINISHED")
        self._ended.add(trial.number)
        reach("mlflow: ended", trial=trial.number)
