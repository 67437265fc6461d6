"""`python -m orchestrator.export MODEL DIR`: a stored model as a folder that transformers loads.

The checkpoint in MLflow holds what was trained; here it is merged into its encoder.
"""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="NAME@ALIAS or NAME/VERSION in MLflow, or a checkpoint's folder.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.")],
    runs: Annotated[Path, typer.Option(help="The sweeps' folder, whose MLflow is asked.")] = Path("runs"),
    tracking_uri: Annotated[str | None, typer.Option(help="Another MLflow server or database.")] = None,
    encoder: Annotated[str | None, typer.Option(help="Where the encoder lies now, if it moved.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Tracebacks in place of one-line errors.")] = False,
) -> None:
    """Write a complete model: BERT in the usual names, its tokenizer, and the heads beside it."""
    from orchestrator.errors import BAD_INPUT, SweepError

    try:
        _export(model, folder, runs, tracking_uri, encoder)
    except (SweepError, ValueError, OSError) as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(error.exit_code if isinstance(error, SweepError) else BAD_INPUT) from error


def _export(model: str, folder: Path, runs: Path, tracking_uri: str | None, encoder: str | None) -> None:
    from model.checkpoint import open_checkpoint
    from model.export import export_model
    from orchestrator.errors import SweepError
    from orchestrator.stored import encoder_for, fetch

    if folder.exists():
        raise SweepError(f"{folder}: exists already; name a folder that does not")
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint = open_checkpoint(fetch(model, runs, tracking_uri, Path(temporary)))
        export_model(checkpoint, encoder_for(checkpoint, encoder, runs), folder)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}  {size / 1e6:.0f} MB; transformers: BertModel.from_pretrained({str(folder)!r})")


if __name__ == "__main__":
    app(prog_name="python -m orchestrator.export")
