"""What a person, or a program, sees while a sweep runs: a live table, plain lines, or JSON lines.

Events are plain dicts with "event": started, prefix, note, step, epoch, interrupted, completed, pruned, failed or
stopping; --json leaves out step and ends with finished.
On a terminal one table is kept current; without one each event is a line; with --json each is an object on stdout.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from math import isinf
from typing import Any, Literal, Self

from rich.console import Group
from rich.live import Live
from rich.text import Text

from orchestrator.console import console, say
from orchestrator.plan import Plan, shown
from orchestrator.tables import Fitting, titles

Mode = Literal["live", "lines", "json", "quiet"]
BAR = "▇"
STOPPING = "stopping: what runs is being saved; Ctrl-C again ends it at once"
OTHER_LINES = 5
"""Of the live table: its head, titles and foot, and the line that stays free."""
FEWEST = 0.5
"""Trials that are behind us before a time is estimated from them: a first epoch's start says little."""


def mode_for(*, as_json: bool, quiet: bool) -> Mode:
    """Return how to show progress on this standard output."""
    if as_json:
        return "json"
    if quiet:
        return "quiet"
    return "live" if sys.stdout.isatty() else "lines"


class Progress:
    """Takes events and shows them. Use as a context: the live table ends with it."""

    def __init__(self, plan: Plan, mode: Mode, clock: Callable[[], float] = time.monotonic) -> None:
        """Show the progress of this plan; `clock` counts seconds."""
        self._plan, self._mode, self._clock = plan, mode, clock
        self._console = console()
        self._started = self._counted_from = clock()
        """The latter is later by what is computed once, for all."""
        self._running: dict[int, list[dict[str, Any]]] = {}
        self._prefix: dict[int, float] = {}
        self._notes: dict[str, str] = {}
        """What a person should know, by what it is about."""
        self._resumed: dict[int, int] = {}
        """Epochs that a trial had when it was taken up again."""
        self._within: dict[int, float] = {}
        """The share of its present epoch that a trial has behind it."""
        self._begun: dict[int, float] = {}
        self._ended: dict[int, Mapping[str, Any]] = {}
        self._stopping = False
        self._configs: dict[int, dict[str, Any]] = {n: shown(plan, c) for n, c in enumerate(plan.configs)}
        self._live = Live(console=self._console, refresh_per_second=2, get_renderable=self._table, transient=True)

    def __enter__(self) -> Self:
        """Start the live table where there is one."""
        if self._mode == "live":
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """End the live table."""
        if self._mode == "live":
            self._live.stop()

    def publish(self, event: dict[str, Any]) -> None:
        """Take one event."""
        if not self._take(event):
            return
        if self._mode == "json":
            told = {k: v for k, v in event.items() if k != "history"}
            if event.get("history"):
                told |= event["history"][-1]
            say(json.dumps(told))
        elif self._mode == "lines":
            self._console.print(self._line(event), soft_wrap=True)
        elif self._mode == "live" and event["event"] in ("interrupted", "failed"):  # the table shows what runs
            self._live.console.print(self._line(event), soft_wrap=True)

    def _take(self, event: dict[str, Any]) -> bool:
        """Learn from an event; return whether it is worth telling."""
        number, kind = event.get("trial", -1), event["event"]
        if kind == "stopping":
            self._stopping = True
            return True
        if number in self._ended and kind != "started":  # a report that came late
            return False
        if kind == "started":
            self._running[number] = []
            if "config" in event:
                self._configs[number] = shown(self._plan, event["config"])
            self._begun[number] = self._clock()
        elif kind in ("prefix", "step"):
            self._notes.pop("waiting", None)
            return self._take_share(number, event)
        elif kind == "note":
            known = self._notes.get(event["about"]) == event["text"]  # every trial of a node meets the same
            self._notes[event["about"]] = event["text"]
            return not known
        elif kind == "epoch":
            self._forget(number)
            self._running[number] = event["history"]
            if event.get("resumed"):  # told before, but for a line that was lost: a program may want it again
                self._resumed[number] = len(event["history"])
                return self._mode == "json"
        else:
            self._forget(number)
            if kind != "interrupted":
                self._ended[number] = event
        return True

    def _take_share(self, number: int, event: Mapping[str, Any]) -> bool:
        """Learn how far the frozen layers, or an epoch's steps, are; return whether it is worth telling."""
        if event["event"] == "step":
            self._prefix.pop(number, None)
            self._within[number] = event["step"] / event["steps"]
            return False
        if not self._within and not self._ended:
            self._counted_from = self._clock()
        last = self._prefix.pop(number, -1.0)
        if event["share"] < 1:
            self._prefix[number] = event["share"]
        return self._mode != "lines" or int(event["share"] * 4) > int(last * 4)  # a line a quarter

    def _forget(self, number: int) -> None:
        for known in (self._running, self._prefix, self._within):
            known.pop(number, None)

    def already_ended(self, number: int, event: Mapping[str, Any]) -> None:
        """Count a trial that ended before this command was started."""
        self._ended[number] = event

    def _line(self, event: Mapping[str, Any]) -> str:
        if event["event"] == "stopping":
            return STOPPING
        number = event["trial"]
        said = {
            "started": f"resumed after epoch {event['epochs_done']}" if event.get("epochs_done") else "started",
            "prefix": f"computing the frozen layers once, {event.get('share', 0):.0%}",
            "note": f"note: {event.get('text')}",
            "epoch": "",
            "interrupted": f"interrupted ({event.get('failure')}): {_why(event)}; goes on"
            + (f" in {clock_text(event['wait'])}" if event.get("wait") else ""),
            "completed": "completed",
            "pruned": "stopped early",
            "failed": f"failed ({event.get('failure')}): {' '.join(str(event.get('error')).split())}",
        }[event["event"]]
        if event["event"] == "epoch":
            last = event["history"][-1]
            took = clock_text(last["train_seconds"])
            said = f"epoch {last['epoch']}/{self._epochs(number)}  dev {last['dev_score']:.4f}  {took}"
        if event["event"] in ("completed", "pruned"):
            said += f"  best {event['best']['dev_score']:.4f} at epoch {event['best']['epoch']}"
        done = f"{len(self._ended)}/{self._plan.trials}"
        return f"{self._plan.name}  {done}  trial {number:04d}  {self._varied(number)}{said}"

    def _epochs(self, number: int) -> int:
        return int(self._configs.get(number, self._plan.baseline)["epochs"])

    def _varied(self, number: int) -> str:
        config = self._configs.get(number, {})
        names = titles(self._plan.varies, ())
        said = [
            f"{name} {value_text(config.get(path, ''))}" for name, path in zip(names, self._plan.varies, strict=True)
        ]
        return ", ".join(said) + "  " if said else ""

    def _best(self) -> tuple[int, float] | None:
        ended = [(n, event["best"]) for n, event in self._ended.items() if event.get("best")]
        found = [(best["dev_score"], -n) for n, best in ended if self._comparable(n)]
        for number, history in self._running.items():
            found += [(entry["dev_score"], -number) for entry in history if self._comparable(number)]
        return (-max(found)[1], max(found)[0]) if found else None

    def _comparable(self, number: int) -> bool:
        """Return whether a trial has the baseline's tasks; one of which no config is known has: a space's all do."""
        own = self._configs.get(number, self._plan.baseline)["tasks"]
        return set(own) == set(self._plan.baseline["tasks"])

    def _left(self) -> str:
        """Return an estimate of the time left from the epochs' times so far."""
        part = sum(
            (len(history) + self._within.get(number, 0)) / self._epochs(number)
            for number, history in self._running.items()
        )
        before = sum(self._resumed.get(number, 0) / self._epochs(number) for number in self._begun)
        ended = [clock for n, clock in self._begun.items() if n in self._ended]
        elapsed = self._clock() - self._counted_from
        done = len(ended) + part - before
        waiting = self._plan.trials - len(self._ended) - part
        if self._plan.trials == len(self._ended):
            return " · writing down what there is"
        return f" · about {clock_text(elapsed / done * waiting)} left" if done >= FEWEST else ""

    def _table(self) -> Group:
        running, waiting = len(self._running), self._plan.trials - len(self._ended) - len(self._running)
        head = Text(
            f"{self._plan.name}  {len(self._ended)}/{self._plan.trials} · {running} running · {max(0, waiting)} waiting"
            f" · {clock_text(self._clock() - self._started)}{self._left()}",
            style="bold",
        )
        columns = ("trial", "epoch", "dev", "best", *titles(self._plan.varies, ()))
        # No more than fit: laying out a thousand rows twice a second would take more than a processor.
        room = max(3, self._console.height - OTHER_LINES - len(self._notes))
        listed = sorted(self._running.items())[:room]
        rows = [self._row(number, history) for number, history in listed]
        best = self._best()
        foot = "".join(f"note: {note}\n" for note in self._notes.values())
        if len(listed) < running:
            foot += f"and {running - len(listed):,} more that run; all: MLflow\n"
        foot += f"best {best[1]:.3f} trial {best[0]:04d} · " if best else ""
        return Group(
            head,
            Fitting(columns, rows, left=("epoch",)),
            Text(foot + (STOPPING if self._stopping else "Ctrl-C: stop; the same command continues"), style="dim"),
        )

    def _row(self, number: int, history: list[dict[str, Any]]) -> list[str]:
        config = self._configs.get(number, {})
        done, epochs = len(history), self._epochs(number)
        scores = [entry["dev_score"] for entry in history]
        bar = f"{done}/{epochs} " + (BAR * done + "▁" * (epochs - done) if epochs <= 20 else "")
        return [
            f"{number:04d}",
            f"frozen layers {self._prefix[number]:.0%}" if number in self._prefix else bar,
            f"{scores[-1]:.3f}" if scores else "",
            f"{max(scores):.3f}" if scores else "",
            *(value_text(config.get(path, "")) for path in self._plan.varies),
        ]


def _why(event: Mapping[str, Any]) -> str:
    """Return why an attempt was interrupted, in a line: what its node lacks, a note has told."""
    return "its node cannot do it" if event.get("of_the_node") else " ".join(str(event.get("error")).split())


def value_text(value: Any) -> str:
    """Return a config's value as people write it: a rate with four digits, not seventeen, tasks joined by plus."""
    if isinstance(value, list | tuple):
        return "+".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def interval_text(low: float | None, high: float | None) -> str:
    """Return an interval as people write it; of too few seeds there is none."""
    return "no interval yet" if low is None or high is None or isinf(low) else f"{low:+.3f} .. {high:+.3f}"


def varied_text(varies: Sequence[str], config: Mapping[str, Any]) -> str:
    """Return what a flat config has of the fields that vary, as a sentence names it: dropout 0.3, epochs 4."""
    names = zip(titles(varies, ()), varies, strict=True)
    return ", ".join(f"{title} {value_text(config[path])}" for title, path in names if path in config)


def clock_text(seconds: float) -> str:
    """Return a duration as people write it: 8s, 3m10, 2h05."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}"
