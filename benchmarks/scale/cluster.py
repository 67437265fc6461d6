"""A thousand spot machines in place of Ray's actors: Tune's own controller runs on them, and on simulated time.

`SimulatedActors` has the methods of ray.air's RayActorManager that Tune's controller calls (ray 2.60). Everything
above it is real: the controller, the searcher, the scheduler. Below it there is no Ray: no placement groups, no
messages, no object store.
"""

import heapq
import itertools
import json
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.exceptions import RayActorError, RayTaskError

from benchmarks.scale.clock import Clock
from benchmarks.scale.fleet import Fleet
from benchmarks.scale.tabulated import Gpu, NodeLostError, TabulatedProcess

NEVER = float("inf")
HANDLE = SimpleNamespace(get_auto_filled_metrics=SimpleNamespace(remote=lambda **_: {}))
"""An actor's handle: all that the controller asks of one itself."""


@dataclass
class Actor:
    """A worker's process, from when it is asked for."""

    tracked: TrackedActor
    process: TabulatedProcess | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    started: bool = False
    waiting: list[tuple[Any, ...]] = field(default_factory=list)
    """Tasks that were scheduled before it had started."""
    tasks: set[int] = field(default_factory=set)
    """Numbers of the events that are out."""
    removed: bool = False
    """Whether it was given up before it had started."""


