"""Every path of a sweep, built in one place.

OUT/mlflow.db, OUT/mlartifacts/       MLflow's default store
OUT/cache/tokens/                     token ids, by content; both caches lie in $SWEEP_CACHE where that is set
OUT/NAME/plan.json                    what the sweep is; written once
OUT/NAME/study.db                     which trials exist and how each ended; where that is in another database,
OUT/NAME/study-uri.txt                its URI
OUT/NAME/trials/NNNN/attempt-K/       of the K-th start: started.json, and end.json where it ended without a verdict
  state-EEEE/, state-EEEE-SSSSSS/     all that training goes on from after epoch E, or S steps into the one after it
  best-EEEE/                          the weights that were best on dev, of epoch E, with their predictions
OUT/NAME/trials/NNNN/verdict.json     how the trial ended; absent while it has not; verdict.copy.json is the same
OUT/NAME/leaderboard.json
OUT/NAME/report.html, table.png       drawn from all that; nothing is read from them
OUT/NAME/confirm/                     its confirmation on fresh seeds: plan.json, study.db, trials/ again; asked.json,
                                      confirmation.json (what it found)
OUT/test-set-openings.jsonl           every opening of a test set, by whatever sweep, and what was scored
"""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from model.files import flush_folder, make_folder

Stage = Literal["search", "confirm"]
NAME_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
OPENINGS = "test-set-openings.jsonl"
CACHE = "SWEEP_CACHE"
"""In the environment that a node's Ray was started in: a folder on its own disk for the caches. OUT is shared by all
nodes, and a disk beside the GPU is read faster than one behind a network."""
RESERVED = frozenset({"cache", "encoders", "mlartifacts", "mlflow.db", "mlflow-server.log", OPENINGS})
"""What OUT holds beside the sweeps."""


@dataclass(frozen=True)
class TrialPaths:
    """The folder of one trial: it follows from sweep and number alone."""

    root: Path

    @property
    def verdict(self) -> Path:
        """Return the file that says how the trial ended."""
        return self.root / "verdict.json"

    @property
    def verdict_copy(self) -> Path:
        """Return the same once more: what else follows from it is gone by then."""
        return self.root / "verdict.copy.json"

    @property
    def error(self) -> Path:
        """Return the file with the traceback of a failed trial."""
        return self.root / "error.txt"

    def attempts(self) -> list[Path]:
        """Return the folders of the attempts so far, the latest last."""
        return sorted(self.root.glob("attempt-*"), key=attempt_number)

    def new_attempt(self) -> Path:
        """Create the next attempt's folder; creating is exclusive, so an attempt has one owner."""
        while True:
            attempts = self.attempts()
            folder = self.attempt(attempt_number(attempts[-1]) + 1 if attempts else 1)
            make_folder(self.root)
            try:
                folder.mkdir(mode=0o700)
            except FileExistsError:
                continue
            for above in (self.root, *self.root.parents[:3]):  # up to OUT; whoever made them may have died at it
                flush_folder(above)
            return folder

    def attempt(self, number: int) -> Path:
        """Return the folder of an attempt."""
        return self.root / f"attempt-{number}"


def attempt_number(folder: Path) -> int:
    """Return which attempt a folder is of."""
    return int(folder.name.removeprefix("attempt-"))


def state_folder(attempt: Path, epoch: int, step: int = 0) -> Path:
    """Return the folder of the resumable checkpoint after an epoch, or so many steps into the one after it."""
    return attempt / (f"state-{epoch:04d}-{step:06d}" if step else f"state-{epoch:04d}")


def best_folder(attempt: Path, epoch: int) -> Path:
    """Return the folder of the best-dev checkpoint after an epoch."""
    return attempt / f"best-{epoch:04d}"


