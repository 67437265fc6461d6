"""What a sweep does with a proposal, a report and a death. Knows nothing of Ray: whoever runs trials calls it.

One object, in the driver's process, behind Ray's searcher and scheduler as behind the local loop.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Literal

from model.config import config_to_dict
from model.failpoints import reach
from orchestrator.failures import ALIKE_STOP, Failure, back_off_s, unforgiven, wait_s
from orchestrator.paths import SweepPaths, TrialPaths, attempt_number
from orchestrator.study import Proposal, TrialStudy
from orchestrator.trial_files import (
    HANG,
    STARTED,
    failed,
    history,
    latest_state,
    read_ends,
    read_verdict,
    saved_by,
    tidy,
    write_end,
    write_verdict,
)

Publish = Callable[[dict[str, Any]], None]
"""Takes one event; see orchestrator/progress.py for its kinds."""
Answer = Literal["go on", "stop"]


class Driver:
    """Hands out the study's trials and writes their results into it."""

    def __init__(
        self,
        study: TrialStudy,
        paths: SweepPaths,
        publish: Publish,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take over the study; `publish` is told of everything that happens, `clock` counts seconds."""
        self._study, self._paths, self._publish, self._clock = study, paths, publish, clock
        self._resting: dict[int, float] = {}
        """Trials that wait for their next attempt, and until when."""
        self._alike: Counter[tuple[str, str]] = Counter()
        self._unbegun: Counter[int] = Counter()
        """Attempts in a row whose process died before it took the trial up."""
        self._attempts: dict[int, int] = {}
        """The attempt at each trial that this driver handed out last: a newer one is another driver's."""
        self._heard: dict[int, float | None] = {}
        """When something was last heard of a trial that was handed out; None until its process has begun."""
        self._hearing = threading.Lock()
        """Of the former, which a thread looks at: see `silent` and `pardon`."""
        self.has_trained = False
        """Whether any trial has made a step under this driver."""
        self.trouble: str | None = None
        """Why no further trial is started, once there is a reason."""

    @property
    def waits(self) -> bool:
        """Return whether a trial will be handed out later that is not running now."""
        return bool(self._resting)

    def propose(self) -> tuple[Proposal, int] | None:
        """Return the next trial to run and the number of this attempt at it; None where there is none to start now."""
        if self.trouble is not None:
            return None
        for number in [number for number, until in self._resting.items() if until <= self._clock()]:
            del self._resting[number]
            self._study.hand_out_again(number)
        while (proposal := self._study.next_proposal()) is not None:
            folder = self._paths.trial(proposal.number)
            if not self._settled(proposal.number):
                attempt = attempt_number(folder.new_attempt())
                reach("attempt: created", trial=proposal.number, attempt=f"attempt-{attempt}")
                with self._hearing:
                    self._attempts[proposal.number], self._heard[proposal.number] = attempt, None
                config, done = config_to_dict(proposal.config), len(history(folder))
                self._publish({"event": "started", "trial": proposal.number, "config": config, "epochs_done": done})
                return proposal, attempt
        return None

    def record(self, report: Mapping[str, Any]) -> Answer:
        """Write a report into the study; return whether its trial goes on. Reports may come again, in any order."""
        number = report["number"]
        with self._hearing:
            self._heard[number] = self._clock()
        del self._unbegun[number]
        for entry in report["history"]:
            self._study.report(number, entry["epoch"], entry["dev_score"])
        if "note" in report:
            self._publish({"event": "note", "trial": number, "about": report["about"], "text": report["note"]})
        elif "prefix" in report:
            self._publish({"event": "prefix", "trial": number, "share": report["prefix"]})
        elif "step" in report:
            self.has_trained = True
            told = {key: report[key] for key in ("step", "steps")}
            self._publish({"event": "step", "trial": number, "epoch": len(report["history"]) + 1, **told})
        elif report["done"]:
            self.close(number)
        else:
            self.has_trained = True
            told = {key: report[key] for key in ("history", "best", "resumed") if key in report}
            self._alike = Counter({key: count for key, count in self._alike.items() if key[0] == Failure.CODE})
            self._publish({"event": "epoch", "trial": number, **told})
            if not self._study.goes_on(number, len(report["history"])):
                self._settled(number)
                return "stop"
        return "go on"

    def close(self, number: int, death: tuple[Failure, str] | None = None, *, counts: bool = True) -> None:
        """Settle a trial whose attempt is over: by what its folder says, else it is handed out again.

        `death` is what is known of an attempt that ended without a word of its own. Where it `counts`, enough that
        are alike stop the sweep; else it is its node's doing, of which a note has told.
        """
        with self._hearing:
            self._heard.pop(number, None)
        folder = self._paths.trial(number)
        if self._settled(number):
            return
        attempt = folder.attempt(self._attempts[number])
        taken_up = (attempt / STARTED).exists()
        if death is not None and taken_up:
            hung = attempt / HANG
            if hung.is_file() and hung.stat().st_size:
                death = Failure.HANG, f"nothing moved any more; where it stood: {hung}"
            with suppress(OSError):  # the disk may be what ended it
                write_end(attempt, *death)
        ends, saved = read_ends(folder), saved_by(folder)
        if (end := unforgiven(ends, saved)) is not None:
            text = f"{end.error} (attempt {end.attempt}, the last that this class of failure is forgiven)"
            write_verdict(folder, failed(end.failure, text, history(folder)))
            self._settled(number)
            return
        if ends and ends[-1].attempt == attempt_number(attempt):
            death = ends[-1].failure, ends[-1].error
        wait = wait_s(ends, saved)
        if death is not None and not taken_up:  # says nothing about the trial, but something is wrong somewhere
            self._unbegun[number] += 1
            wait = back_off_s(self._unbegun[number])
        self._resting[number] = self._clock() + wait
        if death is not None:
            failure, error = death
            said = {"failure": str(failure), "error": error, "wait": wait, "of_the_node": not counts}
            self._publish({"event": "interrupted", "trial": number, **said})
            if counts:
                self._count(failure, error)

    def tell(self, number: int, about: str, text: str) -> None:
        """Say something of a trial that a person should know."""
        self._publish({"event": "note", "trial": number, "about": about, "text": text})

    def waiting(self, text: str) -> None:
        """Say that no trial begins, and what they wait for."""
        with self._hearing:
            number = min(self._heard, default=0)
        self.tell(number, "waiting", text)

    def stopping(self) -> None:
        """Say that what runs is being saved, since somebody asked the sweep to stop."""
        self._publish({"event": "stopping"})

    def stop(self, trouble: object) -> None:
        """Start no further trial, for a reason."""
        self.trouble = self.trouble or str(trouble)

    def silent(self, seconds: float) -> list[tuple[int, int]]:
        """Return the trials, with their attempts, that have begun and of which nothing was heard for so long.

        Any thread may ask.
        """
        found = []
        with self._hearing:
            for number, heard in self._heard.items():
                attempt = self._attempts[number]
                if heard is None and (self._paths.trial(number).attempt(attempt) / STARTED).exists():
                    self._heard[number] = self._clock()
                elif heard is not None and self._clock() - heard > seconds:
                    found.append((number, attempt))
        return found

    def unbegun(self) -> bool:
        """Return whether trials have been handed out, and the process of none of them has begun. Any thread may ask."""
        with self._hearing:
            return bool(self._heard) and all(heard is None for heard in self._heard.values())

    def pardon(self) -> None:
        """Count every silence from now: it was this process that heard nothing, since it stood still itself."""
        with self._hearing:
            self._heard = {n: None if heard is None else self._clock() for n, heard in self._heard.items()}

    def _settled(self, number: int) -> bool:
        """Record how a trial ended, if its folder or the study knows; return whether they do."""
        folder = self._paths.trial(number)
        verdict = read_verdict(folder) or self._pruned(number, folder)
        if verdict is None:
            return False
        tidy(folder, verdict)
        known = number in self._study.ended()
        for entry in verdict["history"]:
            self._study.report(number, entry["epoch"], entry["dev_score"])
        if verdict["state"] == "failed":
            self._study.end(number, "failed", failure=verdict["failure"])
            told = {key: verdict[key] for key in ("failure", "error")}
            if not known:
                self._count(verdict["failure"], verdict["error"])
        else:
            self._study.end(number, verdict["state"], best=verdict["best"]["dev_score"])
            told = {"best": verdict["best"]}
        self._publish({"event": verdict["state"], "trial": number, **told})
        return True

    def _pruned(self, number: int, folder: TrialPaths) -> dict[str, Any] | None:
        """Write and return the verdict of a trial that was stopped early, None where it was not."""
        state = latest_state(folder)
        said = state.manifest if state else {}
        entries = list(said.get("history", ()))
        rung = next((e["epoch"] for e in entries if self._study.stopped(number, e["epoch"])), None)
        if rung is None:
            return None
        verdict = {"state": "pruned", "history": entries[:rung]}
        verdict |= {key: said[key] for key in ("best", "parameters", "trainable_params")}
        write_verdict(folder, verdict)
        return verdict

    def _count(self, failure: str, error: str) -> None:
        """Stop the sweep where trials fail alike in their code, or attempts end alike in a row: it is wrong for all."""
        if failure not in ALIKE_STOP:
            return
        key = failure, error if failure == Failure.CODE else ""  # a disk's error names another file each time
        self._alike[key] += 1
        if self._alike[key] >= ALIKE_STOP[Failure(failure)]:
            what = "trials have failed" if failure == Failure.CODE else "attempts in a row ended"
            self.stop(f"{self._alike[key]} {what} alike ({failure}): {error}")