class SimulatedActors:
    """In place of RayActorManager, and the heap of all that is to happen."""

    def __init__(
        self,
        clock: Clock,
        fleet: Fleet,
        process_on: Callable[[Gpu], TabulatedProcess],
        beside: Callable[[float], float],
    ) -> None:
        """Have all machines come up; `beside` does what is due until a time, and tells when something is due next."""
        self._clock, self._fleet, self._process_on, self._beside = clock, fleet, process_on, beside
        self._random = random.Random(fleet.seed)  # noqa: S311  (losses of machines)
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._dropped: set[int] = set()
        self._free: deque[Gpu] = deque()
        self._pending: dict[TrackedActor, Actor] = {}
        self._live: dict[TrackedActor, Actor] = {}
        self._failed: set[int] = set()
        self.gpus: list[Gpu] = []
        self.lost = self.noticed = 0
        """Machines that were taken, and how many of them with a warning."""
        self.working: dict[int, Gpu] = {}
        """By trial: to see that no two machines ever work on one."""
        for place in range(fleet.gpus):
            self._at(fleet.arrive_s * place / max(1, fleet.gpus), self._come_up)

    # --- what Tune's controller calls ---

    @property
    def num_pending_actors(self) -> int:
        """Return how many wait for a machine."""
        return len(self._pending)

    @property
    def num_live_actors(self) -> int:
        """Return how many have one."""
        return len(self._live)

    @property
    def num_total_actors(self) -> int:
        """Return both."""
        return len(self._live) + len(self._pending)

    @property
    def num_actor_tasks(self) -> int:
        """Return how many tasks are out."""
        return sum(len(actor.tasks) for actor in self._live.values())

    @property
    def _live_actors_to_ray_actors_resources(self) -> "SimulatedActors":
        return self

    def __getitem__(self, tracked: TrackedActor) -> tuple[object, None]:
        """Return what stands for the actor's handle and its resources."""
        del tracked
        return (HANDLE, None)

    def add_actor(
        self,
        cls: object,
        kwargs: dict[str, Any],
        resource_request: object,
        *,
        on_start: Any = None,
        on_stop: Any = None,
        on_error: Any = None,
    ) -> TrackedActor:
        """Ask for a process on whatever machine is free."""
        del cls, resource_request
        tracked = TrackedActor(next(self._numbers), on_start=on_start, on_stop=on_stop, on_error=on_error)
        self._pending[tracked] = Actor(tracked, config=kwargs["config"])
        return tracked

    def remove_actor(self, tracked_actor: TrackedActor, kill: bool = False, stop_future: Any = None) -> bool:  # noqa: FBT001, FBT002  (Ray's)
        """End a process; tell whether its on_stop will be called."""
        del kill, stop_future
        if tracked_actor.actor_id in self._failed:
            return False
        if tracked_actor in self._pending:
            del self._pending[tracked_actor]
            return False
        actor = self._live[tracked_actor]
        self._drop(actor)
        if not actor.started:  # as Ray's manager: nobody hears of it any more
            tracked_actor._on_start = tracked_actor._on_stop = tracked_actor._on_error = None  # noqa: SLF001
            actor.removed = True
        self._at(self._clock.now_s + self._fleet.stop_s, lambda: self._stopped(actor))
        return True

    def is_actor_started(self, tracked_actor: TrackedActor) -> bool:
        """Return whether it has a machine."""
        return tracked_actor in self._live

    def is_actor_failed(self, tracked_actor: TrackedActor) -> bool:
        """Return whether it died."""
        return tracked_actor.actor_id in self._failed

    def schedule_actor_task(
        self,
        tracked_actor: TrackedActor,
        method_name: str,
        args: tuple[Any, ...] | None = None,
        kwargs: object = None,
        on_result: Any = None,
        on_error: Any = None,
        _return_future: bool = False,  # noqa: FBT001, FBT002  (Ray's)
    ) -> object:
        """Have a process do something."""
        del kwargs
        if tracked_actor.actor_id in self._failed:
            return None
        actor = self._live.get(tracked_actor) or self._pending[tracked_actor]
        if not actor.started:
            actor.waiting.append((method_name, args, on_result, on_error))
        else:
            self._schedule(actor, method_name, args or (), on_result, on_error)
        return "future"

    def clear_actor_task_futures(self, tracked_actor: TrackedActor) -> None:
        """Hear no more of what it was asked."""
        if (actor := self._live.get(tracked_actor)) is not None:
            self._drop(actor)

    def get_live_actors_resources(self) -> dict[str, float]:
        """Return nothing: it is for people to read."""
        return {}

    def cleanup(self) -> None:
        """Forget everything."""
        self._events.clear()
        self._pending.clear()
        self._live.clear()

    def next(self, timeout: float | None = None) -> bool:
        """Wait for the next event and have the controller's callbacks deal with it."""
        clock = self._clock
        if clock.who == "driver":
            clock.end()
        until_s = clock.now_s + (NEVER if timeout is None else timeout)
        with clock.beside("workers"):
            self._place()
        while True:
            due_s = max(clock.now_s, self._events[0][0]) if self._events else NEVER
            beside_s = self._beside(min(due_s, until_s))
            if beside_s > min(due_s, until_s):
                break
        if due_s > until_s or due_s == NEVER:
            clock.now_s = until_s
            clock.begin("driver")
            return False
        clock.now_s = due_s
        _, number, happen = heapq.heappop(self._events)
        if number in self._dropped:
            self._dropped.remove(number)
            return self.next(timeout)
        happen()
        if clock.who != "driver":
            clock.begin("driver")
        return True

    def used(self, until_s: float) -> tuple[float, float]:
        """Return the GPU seconds that were there until then, and those of them that were spent on training."""
        there_s = sum(max(0.0, min(gpu.lost_s, until_s) - min(gpu.up_s, until_s)) for gpu in self.gpus)
        return there_s, sum(_within(span, until_s) for gpu in self.gpus for span in gpu.trained_s)

    # --- what happens ---

    def _at(self, at_s: float, happen: Callable[[], None]) -> int:
        number = next(self._numbers)
        heapq.heappush(self._events, (at_s, number, happen))
        return number

    def _drop(self, actor: Actor) -> None:
        self._dropped |= actor.tasks
        actor.tasks.clear()

    def _come_up(self) -> None:
        now_s, fleet = self._clock.now_s, self._fleet
        lost_s = now_s + self._random.expovariate(1 / fleet.life_s)
        noticed = self._random.random() < fleet.noticed
        gpu = Gpu(len(self.gpus), now_s, lost_s, max(now_s, lost_s - fleet.warning_s) if noticed else NEVER)
        self.gpus.append(gpu)
        self._free.append(gpu)
        self._at(lost_s, lambda: self._taken(gpu))

    def _taken(self, gpu: Gpu) -> None:
        self.lost += 1
        self.noticed += gpu.notice_s < NEVER
        if gpu in self._free:
            self._free.remove(gpu)
        self._at(self._clock.now_s + self._fleet.replaced_s, self._come_up)

    def _place(self) -> None:
        """Give machines to who waits for one."""
        now_s = self._clock.now_s
        while self._pending and self._free:
            gpu = self._free.popleft()
            if now_s >= min(gpu.lost_s, gpu.notice_s):  # drained, or gone
                continue
            tracked, actor = next(iter(self._pending.items()))
            del self._pending[tracked]
            self._live[tracked] = actor
            actor.process = self._process_on(gpu)
            ready_s = now_s + self._fleet.message_s + self._fleet.start_s
            if ready_s >= gpu.lost_s:
                self._at(gpu.lost_s + self._fleet.detected_s, partial(self._died, actor, None))
            else:
                self._at(ready_s, partial(self._started, actor))

    def _started(self, actor: Actor) -> None:
        if actor.tracked not in self._live or actor.removed:
            return
        assert actor.process is not None
        with self._clock.beside("workers"):
            self._take_up(actor, actor.config)
        actor.started = True
        self._clock.begin("driver")
        if actor.tracked._on_start:  # noqa: SLF001
            actor.tracked._on_start(actor.tracked)  # noqa: SLF001
        for waiting in actor.waiting:
            self._schedule(actor, *waiting)

    def _take_up(self, actor: Actor, config: Mapping[str, Any]) -> None:
        process = actor.process
        assert process is not None
        number = config["number"]
        assert number not in self.working, f"trial {number} is worked on by two machines"
        self.working[number] = process.gpu
        process.set_up(config, self._clock.now_s)

    def _leave(self, actor: Actor) -> None:
        if actor.process is not None and actor.process.number is not None:
            self.working.pop(actor.process.number, None)
            actor.process.leave()

    def _schedule(self, actor: Actor, method: str, args: Any, on_result: Any, on_error: Any) -> None:
        if method == "stop":  # remove_actor follows
            return
        clock, fleet, process = self._clock, self._fleet, actor.process
        assert process is not None
        clock_was = clock.who
        if clock_was == "driver":
            clock.end()
        begun_s = clock.now_s
        with clock.beside("workers"):
            at_s, result, error = begun_s + fleet.message_s, None, None
            if at_s >= process.gpu.lost_s:
                at_s, error = max(at_s, process.gpu.lost_s + fleet.detected_s), "node"
            elif method == "reset":
                at_s, result, error = self._reset(actor, args[0], at_s)
            else:
                assert method == "train", method
                at_s, result, error = self._train(actor, at_s)
        if clock_was == "driver":
            clock.begin("driver")
        number = next(self._numbers)
        actor.tasks.add(number)

        def happen() -> None:
            actor.tasks.discard(number)
            if error == "node":
                self._died(actor, on_error)
            elif error is not None:
                self._clock.begin("driver")
                on_error(actor.tracked, RayTaskError("reset", error, RuntimeError(error), "", 1, "127.0.0.1"))
            else:
                self._clock.begin("driver")
                on_result(actor.tracked, result)

        heapq.heappush(self._events, (at_s + fleet.message_s, number, happen))

    def _reset(self, actor: Actor, config: Mapping[str, Any], at_s: float) -> tuple[float, Any, str | None]:
        process = actor.process
        assert process is not None
        self._leave(actor)
        process.at_s = at_s
        if process.spent or process.notice() is not None:
            return at_s, None, "SpentProcessError: a fresh process takes the next trial"
        self._take_up(actor, config)
        process.at_s += self._fleet.reset_s
        return process.at_s, True, None

    def _train(self, actor: Actor, at_s: float) -> tuple[float, Any, str | None]:
        process = actor.process
        assert process is not None
        process.at_s = max(process.at_s, at_s)
        number = process.number
        try:
            report = process.report()
        except NodeLostError:
            return process.gpu.lost_s + self._fleet.detected_s, None, "node"
        if report["done"]:
            assert number is not None
            self.working.pop(number, None)
            process.number = None
        said = {"report": json.dumps(report), "done": report["done"], "epoch": len(report["history"])}
        return process.at_s, said | _of_tune(actor), None

    def _died(self, actor: Actor, on_error: Any) -> None:
        if actor.tracked not in self._live:
            return
        with self._clock.beside("workers"):
            self._leave(actor)
        self._drop(actor)
        del self._live[actor.tracked]
        self._failed.add(actor.tracked.actor_id)
        error = RayActorError(error_msg="The actor is dead because its node has died. Node Id: simulated")
        self._clock.begin("driver")
        if actor.tracked._on_error:  # noqa: SLF001
            actor.tracked._on_error(actor.tracked, error)  # noqa: SLF001
        if on_error:
            on_error(actor.tracked, error)

    def _stopped(self, actor: Actor) -> None:
        if actor.tracked not in self._live:
            return
        with self._clock.beside("workers"):
            self._leave(actor)
        del self._live[actor.tracked]
        assert actor.process is not None
        gpu = actor.process.gpu
        if self._clock.now_s < min(gpu.lost_s, gpu.notice_s):
            self._free.append(gpu)
        self._clock.begin("driver")
        if actor.tracked._on_stop:  # noqa: SLF001
            actor.tracked._on_stop(actor.tracked)  # noqa: SLF001


def _within(span: tuple[float, float], until_s: float) -> float:
    ended_s, took_s = span
    return max(0.0, min(ended_s, until_s) - min(ended_s - took_s, until_s))


def _of_tune(actor: Actor) -> dict[str, Any]:
    """Return what a Trainable adds to a result."""
    return {
        "training_iteration": 1, "time_this_iter_s": 1.0, "time_total_s": 1.0, "time_since_restore": 1.0,
        "iterations_since_restore": 1, "pid": 1, "hostname": "simulated", "node_ip": "127.0.0.1", "timestamp": 1,
        "date": "2026-11-27_00-00-00", "config": dict(actor.config),
    }  # fmt: skip