@dataclass(frozen=True)
class SweepPaths:
    """The folder of one sweep under OUT, or of its confirmation, which is a sweep of its own within it."""

    out: Path
    name: str
    stage: Stage = "search"

    @property
    def root(self) -> Path:
        """Return OUT/NAME, of a confirmation OUT/NAME/confirm."""
        return self.out / self.name if self.stage == "search" else self.out / self.name / self.stage

    @property
    def search(self) -> "SweepPaths":
        """Return the paths of the sweep itself."""
        return replace(self, stage="search")

    @property
    def confirmation(self) -> "SweepPaths":
        """Return the paths of its confirmation."""
        return replace(self, stage="confirm")

    @property
    def plan(self) -> Path:
        """Return the plan's file."""
        return self.root / "plan.json"

    @property
    def study_file(self) -> Path:
        """Return the study's own database, where it is in no other."""
        return self.root / "study.db"

    @property
    def study_place(self) -> Path:
        """Return the file that names the database of a study that is not in that file; its confirmation's too."""
        return self.search.root / "study-uri.txt"

    @property
    def study_uri(self) -> str:
        """Return the study's database."""
        try:
            return self.study_place.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return f"sqlite:///{self.study_file}"

    @property
    def lock(self) -> Path:
        """Return the file that the sweep's driver holds locked; beside the folder, which --new moves away."""
        return self.out / f".{self.name}.lock"

    @property
    def leaderboard(self) -> Path:
        """Return the leaderboard's file."""
        return self.root / "leaderboard.json"

    @property
    def asked(self) -> Path:
        """Return the file of what is to be confirmed."""
        return self.confirmation.root / "asked.json"

    @property
    def confirmed(self) -> Path:
        """Return the file of what a confirmation found."""
        return self.confirmation.root / "confirmation.json"

    @property
    def openings(self) -> Path:
        """Return the record of every opening of a test set by a sweep of OUT: a line each, for ever."""
        return self.out / OPENINGS

    @property
    def report(self) -> Path:
        """Return the report's file."""
        return self.root / "report.html"

    @property
    def table_image(self) -> Path:
        """Return the file of the study's table as an image."""
        return self.root / "table.png"

    @property
    def data_report(self) -> Path:
        """Return the data report's file; a confirmation is on the same data."""
        return self.search.root / "data.json"

    @property
    def ray(self) -> Path:
        """Return where Ray Tune keeps its own notes; nothing is read from them."""
        return self.root / "ray"

    @property
    def tracking(self) -> Path:
        """Return the file that names the MLflow store of the sweep, its confirmation's too."""
        return self.search.root / "tracking.txt"

    @property
    def token_cache(self) -> Path:
        """Return the folder of the packed token ids, shared by all sweeps."""
        return self._cache / "tokens"

    @property
    def encoders(self) -> Path:
        """Return the folder of the encoders that checkpoints were trained from, shared by all sweeps."""
        return encoder_store(self.out)

    @property
    def prefix_cache(self) -> Path:
        """Return the folder of the frozen layers' states, shared by all sweeps."""
        return self._cache / "prefix"

    @property
    def _cache(self) -> Path:
        """Return where this machine keeps what can be computed again: in OUT, or in a folder of its own."""
        own = os.environ.get(CACHE)
        return Path(own) if own else self.out / "cache"

    def trial(self, number: int) -> TrialPaths:
        """Return the paths of a trial."""
        return TrialPaths(self.root / "trials" / f"{number:04d}")


def encoder_store(out: Path) -> Path:
    """Return where the encoders of OUT's checkpoints are kept."""
    return out / "encoders"


def tracking_uri(out: Path) -> str:
    """Return MLflow's default store under OUT."""
    return f"sqlite:///{out / 'mlflow.db'}"


def sqlite_file(uri: str) -> Path | None:
    """Return the file that a database's URI names, None where it names a server."""
    named = re.fullmatch(r"sqlite(?:\+\w+)?:///([^?]*)(?:\?.*)?", uri)
    return Path(named[1]) if named else None


def artifact_root(out: Path) -> str:
    """Return where MLflow's default store keeps artifacts."""
    return (out / "mlartifacts").as_uri()
