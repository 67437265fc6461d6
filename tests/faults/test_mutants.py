"""The simulation finds what is broken on purpose: each of the mechanisms that it holds, taken away."""

import inspect
import re
import sys
import textwrap

import pytest

from model import checkpoint, files
from orchestrator import paths, trial_files
from orchestrator.lease import Lease
from orchestrator.registry import ModelRegistry
from orchestrator.retention import remove_leftovers
from orchestrator.tracking import Projection
from orchestrator.trial import _Run
from tests.faults.simulated.one_fault import broken_by, broken_by_call, calls, places

pytestmark = [pytest.mark.slow, pytest.mark.faults]

FSYNC, FLUSH = r"os\.fsync\(file\.fileno\(\)\)", r"flush_folder\((path|folder)\.parent\)"
FLUSHED_LATE = r"(        for path in temporary\.iterdir.*?)(        if folder\.exists.*?temporary\.rename\(folder\)\n)"
NO_HASHES = (files, "sha256_of", r"return .*", 'return "0" * 64')
POWER, DEATH, LATE = "power cut", "death", "death, from the end on"
MUTANTS = {
    "files are not flushed": (POWER, [(files, "write_text", FSYNC, "pass")]),
    "folders are not flushed": (POWER, [(files, "write_text", FLUSH, "pass")]),
    "checkpoints' files are not flushed": (POWER, [(files, "new_folder", FSYNC, "pass")]),
    "checkpoints' folders are not flushed": (POWER, [(files, "new_folder", FLUSH, "pass")]),
    "an attempt's folder is not flushed": (
        POWER,
        [(paths.TrialPaths, "new_attempt", r"flush_folder\(above\)", "pass")],
    ),
    "the manifest is in place before its data, whose hashes nobody looks at": (
        POWER,
        [(files, "new_folder", FLUSHED_LATE, r"\2        temporary = folder\n\1"), NO_HASHES],
    ),
    "data go before the manifest that names them": (
        LATE,
        [(checkpoint, "release_weights", r"(    if MODEL in)", r"    weights.unlink(missing_ok=True)\n\1")],
    ),
    "states go before the verdict": (
        LATE,
        [(trial_files, "write_verdict", r"(    reach)", r"    [shutil.rmtree(path) for path in _states(folder)]\n\1")],
    ),
    "what others left in ended trials stays": (POWER, [(remove_leftovers, None, r"remove\(path\)", "pass")]),
    "who was superseded writes on": ("given up", [(_Run, "refuse_superseded", r"if latest .*", "if False:")]),
    "who was superseded tidies up": ("given up", [(trial_files, "prune", r"if folder\.attempts.*", "if False:")]),
    "who lost the lease writes on": (
        "another driver",
        [(Lease, "_require", r"if found is not None and .*", "if True:")],
    ),
    "a doubled run of the sweep stays": ("twice", [(Projection, "_find_sweep_run", r"in doubled:", "in ():")]),
    "a doubled model stays": ("twice", [(ModelRegistry, "refresh", r"in self\._models\(\):", "in ():")]),
    "what comes late is not looked for": ("late", [(Projection, "settle", r"self\._in_doubt:", "False:")]),
    "after a lost answer nothing is asked anew": ("after", [(Projection, "_refresh", r"known\.clear\(\)", "return")]),
}
"""What happens at each place in turn, and ways to break the code: where, which function, what is in it, and instead."""


def mutate(patch, owner, name, pattern, instead):
    """Put another function in a function's place, wherever it is known; `owner` is a module, a class or itself."""
    own = owner if name is None else getattr(owner, name)
    module = sys.modules[own.__module__]
    source, count = re.subn(
        pattern, instead, inspect.getsource(own), count=1, flags=re.DOTALL if "\\n" in instead else 0
    )
    assert count, f"{own.__qualname__} has no {pattern} any more"
    scope = dict(vars(module))
    exec(textwrap.dedent(source), scope)  # noqa: S102  (a test's own mutants)
    if inspect.isclass(owner):
        patch.setattr(owner, name, scope[name])
        return
    for known in [each for key, each in sys.modules.items() if key.startswith(("model.", "orchestrator.", "tests."))]:
        if getattr(known, own.__name__, None) is own:
            patch.setattr(known, own.__name__, scope[own.__name__])


def faults(what):
    """Return the calls that play a sweep with a fault, one place after the other."""
    if what in ("before", "after", "twice", "late"):
        return (lambda number=number: broken_by_call(number, what) for number in range(calls()))
    if what == LATE:
        return (lambda place=place: broken_by(DEATH, place) for place in range(places(), 0, -4))
    every = 1 if what == "another driver" else 4  # one write in a sweep finds who lost the lease and writes on
    return (lambda place=place: broken_by(what, place) for place in range(20, places(), every))


@pytest.mark.parametrize("name", MUTANTS)
def test_what_is_broken_on_purpose_is_found(name, monkeypatch):
    """Each does not outlive the first faults of its kind."""
    what, mutants = MUTANTS[name]
    some = faults(what)
    for mutant in mutants:
        mutate(monkeypatch, *mutant)
    assert any(fault() is not None for fault in some)


def test_hashes_that_nobody_looks_at_are_not_found_alone(monkeypatch):
    """Files that are flushed before their manifest is in place need no hashes in a power cut: the control."""
    mutate(monkeypatch, *NO_HASHES)
    assert [broken_by(POWER, place) for place in range(20, places(), 40)] == [None] * len(range(20, places(), 40))
