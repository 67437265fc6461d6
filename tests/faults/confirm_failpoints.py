"""Kills the confirm command at every place that a sweep does not reach, one at a time: docs/failpoints-confirm.md.

The last part of `make failpoints` (about 15 minutes on two cores).
"""

import json
import random
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

from orchestrator.openings import read_lines
from tests.faults.checker import lasting
from tests.faults.confirm_lab import OPTIONS, confirm, confirm_lab, lasting_confirmation
from tests.faults.failpoints import LONGEST_RECOVERY_S, asked_for, page, tiny

ABOUT = """# The confirm command, killed at every failpoint of its own

Written by `make failpoints`, {date}, seed {seed}: a finished sweep of three tiny configs, its best
two and the baseline confirmed on up to three fresh seeds, then the test set opened. The process that reached
the place was killed with SIGKILL when it did so for the given time; then the same command again, and what
follows it. Checked each time: what the confirmation found and the leaderboard, but for times, paths and run
ids, are those of an undisturbed one, and the record of the test set has one opening. Recovery is the second
run of the command that was killed. Places that a sweep reaches too are in [failpoints.md](failpoints.md)."""
OPEN = ("--open-test",)


def main():
    """Take the places in turn; a line each as it is known, the table at the end."""
    arguments = asked_for(__doc__, Path("docs/failpoints-confirm.md"))
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="failpoints-") as temporary:
        root = Path(temporary)
        data, encoder = tiny(root)
        twin = confirm_lab(root / "undisturbed", data, encoder)
        twin.run()
        template = root / "template"
        shutil.copytree(twin.out, template)
        by_sweep, places = reached(twin), []
        for options in (OPTIONS, OPEN):
            before = reached(twin)
            confirm(twin, *options)
            new = reached(twin) - before
            places += [(at, rng.randint(1, new[at]), options) for at in new if at not in by_sweep]
        rows = []
        for number, (at, hit, options) in enumerate(places):
            if arguments.only in at:
                folder = root / f"lab-{number}"
                rows.append(killed_at(at, hit, options, confirm_lab(folder, data, encoder), twin, template))
                shutil.rmtree(folder, ignore_errors=True)
                print(json.dumps(rows[-1]), flush=True)
    if not arguments.only:
        arguments.out.write_text(page(ABOUT, rows, arguments.seed), encoding="utf-8")
    raise SystemExit(any(row["violations"] for row in rows))


def reached(lab):
    """Return how often each place was reached so far."""
    return Counter(line["at"] for line in lab.log())


def killed_at(at, hit, options, lab, twin, template):
    """Kill the command with these options when a place is reached for the hit-th time, go on; return a table's row."""
    shutil.copytree(template, lab.out)
    if options == OPEN:
        confirm(lab, *OPTIONS)
    lab.arm(at, "kill", hit=reached(lab)[at] + hit)
    found = {}
    try:
        confirm(lab, *options, expect=-9)
    except AssertionError as error:
        found["run"] = [f"the fault did not end it: {str(error).splitlines()[0]}"]
    lab.disarm()
    started = time.monotonic()
    seconds = 0.0
    try:
        confirm(lab, *options)
        seconds = time.monotonic() - started
        if options == OPTIONS:
            confirm(lab, *OPEN)
        found |= _differences(lab, twin)
    except Exception as error:  # noqa: BLE001  (one place that fails costs no table)
        found["recovery"] = [f"failed: {str(error).splitlines()[0]}"]
    finally:
        lab.kill_all()
    if seconds > LONGEST_RECOVERY_S:
        found["recovery"] = [f"{seconds:.0f} s"]
    after = "the confirmation" if options == OPEN else None
    return {"at": at, "hit": hit, "after": after, "recovery": round(seconds, 1), "violations": found}


def _differences(lab, twin):
    """Return in what a lab differs from the undisturbed one."""
    found = {}
    if lasting_confirmation(lab.out) != lasting_confirmation(twin.out):
        found["confirmation"] = ["differs from the undisturbed one"]
    if _board(lab) != _board(twin):
        found["leaderboard"] = ["differs from the undisturbed one"]
    if [line["event"] for line in read_lines(lab.out / "test-set-openings.jsonl")] != ["opened", "scored"]:
        found["test set"] = ["its record is not that of one opening"]
    return found


def _board(lab):
    """Return the leaderboard's lasting part; of its confirmation and its test set without times."""
    board = lab.board()
    board["confirmation"] = lasting_confirmation(lab.out)
    board["test"] = {name: board["test"][name] for name in ("examples", "rows", "difference", "verdict", "openings")}
    return lasting(board)


if __name__ == "__main__":
    main()
