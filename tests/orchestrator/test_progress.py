"""What is shown while a sweep runs: one table, plain lines, JSON lines, or nothing."""

import io
import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from orchestrator.progress import Progress, clock_text, mode_for

RATES = (0.001, 0.0005, 0.0002, 0.0001)


class Clock:
    """A clock that goes on by a minute whenever a test says so."""

    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        """Return the seconds."""
        return self.now_s

    def minute(self):
        """Go on by a minute."""
        self.now_s += 60


@pytest.fixture
def clock():
    """Return a clock that stands still."""
    return Clock()


@pytest.fixture
def plan(bare_plan, tiny_config):
    """Return a plan over four configs of two epochs, named exp."""
    return bare_plan(
        [
            replace(tiny_config, heads=replace(tiny_config.heads, common_layers=common), learning_rate=rate)
            for common, rate in enumerate(RATES)
        ]
    )


def history(*scores):
    """Return epochs with these dev scores."""
    return [
        {
            "epoch": epoch,
            "dev_score": score,
            "scores": {"sentiment": score},
            "train_loss": 0.5,
            "learning_rate": 1e-3,
            "train_seconds": 58.6,
            "evaluation_seconds": 1.4,
            "ended_at_seconds": 1e9,
        }
        for epoch, score in enumerate(scores, start=1)
    ]


def started(trial):
    """Return the event of a trial's start."""
    return {"event": "started", "trial": trial}


def epoch(trial, *scores):
    """Return the event of an epoch's end."""
    return {"event": "epoch", "trial": trial, "history": history(*scores), "best": {"dev_score": max(scores)}}


def completed(trial, score, best_epoch=2):
    """Return the event of a trial's end."""
    return {"event": "completed", "trial": trial, "best": {"epoch": best_epoch, "dev_score": score}}


def failed(trial, error="the loss is nan"):
    """Return the event of a trial's failure."""
    return {"event": "failed", "trial": trial, "failure": "diverged", "error": error}


SCRIPT = [
    started(0),
    started(1),
    epoch(0, 0.61234),
    epoch(1, 0.5),
    completed(0, 0.65),
    started(2),
    failed(1),
    epoch(2, 0.7),
]


def shown(progress, width):
    """Return the live table as a console of this width shows it."""
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(progress._table())
    return console.file.getvalue()


def test_without_a_terminal_each_event_is_one_line(plan, capsys):
    """Sweep, how far it is, which trial, what is special of it, what happened."""
    with Progress(plan, "lines") as progress:
        for event in SCRIPT:
            progress.publish(event)

    out, err = capsys.readouterr()
    varied = [f"common_layers {common}, learning_rate {rate}" for common, rate in enumerate(RATES)]
    assert err == ""
    assert out.splitlines() == [
        f"bare  0/4  trial 0000  {varied[0]}  started",
        f"bare  0/4  trial 0001  {varied[1]}  started",
        f"bare  0/4  trial 0000  {varied[0]}  epoch 1/2  dev 0.6123  59s",
        f"bare  0/4  trial 0001  {varied[1]}  epoch 1/2  dev 0.5000  59s",
        f"bare  1/4  trial 0000  {varied[0]}  completed  best 0.6500 at epoch 2",
        f"bare  1/4  trial 0002  {varied[2]}  started",
        f"bare  2/4  trial 0001  {varied[1]}  failed (diverged): the loss is nan",
        f"bare  2/4  trial 0002  {varied[2]}  epoch 1/2  dev 0.7000  59s",
    ]


def test_the_frozen_layers_take_a_line_a_quarter_and_a_note_is_told_once(plan, capsys):
    """However many reports come, of however many trials, nobody is flooded."""
    with Progress(plan, "lines") as progress:
        progress.publish({**started(0), "epochs_done": 1})
        for hundredths in range(101):
            progress.publish({"event": "prefix", "trial": 0, "share": hundredths / 100})
        for trial in (0, 1):
            progress.publish(
                {"event": "note", "trial": trial, "about": "prefix cache", "text": "no room for the cache"}
            )

    lines = [line.rpartition("  ")[2] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "resumed after epoch 1",
        *(f"computing the frozen layers once, {share}%" for share in (0, 25, 50, 75, 100)),
        "note: no room for the cache",
    ]


