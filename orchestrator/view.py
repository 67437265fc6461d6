"""The leaderboard as a saved view of MLflow's runs table: which runs, which columns, in what order.

MLflow keeps a shared view of an experiment as an experiment tag that holds the state of its runs table.
That format is not a public API: it was read off MLflow 3.17's interface, a test opens it in a real browser
and fails when it changes (tests/integration/test_browser_view.py), and `fallback_url` needs none of it.

Pure functions of their arguments: no clock, no MLflow, no files.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

DEFAULT_UI = "http://127.0.0.1:5000"
"""Where `make mlflow` serves the default store."""

VIEW_KEY = "leaderboard"
"""What stands in the link; the saved view's own name."""

VIEW_TAG = f"mlflow.sharedViewState.{VIEW_KEY}"
"""The experiment tag that holds the view. An experiment without it has no leaderboard yet."""

TRIALS = "tags.kind = 'trial' and tags.stage = 'search'"
"""Which runs the leaderboard shows: the sweep's own run stays out, and so do those of a confirmation."""

MAX_TAG_CHARS = 20_000
"""MLflow refuses a longer value of an experiment tag (mlflow.utils.validation)."""

# Pixels, looked at in Chromium at 1600 x 900 with a wide font: a header and its values are read in full. A
# metric is shown as the shortest text of its float: 0.708, not 0.7080.
_WIDTHS_PX = {
    "attributes.`Run Name`": 140,
    "runDateAndNestInfo": 146,  # "22 minutes ago"
    "duration": 80,
    "attributes.`Models`": 170,
    "attributes.`Dataset`": 170,
    "metrics.`rank`": 64,
    "tags.`state`": 104,
    "tags.`verdict`": 150,  # "tentatively better"
}
_PADDING_PX = 36  # a cell's two paddings, and some air
_CHAR_PX = 7  # MLflow's bold 13 px header, on average
_NARROWEST_PX = 78  # "-0.0179", or "best" and the arrow of the sorted column
_WIDEST_PX = 190

# Shown by MLflow whatever a view selects. Run name and creation are pinned to the left, in this order; the
# duration can be moved, and goes to the end.
_ALWAYS_FIRST = ("attributes.`Run Name`", "runDateAndNestInfo")
_ALWAYS_LAST = ("duration",)


@dataclass(frozen=True)
class Column:
    """One column of the runs table.

    Metrics sort as numbers, params as text; tags and Models do not sort.
    """

    kind: Literal["metrics", "params", "tags", "attributes"]
    """Where MLflow keeps the value."""

    name: str
    """The metric's, param's or tag's name; of attributes, MLflow's own word: Models, Dataset, Description."""

    def __post_init__(self) -> None:
        """Refuse a name that cannot be quoted."""
        if not self.name or "`" in self.name:
            raise ValueError(f"a column's name is not empty and holds no backtick, got {self.name!r}")

    @property
    def key(self) -> str:
        """The column as MLflow's interface and its order_by write it."""
        return f"{self.kind}.`{self.name}`"


@dataclass(frozen=True, kw_only=True)
class ViewColumns:
    """The leaderboard's columns by what they say; give the names that the runs have, and no others."""

    scores: Sequence[str] = ("rank", "best", "gap")
    """Metrics in front of the params: rank, best, gap, then intervals, seeds and the tasks' scores."""

    verdicts: Sequence[str] = ()
    """Tags between the scores and the params: better, tied or worse."""

    params: Sequence[str] = ()
    """The params that vary."""

    costs: Sequence[str] = ("train_seconds", "trainable_params")
    """Metrics behind the params: expectations, the tasks' scores, times."""

    models: bool = True
    """Whether MLflow's Models column, with the link to the checkpoint, is shown."""

    tags: Sequence[str] = ("state",)
    """Tags at the end: how the trial ended."""

    def ordered(self) -> tuple[Column, ...]:
        """Return the columns from left to right."""
        return (
            *(Column("metrics", name) for name in self.scores),
            *(Column("tags", name) for name in self.verdicts),
            *(Column("params", name) for name in self.params),
            *(Column("metrics", name) for name in self.costs),
            *((Column("attributes", "Models"),) if self.models else ()),
            *(Column("tags", name) for name in self.tags),
        )


def view_tag(columns: ViewColumns | Iterable[Column], *, created_at_ms: int, order_by: str = "best") -> tuple[str, str]:
    """Return the experiment tag, key and value, that makes MLflow show the leaderboard.

    Set it with MlflowClient.set_experiment_tag; setting it again replaces the view. The value depends on the
    arguments alone. Runs of kind trial are shown, the highest of the metric `order_by` first; runs without
    it come last. A column that no run has is left out by MLflow; one given twice, or more columns than a
    tag can hold (about 180), raise ValueError.

    created_at_ms: milliseconds since 1970, shown by MLflow in its list of saved views.
    """
    ordered = columns.ordered() if isinstance(columns, ViewColumns) else tuple(columns)
    keys = [column.key for column in ordered]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"a column stands once in a view, but {', '.join(twice)} stands there more than once")
    widths_px = {key: _WIDTHS_PX[key] for key in (*_ALWAYS_FIRST, *_ALWAYS_LAST)}
    widths_px |= {column.key: _width_px(column) for column in ordered}
    state = {
        "searchFilter": TRIALS,
        "orderByKey": Column("metrics", order_by).key,
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": keys,
        "columnOrder": [*_ALWAYS_FIRST, *keys, *_ALWAYS_LAST],
        "columnWidths": widths_px,
        "runsHiddenMode": "FIRST_10_RUNS",
        "groupBy": None,
    }
    value = _json(
        {
            "name": "Leaderboard",
            "createdAt": created_at_ms,
            "updatedAt": created_at_ms,
            "state": _json(state),
        }
    )
    if len(value) > MAX_TAG_CHARS:
        raise ValueError(
            f"a view of {len(keys)} columns takes {len(value)} characters, and a tag of MLflow holds "
            f"{MAX_TAG_CHARS}: show fewer params"
        )
    return VIEW_TAG, value


def leaderboard_url(ui_base: str, experiment_id: str) -> str:
    """Return the link that opens the saved view, in an experiment that has the tag of `view_tag`.

    The workflow type keeps MLflow from opening its GenAI page, which shows no runs.
    """
    return _runs_url(ui_base, experiment_id, {"viewStateShareKey": VIEW_KEY})


def fallback_url(ui_base: str, experiment_id: str, *, order_by: str = "best") -> str:
    """Return a plain link to the same runs in the same order, with MLflow's own choice of columns.

    It needs no tag, and is what is left should a release of MLflow change its saved views.
    """
    facets = {
        "searchFilter": TRIALS,
        "orderByKey": Column("metrics", order_by).key,
        "orderByAsc": "false",
    }
    return _runs_url(ui_base, experiment_id, facets)


def _runs_url(ui_base: str, experiment_id: str, query: dict[str, str]) -> str:
    """Return a link to an experiment's table of runs."""
    words = urlencode({"workflowType": "machine_learning", **query})
    return f"{ui_base.rstrip('/')}/#/experiments/{experiment_id}/runs?{words}"


def _width_px(column: Column) -> int:
    """Return a width that shows the column's header in full, within limits."""
    fitting = _PADDING_PX + _CHAR_PX * len(column.name)
    return _WIDTHS_PX.get(column.key, max(_NARROWEST_PX, min(_WIDEST_PX, fitting)))


def _json(value: dict[str, object]) -> str:
    """Return compact JSON, in the order of the keys."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
