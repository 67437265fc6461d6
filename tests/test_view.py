"""The leaderboard's saved view: what is written for MLflow, and the links that open it."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.view import (
    MAX_TAG_CHARS,
    VIEW_TAG,
    Column,
    ViewColumns,
    fallback_url,
    leaderboard_url,
    view_tag,
)

KINDS = st.sampled_from(["metrics", "params", "tags", "attributes"])
NAMES = st.text(st.characters(exclude_characters="`", exclude_categories=["Cs"]), min_size=1, max_size=30)


def state_of(tag):
    """Return the state of the runs table that a tag holds, read as MLflow's interface reads it."""
    return json.loads(json.loads(tag[1])["state"])


def test_the_tag_is_the_saved_view_named_leaderboard():
    """The tag has MLflow's key of a shared view, and its value the envelope that MLflow checks."""
    key, value = view_tag(ViewColumns(), created_at_ms=1_700_000_000_000)

    assert key == VIEW_TAG == "mlflow.sharedViewState.leaderboard"
    envelope = json.loads(value)
    assert list(envelope) == ["name", "createdAt", "updatedAt", "state"]
    assert envelope["name"] == "Leaderboard"
    assert envelope["createdAt"] == envelope["updatedAt"] == 1_700_000_000_000


def test_the_view_shows_trials_by_the_best_score_first():
    """Only runs of kind trial are shown, and the highest of the ordering metric comes first."""
    state = state_of(view_tag(ViewColumns(), created_at_ms=0))

    assert state["searchFilter"] == "tags.kind = 'trial' and tags.stage = 'search'"
    assert state["orderByKey"] == "metrics.`best`"
    assert state["orderByAsc"] is False
    assert (
        state_of(view_tag(ViewColumns(), created_at_ms=0, order_by="seed_mean"))["orderByKey"] == "metrics.`seed_mean`"
    )


def test_columns_stand_in_the_leaderboards_order():
    """Scores come first, then verdicts, params, costs, the checkpoint and how the trial ended."""
    columns = ViewColumns(
        scores=("rank", "best", "gap", "sentiment"),
        verdicts=("verdict",),
        params=("learning_rate", "heads.common_layers"),
    )

    assert state_of(view_tag(columns, created_at_ms=0))["selectedColumns"] == [
        "metrics.`rank`",
        "metrics.`best`",
        "metrics.`gap`",
        "metrics.`sentiment`",
        "tags.`verdict`",
        "params.`learning_rate`",
        "params.`heads.common_layers`",
        "metrics.`train_seconds`",
        "metrics.`trainable_params`",
        "attributes.`Models`",
        "tags.`state`",
    ]


def test_only_the_given_columns_are_shown():
    """What the caller leaves out is in no part of the view."""
    columns = ViewColumns(scores=("best",), costs=(), models=False, tags=())

    state = state_of(view_tag(columns, created_at_ms=0))

    assert state["selectedColumns"] == ["metrics.`best`"]
    assert "attributes.`Models`" not in state["columnOrder"]
    assert "attributes.`Models`" not in state["columnWidths"]


@given(st.lists(st.builds(Column, KINDS, NAMES), unique=True, max_size=20), st.integers(min_value=0))
def test_any_columns_keep_their_order_between_those_that_mlflow_always_shows(columns, created_at_ms):
    """Whatever the names, the columns stand in the order given, each with a width, and equal calls agree."""
    tag = view_tag(columns, created_at_ms=created_at_ms)

    state = state_of(tag)
    keys = [column.key for column in columns]
    assert tag == view_tag(iter(columns), created_at_ms=created_at_ms)
    assert state["selectedColumns"] == keys
    assert state["columnOrder"] == ["attributes.`Run Name`", "runDateAndNestInfo", *keys, "duration"]
    assert set(state["columnWidths"]) == set(state["columnOrder"])
    assert all(60 <= width <= 200 for width in state["columnWidths"].values())


def test_a_header_fits_its_column():
    """A longer name has a wider column, up to a limit."""
    names = ("lr", "learning_rate", "heads.common_layers", "x" * 200)

    widths = state_of(view_tag(ViewColumns(params=names), created_at_ms=0))["columnWidths"]

    lr, learning_rate, common_layers, endless = (widths[f"params.`{name}`"] for name in names)
    assert lr < learning_rate < common_layers < endless == 190


def test_a_column_given_twice_is_refused():
    """The error names the column that stands there twice."""
    with pytest.raises(ValueError, match=r"metrics\.`best` stands there more than once"):
        view_tag(ViewColumns(scores=("best", "gap", "best")), created_at_ms=0)


@pytest.mark.parametrize("name", ["", "a`b"])
def test_a_name_that_cannot_be_quoted_is_refused(name):
    """MLflow quotes names in backticks, so that none may hold one."""
    with pytest.raises(ValueError, match="no backtick"):
        Column("params", name)


def test_more_columns_than_a_tag_holds_are_refused():
    """MLflow would refuse the tag long after; the view says so first, with what to do."""
    columns = ViewColumns(params=[f"a_param_of_the_space_{number}" for number in range(300)])

    with pytest.raises(ValueError, match=f"{MAX_TAG_CHARS}: show fewer params"):
        view_tag(columns, created_at_ms=0)


def test_the_link_opens_the_saved_view_in_the_training_workflow():
    """The link names the experiment and the view, and keeps MLflow off its other start page."""
    assert leaderboard_url("http://127.0.0.1:5000/", "7") == (
        "http://127.0.0.1:5000/#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey=leaderboard"
    )


def test_the_fallback_link_needs_no_saved_view():
    """The plain link carries the filter and the order itself."""
    link = urlsplit(fallback_url("http://127.0.0.1:5000", "7"))

    path, _, query = link.fragment.partition("?")
    assert path == "/experiments/7/runs"
    assert parse_qs(query) == {
        "workflowType": ["machine_learning"],
        "searchFilter": ["tags.kind = 'trial' and tags.stage = 'search'"],
        "orderByKey": ["metrics.`best`"],
        "orderByAsc": ["false"],
    }
