"""The simulation finds what is broken on purpose: a flush that is left out, an order that is changed."""

import inspect
import re
import sys

import pytest

from model import checkpoint, files
from orchestrator import trial_files
from tests.faults.simulated.one_fault import broken_by, places

pytestmark = [pytest.mark.slow, pytest.mark.faults]

FSYNC, FLUSH = r"os\.fsync\(file\.fileno\(\)\)", r"_?flush_folder\((path|folder)\.parent\)"
FLUSHED_LATE = r"(        for path in temporary\.iterdir.*?)(        if folder\.exists.*?temporary\.rename\(folder\)\n)"
MUTANTS = {
    "files are not flushed": [(files, "write_text", FSYNC, "pass")],
    "folders are not flushed": [(files, "write_text", FLUSH, "pass")],
    "checkpoints' files are not flushed": [(files, "new_folder", FSYNC, "pass")],
    "checkpoints' folders are not flushed": [(files, "new_folder", FLUSH, "pass")],
    "the manifest is in place before its data, whose hashes nobody looks at": [
        (files, "new_folder", FLUSHED_LATE, r"\2        temporary = folder\n\1"),
        (files, "sha256_of", r"return .*", 'return "0" * 64'),
    ],
    "data go before the manifest that names them": [
        (checkpoint, "release_weights", r"(    if MODEL in)", r"    weights.unlink(missing_ok=True)\n\1"),
    ],
    "states go before the verdict": [
        (trial_files, "write_verdict", r"(    reach)", r"    [shutil.rmtree(path) for path in _states(folder)]\n\1"),
    ],
}
"""Ways to break the code: module, function, what is in it, what stands there instead."""
LATE = set(list(MUTANTS)[-2:])
"""What is looked for from the sweep's end on: before it there is little of it."""


def mutate(patch, module, name, pattern, instead):
    """Put another function in a function's place, wherever it is known."""
    own = getattr(module, name)
    source, count = re.subn(pattern, instead, inspect.getsource(own), count=1, flags=re.DOTALL)
    assert count, f"{module.__name__}.{name} has no {pattern} any more"
    scope = dict(vars(module))
    exec(source, scope)  # noqa: S102  (a test's own mutants)
    for known in [each for key, each in sys.modules.items() if key.startswith(("model.", "orchestrator."))]:
        if getattr(known, name, None) is own:
            patch.setattr(known, name, scope[name])


@pytest.mark.parametrize("name", MUTANTS)
def test_what_is_broken_on_purpose_is_found(name, monkeypatch):
    """A flush left out, or an order changed, does not outlive the first power cuts and deaths."""
    what, some = ("death", range(places(), 0, -4)) if name in LATE else ("power cut", range(20, places(), 4))
    for mutant in MUTANTS[name]:
        mutate(monkeypatch, *mutant)
    assert any(broken_by(what, place) is not None for place in some)
