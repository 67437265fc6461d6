"""The record of openings: added to alone, counted by the data, and what was cut off or changed is seen."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from filelock import FileLock

from orchestrator.errors import SweepError
from orchestrator.leaderboard import leaderboard
from orchestrator.openings import OPENED, SCORED, read_lines, result_of, unscored, write_line

FOUND = {"examples": 9, "rows": [{"who": "baseline", "mean": 0.5, "seeds": 3}]}


@pytest.fixture
def record(tmp_path):
    """Return a record that is not there yet."""
    return tmp_path / "test-set-openings.jsonl"


def opened(record, name, sweep="a", parts=("x", "y")):
    """Write that a sweep opened test data of two tasks."""
    parts = dict(zip(("sentiment", "similarity"), parts, strict=True))
    write_line(record, {
        "event": OPENED, "id": name, "opened": "today", "sweep": sweep, "sweep_id": sweep, "test_set": "t",
        "parts": parts,
    })  # fmt: skip


def scored(record, name, mean=0.5):
    """Write what was scored."""
    rows = [FOUND["rows"][0] | {"mean": mean}]
    write_line(record, {"event": SCORED, "id": name, "found": FOUND | {"rows": rows}})


def test_nothing_is_said_before_anything_was_scored(record):
    """Neither where there is no record, nor after an opening that somebody was killed in."""
    assert (read_lines(record), result_of(record, "a")) == ([], None)

    opened(record, "1")

    assert result_of(record, "a") is None
    assert unscored(read_lines(record), "a")["id"] == "1"
    assert unscored(read_lines(record), "b") is None


def test_the_last_score_is_told_with_those_before_it(record):
    """A second look does not take the first one away."""
    for name, mean in (("1", 0.5), ("2", 0.6)):
        opened(record, name)
        scored(record, name, mean)

    test = result_of(record, "a")

    assert test["openings"] == 2
    assert test["rows"][0]["mean"] == 0.6
    assert [each["rows"][0]["mean"] for each in test["earlier"]] == [0.5]
    assert unscored(read_lines(record), "a") is None


def test_other_sweeps_that_opened_the_same_data_are_counted_whenever_they_did(record):
    """Data of one task are enough; other data are not."""
    opened(record, "1")
    scored(record, "1")
    opened(record, "2", sweep="b", parts=("x", "other"))
    opened(record, "3", sweep="c", parts=("another", "other"))

    assert result_of(record, "a")["openings"] == 2


def test_a_line_that_was_cut_off_wherever_it_was_is_no_opening_and_takes_no_other_along(record):
    """Whoever wrote it was killed before anything was scored; those before and after count."""
    opened(record, "1")
    first = record.read_bytes()
    opened(record, "2")
    second = record.read_bytes()[len(first) :]
    for cut in range(len(second)):
        record.write_bytes(first + second[:cut])

        assert [line["id"] for line in read_lines(record)] == ["1", "2"][: 1 + (cut == len(second) - 1)]
        opened(record, "3")
        assert [line["id"] for line in read_lines(record)][-1] == "3"
        assert len(read_lines(record)) == 2 + (cut == len(second) - 1)


def test_a_writer_that_holds_the_record_for_ever_is_told(record, monkeypatch):
    """In a line, and not in a traceback."""
    monkeypatch.setattr("orchestrator.openings.LONGEST_WAIT_S", 0.1)
    with FileLock(record.with_name(f".{record.name}.lock")), pytest.raises(SweepError, match="somebody else writes"):
        opened(record, "1")


@pytest.mark.parametrize("change", ["taken out", "changed", "another's"])
def test_a_record_that_was_changed_is_refused(record, change):
    """It would count fewer openings."""
    for name in "123":
        opened(record, name)
    lines = record.read_text().splitlines(keepends=True)
    if change == "taken out":
        del lines[1]
    elif change == "changed":
        lines[1] = lines[1].replace("today", "never")
    else:
        lines[1] = "{}\n"
    record.write_text("".join(lines))

    with pytest.raises(SweepError, match=r"jsonl:[23]: this line, or one before it, is not what was written"):
        read_lines(record)


def test_scores_without_their_opening_are_refused(record):
    """The line before them was changed into one that looks cut off."""
    write_line(record, {"event": SCORED, "id": "1", "found": FOUND})

    with pytest.raises(SweepError, match="of opening 1 there are scores alone"):
        result_of(record, "a")


def test_two_that_write_at_once_leave_a_record_that_is_whole(record):
    """Each line says the hash of what stands before it, be it another sweep's."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: opened(record, str(name), sweep=f"sweep-{name}"), range(40)))

    assert sorted(int(line["id"]) for line in read_lines(record)) == list(range(40))


def test_a_record_that_was_changed_costs_no_leaderboard(sweep, paths, caplog):
    """What stands there of the test set is left out, and why is told."""
    plan, trials = sweep([0.5, 0.6])
    paths.openings.write_text('{"event": "opened"}\n')

    assert leaderboard(plan, paths, trials)["test"] is None
    assert "is not what was written there" in caplog.text
