"""`python -m orchestrator.export MODEL DIR`: a stored model as a folder that transformers loads.

The checkpoint in MLflow holds what was trained; here it is merged into its encoder.
"""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.options import STORED_MODEL, Debug, EncoderPlace, Runs, TrackingUri, one_line_errors

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help=STORED_MODEL)],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.")],
    runs: Runs = Path("runs"),
    tracking_uri: TrackingUri = None,
    encoder: EncoderPlace = None,
    debug: Debug = False,
) -> None:
    """Write a complete model: BERT in the usual names, its tokenizer, and the heads beside it."""
    with one_line_errors(debug=debug, mendable=(ValueError, OSError)):
        _refuse(folder)
        _export(model, folder, runs, tracking_uri, encoder)


def _refuse(folder: Path) -> None:
    """Raise SweepError where the folder cannot be made: before anything heavy is loaded."""
    from orchestrator.errors import SweepError
    from orchestrator.folders import require_writable

    if folder.exists():
        raise SweepError(f"{folder}: exists already; name a folder that does not")
    require_writable(folder, "DIR")


def _export(model: str, folder: Path, runs: Path, tracking_uri: str | None, encoder: str | None) -> None:
    from model.checkpoint import open_checkpoint
    from model.export import export_model
    from model.files import size_text
    from orchestrator.stored import encoder_for, fetch, named

    with tempfile.TemporaryDirectory() as temporary:
        name = named(model, runs, tracking_uri)
        checkpoint = open_checkpoint(fetch(name, runs, tracking_uri, Path(temporary)))
        export_model(checkpoint, encoder_for(checkpoint, encoder, runs), folder)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}  {name}, {size_text(size)}; transformers: BertModel.from_pretrained({str(folder)!r})")


if __name__ == "__main__":
    app(prog_name="python -m orchestrator.export")
