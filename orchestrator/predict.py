"""`python -m orchestrator.predict --model exp4 --data DIR --out DIR`, or `--text "..."`: what a stored model says.

Fetches the checkpoint from MLflow (or takes its folder), checks every file, and writes the course's prediction files
and scores the dev set again, or answers to the texts given. Test labels are not read: the test set is opened by
confirmation alone.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.options import STORED_MODEL, Debug, EncoderPlace, Runs, TrackingUri, one_line_errors

if TYPE_CHECKING:
    from model.checkpoint import Checkpoint
    from model.encoder_files import EncoderSource
    from orchestrator.answering import Asked

FILES = Path("predictions")
"""Where the prediction files go if nothing else is said."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def predict(
    model: Annotated[str, typer.Option(help=STORED_MODEL)],
    data: Annotated[
        str | None, typer.Option(help="Folder of the course's files, or 'hub'; the bundled sample.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the prediction files go; predictions/ by default.")] = None,
    text: Annotated[list[str] | None, typer.Option(help="A text to answer to; given twice, a pair.")] = None,
    texts: Annotated[
        str | None, typer.Option(metavar="FILE", help="A text a line, or a pair with a tab between; - reads them.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
    runs: Runs = Path("runs"),
    tracking_uri: TrackingUri = None,
    encoder: EncoderPlace = None,
    debug: Debug = False,
) -> None:
    """Write a model's predictions for the dev and test files, and its dev score beside the recorded one.

    With --text or --texts, answer to these instead: a class with its probabilities, yes or no, a value in its range.
    Exit codes: 0 done; 2 bad input; 4 MLflow does not answer.
    """
    with one_line_errors(debug=debug, mendable=(ValueError, OSError)), tempfile.TemporaryDirectory() as temporary:
        from orchestrator.errors import SweepError
        from orchestrator.folders import require_writable
        from orchestrator.stored import fetch, named, require_files, tasks_of
        from orchestrator.texts import answering, given

        asked = given(text or [], texts)
        if asked and (data is not None or out is not None):
            raise SweepError("--text and --texts are answered here; leave out --data and --out, which are for files")
        if not asked:
            require_writable(out or FILES, "--out")
        name = named(model, runs, tracking_uri)
        folder = fetch(name, runs, tracking_uri, Path(temporary))
        tasks = tasks_of(folder)
        if asked:
            fitting = answering(asked, tasks, f"model {name}")
            _answer(_opened(folder, encoder, runs), name, fitting, as_json=as_json)
        else:
            require_files(data, tasks, f"model {name}")
            _write(_opened(folder, encoder, runs), name, data, out or FILES, as_json=as_json)


def _opened(folder: Path, encoder: str | None, runs: Path) -> "tuple[Checkpoint, EncoderSource]":
    """Return the checkpoint, checked, and its encoder; from here on torch computes as it did in training."""
    import torch

    from model.checkpoint import open_checkpoint
    from orchestrator.stored import encoder_for

    checkpoint = open_checkpoint(folder)
    torch.set_num_threads(checkpoint.manifest["threads"])
    return checkpoint, encoder_for(checkpoint, encoder, runs)


def _answer(opened: "tuple[Checkpoint, EncoderSource]", name: str, asked: "Asked", *, as_json: bool) -> None:
    from orchestrator.answering import answers, cut, table
    from orchestrator.console import console, say

    checkpoint, source = opened
    found = answers(checkpoint, source, asked)
    for line in cut(found, checkpoint.config.max_tokens):
        say(f"note: {line}", to=sys.stderr)
    if as_json:
        say(json.dumps({"model": name, "answers": found}, allow_nan=False))
    else:
        say(f"model {name}")
        console().print(table(found, checkpoint.tasks))


def _write(
    opened: "tuple[Checkpoint, EncoderSource]", name: str, data: str | None, out: Path, *, as_json: bool
) -> None:
    from model.encoder_files import MINILM_SHA256
    from orchestrator.console import say
    from orchestrator.prediction_files import write_files
    from orchestrator.show import MINILM_NOTE

    checkpoint, source = opened
    written = write_files(checkpoint, source, data, out)
    minilm = [MINILM_NOTE] if source.weights_sha256 == MINILM_SHA256 else []
    for line in (*written.without_test, *minilm):
        say(f"note: {line}", to=sys.stderr)
    if as_json:
        say(json.dumps({"model": name, **written.to_dict()}, allow_nan=False))
    else:
        say("\n".join([f"model {name}", *written.lines()]))


if __name__ == "__main__":
    app(prog_name="python -m orchestrator.predict")
