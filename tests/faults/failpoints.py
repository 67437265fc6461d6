"""Kills the driver at every failpoint, one at a time, and writes what became of the sweep into docs/failpoints.md.

`make failpoints` (about an hour on two cores). The list of places is what an undisturbed sweep reached, and
DISTURBED.
"""

import argparse
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.faults.checker import lasting, violations
from tests.faults.lab import Lab
from tests.tiny import write_data, write_encoder

LONGEST_RECOVERY_S = 60
BEFORE = {
    "disk full": {"at": "state/: filled", "do": "disk full", "hit": 3, "facts": {}},  # of a second epoch
    "kill": {"at": "state/: filled", "do": "kill", "hit": 3, "facts": {}},
    "Ctrl-C": {"at": "step: taken", "do": "Ctrl-C", "hit": 12, "facts": {}},  # in mid-epoch
}
DISTURBED = {
    "disk full": ["error.txt: written", "error.txt: flushed", "error.txt: in place", "end.json: written"],
    "kill": ["death: noticed", "end.json: flushed", "end.json: in place", "trial: resumed"],
    "Ctrl-C": ["trial: paused"],
    "halving": ["study: decide", "study: decided"],
}
"""Places that a sweep in peace does not reach, by what makes it do so."""


def killed_at(at, hit, folder, twin, template, after=None):
    """Kill a sweep's driver when a place is reached for the hit-th time, run it again; return a row of the table.

    `after` is what makes the sweep reach the place; with "halving" what is left of the trials differs from the twin's.
    """
    lab = Lab(folder, twin.data, twin.encoder, twin.trials, twin.epochs, halving=after == "halving")
    shutil.copytree(template, lab.out)
    first = [BEFORE[after]] if after in BEFORE else []
    lab.arm_all(*first, {"at": at, "do": "kill driver", "hit": hit, "facts": {}})
    started = time.monotonic()
    lab.start().wait(300)
    before = time.monotonic() - started
    died = lab.fired > len(first)
    lab.disarm()
    code, seconds = lab.run(expect=range(256))
    found = violations(lab, None if lab.halving else twin, faults=1 + len(first))
    if not lab.halving and lasting(lab.board()) != lasting(twin.board()):
        found["leaderboard"] = ["differs from the undisturbed one"]
    if not died or code:
        found["run"] = [f"the fault did not happen ({before:.0f} s)" if not died else f"exit code {code}"]
    if seconds > LONGEST_RECOVERY_S:
        found["recovery"] = [f"{seconds:.0f} s"]
    lab.kill_all()
    shutil.rmtree(folder, ignore_errors=True)
    return {"at": at, "hit": hit, "after": after, "recovery": round(seconds, 1), "violations": found}


def main():
    """Take the places in turn; a line each as it is known, the table at the end."""
    arguments = asked_for(__doc__, Path("docs/failpoints.md"))
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="failpoints-") as temporary:
        root = Path(temporary)
        twin, template = undisturbed(root)
        reached = Counter(line["at"] for line in twin.log())
        asked = [(at, rng.randint(1, count), None) for at, count in reached.items()]
        asked += [(at, 1, after) for after, places in DISTURBED.items() for at in places]
        rows = []
        for number, (at, hit, after) in enumerate(asked):
            if arguments.only in at:
                row = killed_at(at, hit, root / f"lab-{number}", twin, template, after)
                rows.append(row)
                print(json.dumps(row), flush=True)
    if not arguments.only:
        arguments.out.write_text(page(ABOUT, rows, arguments.seed), encoding="utf-8")
    raise SystemExit(any(row["violations"] for row in rows))


def asked_for(about, page_of):
    """Return the command line's options; `page_of` is the page that is written unless --out names another."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--out", type=Path, default=page_of)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--only", default="", help="places whose names hold this")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    return arguments


def tiny(root):
    """Write data and encoder of tiny sweeps, and return their folders."""
    for name in ("data", "encoder"):
        (root / name).mkdir()
    return write_data(root / "data"), write_encoder(root / "encoder")


def undisturbed(root):
    """Return a lab that ran in peace, and a folder for results whose MLflow store is made already: that takes 5 s."""
    data, encoder = tiny(root)
    twin = Lab(root / "undisturbed", data, encoder, trials=3, epochs=2)
    twin.run()
    template = root / "template"
    template.mkdir()
    from mlflow import MlflowClient

    MlflowClient(f"sqlite:///{template / 'mlflow.db'}").search_experiments()
    return twin, template


ABOUT = """# The driver, killed at every failpoint

Written by `make failpoints`, {date}, seed {seed}: a sweep of three tiny configs and two
epochs, two at once, its driver killed with SIGKILL when the place was reached for the given time, by
whichever process reached it; then the same command again. Checked each time: the leaderboard's bytes but
for times, paths and run ids, and I1 to I8 (tests/faults/checker.py). Recovery is the whole second run. Some
places are reached only after something else (a full disk, a worker's death, Ctrl-C) or with early stopping,
whose leaderboard follows from the order of results and is not compared. What the confirm command reaches
beyond them is in [failpoints-confirm.md](failpoints-confirm.md)."""


def page(about, rows, seed):
    """Return the table as a page of the docs."""
    longest = max(row["recovery"] for row in rows)
    bad = sum(bool(row["violations"]) for row in rows)
    lines = [
        about.format(date=time.strftime("%F"), seed=seed),
        "",
        f"**{len(rows)} places, {bad} with a violation, longest recovery {longest:.0f} s.**",
        "",
        "| place | its n-th time | after | recovery, s | violations |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        said = "; ".join(f"{name}: {'; '.join(found)}" for name, found in row["violations"].items()) or "none"
        lines.append(f"| {row['at']} | {row['hit']} | {row['after'] or ''} | {row['recovery']:.0f} | {said} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