def test_the_live_table_shows_how_far_the_frozen_layers_are(plan, clock):
    """In the epoch's place, until there is an epoch; a note stands below."""
    progress = Progress(plan, "live", clock)
    progress.publish(started(0))
    progress.publish({"event": "prefix", "trial": 0, "share": 0.34})
    progress.publish({"event": "note", "trial": 0, "about": "prefix cache", "text": "no room"})

    assert "frozen layers 34%" in shown(progress, 120)
    assert "note: no room" in shown(progress, 120)
    progress.publish(epoch(0, 0.7))
    assert "frozen layers" not in shown(progress, 120)


def test_an_epoch_of_an_earlier_command_is_not_told_again(plan, capsys):
    """A resumed trial begins by reporting the state that was found; the epochs after it are told."""
    with Progress(plan, "lines") as progress:
        progress.publish({**started(0), "epochs_done": 1})
        progress.publish({**epoch(0, 0.6), "resumed": True})
        progress.publish(epoch(0, 0.6, 0.7))
        progress.publish({**epoch(0, 0.6, 0.7), "resumed": True})  # Ray started the trial again

    lines = [line.rpartition("  trial ")[2] for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 2
    assert "resumed after epoch 1" in lines[0]
    assert "epoch 2/2" in lines[1]


def test_a_program_is_told_a_resumed_epoch_again(plan, capsys):
    """Its line may have been lost with the command before; the mark tells it from a new one."""
    with Progress(plan, "json") as progress:
        progress.publish({**epoch(0, 0.6), "resumed": True})

    assert json.loads(capsys.readouterr().out)["resumed"] is True


def test_epochs_of_an_earlier_command_do_not_shorten_the_time_left(plan, clock):
    """Of eight epochs one was there and one took a minute: six are left."""
    progress = Progress(plan, "live", clock)
    progress.publish({**started(0), "epochs_done": 1})
    progress.publish({**epoch(0, 0.6), "resumed": True})
    clock.minute()
    progress.publish(epoch(0, 0.6, 0.7))

    assert "about 6m00 left" in shown(progress, 120)


def test_no_time_is_told_before_half_a_trial_is_behind_us(plan, clock):
    """A start says little: the frozen layers are computed once, and a first epoch sets up what the others find."""
    progress = Progress(plan, "live", clock)
    progress.publish(started(0))
    clock.minute()
    progress.publish({"event": "prefix", "trial": 0, "share": 0.5})
    clock.minute()
    progress.publish({"event": "prefix", "trial": 0, "share": 1.0})
    progress.publish({"event": "step", "trial": 0, "epoch": 1, "step": 1, "steps": 100})
    assert "left" not in shown(progress, 120)

    clock.minute()
    progress.publish(epoch(0, 0.6))

    assert "about 7m00 left" in shown(progress, 120)


def test_when_all_trials_have_ended_it_says_what_is_still_done(plan, clock):
    """Reports and MLflow take a few seconds; nothing is left to be estimated."""
    progress = Progress(plan, "live", clock)
    for number in range(4):
        progress.already_ended(number, {"best": None})

    assert "4/4 · 0 running · 0 waiting · 0s · writing down what there is" in shown(progress, 120)


@pytest.mark.parametrize("mode", ["live", "lines", "json"])
def test_a_sweep_that_stops_says_so_at_once(plan, clock, capsys, mode):
    """Else one presses Ctrl-C again, which ends it before all is saved."""
    progress = Progress(plan, mode, clock)

    progress.publish({"event": "stopping"})

    said = shown(progress, 120) if mode == "live" else capsys.readouterr().out
    assert ("stopping" if mode == "json" else "what runs is being saved; Ctrl-C again ends it at once") in said


def test_an_interrupted_trial_is_told_above_the_live_table(plan, clock, capsys):
    """The table itself only shows what runs."""
    progress = Progress(plan, "live", clock)
    progress.publish(started(0))

    progress.publish({"event": "interrupted", "trial": 0, "failure": "process died", "error": "exit 139", "wait": 0.0})

    assert "trial 0000" in capsys.readouterr().out


def test_what_a_node_lacks_is_not_said_again_of_its_trial(plan, capsys):
    """A note has told it, with the node's name; the trial's line is that it goes on."""
    lacks = {"failure": "infrastructure", "error": "node b: has numpy 1", "wait": 0.0, "of_the_node": True}
    with Progress(plan, "lines") as progress:
        progress.publish(started(0))
        progress.publish({"event": "interrupted", "trial": 0, **lacks})

    assert "interrupted (infrastructure): its node cannot do it; goes on" in capsys.readouterr().out


@pytest.mark.parametrize(
    "error",
    ["expected [cls] first", "no key [/heads]", "got :warning: here", "first line\nsecond line\n", ""],
    ids=["bracket", "closing bracket", "colons", "two lines", "empty"],
)
def test_an_errors_text_stays_one_line_and_as_it_is(plan, capsys, error):
    """Whatever stands in an error, it is no markup, it ends no sweep, and an event is a line."""
    with Progress(plan, "lines") as progress:
        progress.publish(started(0))
        progress.publish(failed(0, error))

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert (error.splitlines() or ["failed (diverged)"])[0] in lines[1]


def test_with_json_each_event_is_one_object(plan, capsys):
    """Every line parses; an epoch has its own results beside the best, not the whole history."""
    with Progress(plan, "json") as progress:
        for event in [*SCRIPT, failed(3, "two\nlines [/x]")]:
            progress.publish(event)

    out, err = capsys.readouterr()
    objects = [json.loads(line, parse_constant=pytest.fail) for line in out.splitlines()]
    assert err == ""
    assert [(o["event"], o["trial"]) for o in objects] == [(e["event"], e["trial"]) for e in [*SCRIPT, failed(3)]]
    assert objects[2] == {"event": "epoch", "trial": 0, "best": {"dev_score": 0.61234}, **history(0.61234)[0]}
    assert objects[-1]["error"] == "two\nlines [/x]"


def test_quiet_is_silent(plan, capsys):
    """Not one character on either output."""
    with Progress(plan, "quiet") as progress:
        for event in SCRIPT:
            progress.publish(event)

    assert capsys.readouterr() == ("", "")


def test_an_end_that_is_told_twice_is_shown_once(plan, capsys):
    """The first end stands; the count does not run on."""
    with Progress(plan, "lines") as progress:
        for event in (started(0), completed(0, 0.65), completed(0, 0.65), failed(0), started(1)):
            progress.publish(event)

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[-1].startswith("bare  1/4  trial 0001")


def test_a_report_that_comes_after_the_end_does_not_bring_a_trial_back(plan, clock):
    """A late epoch of an ended trial changes nothing in the table."""
    progress = Progress(plan, "live", clock)
    for event in (started(0), epoch(0, 0.6, 0.65), completed(0, 0.65), epoch(0, 0.6)):
        progress.publish(event)

    assert "1/4 · 0 running · 3 waiting" in shown(progress, 120)


def test_the_live_table_shows_the_running_trials_alone(plan, clock):
    """One header, a row for each running trial, the best so far, one hint."""
    progress = Progress(plan, "live", clock)
    for event in SCRIPT:
        clock.minute()
        progress.publish(event)
    clock.minute()

    head, columns, row, foot = shown(progress, 100).splitlines()
    assert head.startswith("bare  2/4 · 1 running · 1 waiting · 9m00 · about ")
    assert columns.split() == ["trial", "epoch", "dev", "best", "common_layers", "learning_rate"]
    assert row.split() == ["0002", "1/2", "▇▁", "0.700", "0.700", "2", "0.0002"]
    assert foot.rstrip() == "best 0.700 trial 0002 · Ctrl-C: stop; the same command continues"


def test_before_the_first_event_the_table_stands(plan, clock):
    """Nothing runs, nothing is estimated."""
    head, *_, foot = shown(Progress(plan, "live", clock), 100).splitlines()

    assert head.rstrip() == "bare  0/4 · 0 running · 4 waiting · 0s"
    assert foot.rstrip() == "Ctrl-C: stop; the same command continues"


def test_trials_that_ended_before_are_counted(plan, clock):
    """A command that goes on shows the whole sweep, with its best so far."""
    progress = Progress(plan, "live", clock)
    progress.already_ended(0, {"best": {"epoch": 2, "dev_score": 0.9}})
    progress.already_ended(1, {"best": None})
    progress.publish(started(2))

    text = shown(progress, 100)
    assert "2/4 · 1 running · 1 waiting" in text
    assert "best 0.900 trial 0000" in text


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_the_table_stays_within_the_terminal(plan, clock, width):
    """Narrow or wide, no line is longer than the terminal; every running trial keeps its row."""
    progress = Progress(plan, "live", clock)
    for event in [*SCRIPT, started(3)]:
        clock.minute()
        progress.publish(event)

    lines = shown(progress, width).splitlines()

    assert max(map(cell_len, lines)) <= width
    assert sum(bool(re.match(" *000[23]  [01]/2 ", line)) for line in lines) == 2


def test_of_a_thousand_running_trials_those_are_listed_that_fit(plan, clock):
    """The table stays within the terminal's height, and says how many more run."""
    progress = Progress(plan, "live", clock)
    progress._console = Console(file=io.StringIO(), width=100, height=30, force_terminal=True)
    for number in range(1000):
        progress.publish(started(number))

    lines = shown(progress, 100).splitlines()

    listed = [line.split()[0] for line in lines if re.match(" *[0-9]{4}  ", line)]
    assert listed == [f"{number:04d}" for number in range(25)]
    assert "and 975 more that run; all: MLflow" in [line.rstrip() for line in lines]
    assert len(lines) < 30
    assert "1000 running" in lines[0]


@pytest.mark.parametrize("width", [30, 120])
def test_the_live_table_runs_on_a_terminal(plan, width):
    """Started, fed and stopped on a real Rich console, it leaves no exception and no table behind."""
    progress = Progress(plan, "live")
    terminal = Console(file=io.StringIO(), width=width, force_terminal=True, highlight=False)
    progress._console = progress._live.console = terminal

    with progress:
        for event in SCRIPT:
            progress.publish(event)
        progress._live.refresh()

    assert "Ctrl-C" in terminal.file.getvalue()


def test_a_baseline_of_fewer_epochs_gives_no_negative_time(bare_plan, tiny_config, clock):
    """Where the epochs vary, the estimate of the time left stays above zero and the bar within its epochs."""
    plan = bare_plan([tiny_config, replace(tiny_config, epochs=9)])
    progress = Progress(plan, "live", clock)
    for event in (started(0), completed(0, 0.5), started(1), epoch(1, *[0.5] * 8)):
        clock.minute()
        progress.publish(event)

    text = shown(progress, 100)
    assert "about -" not in text
    assert "8/9" in text


def test_numbers_have_few_places(bare_plan, tiny_config, clock, capsys):
    """A rate that a sampler drew is not printed to its seventeenth digit."""
    configs = [replace(tiny_config, learning_rate=rate) for rate in (1e-3, 4.224638074248462e-05)]
    progress = Progress(bare_plan(configs), "live", clock)
    progress.publish(started(1))

    assert "4.224638074248462e-05" not in shown(progress, 100)
    with Progress(bare_plan(configs), "lines") as lines:
        lines.publish(started(1))
    assert "4.224638074248462e-05" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.4, "0s"),
        (8, "8s"),
        (59.4, "59s"),
        (59.6, "1m00"),
        (190, "3m10"),
        (3599.6, "1h00"),
        (7500, "2h05"),
        (360000, "100h00"),
    ],
)
def test_durations_read_as_people_write_them(seconds, text):
    """Seconds, then minutes, then hours, each rounded once."""
    assert clock_text(seconds) == text


@given(st.floats(0, 1e6))
def test_no_duration_shows_sixty_seconds_or_minutes(seconds):
    """Rounding carries over."""
    assert not clock_text(seconds).endswith("60")
    assert clock_text(seconds) != "60s"


def test_the_mode_follows_the_options_and_the_terminal(monkeypatch):
    """--json goes before --quiet; a terminal has the table, a pipe the lines."""
    assert mode_for(as_json=True, quiet=True) == "json"
    assert mode_for(as_json=False, quiet=True) == "quiet"
    for terminal, mode in ((True, "live"), (False, "lines")):
        monkeypatch.setattr("sys.stdout.isatty", lambda found=terminal: found, raising=False)
        assert mode_for(as_json=False, quiet=False) == mode
