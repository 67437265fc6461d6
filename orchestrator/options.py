"""What several commands have in common: options, and how an error reaches the person."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.errors import BAD_INPUT, SweepError

STORED_MODEL = "NAME@ALIAS or NAME/VERSION in MLflow, or a checkpoint's folder."

Runs = Annotated[Path, typer.Option(help="The sweeps' folder, whose MLflow is asked.")]
TrackingUri = Annotated[str | None, typer.Option(help="Another MLflow server or database.")]
EncoderPlace = Annotated[str | None, typer.Option(help="Where the encoder lies now, if it moved.")]
Debug = Annotated[bool, typer.Option("--debug", help="Tracebacks in place of one-line errors.")]


@contextmanager
def one_line_errors(*, debug: bool) -> Iterator[None]:
    """Turn what a person can mend into a line on standard error and its exit code; `debug` lets it pass."""
    try:
        yield
    except (SweepError, ValueError, OSError) as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(error.exit_code if isinstance(error, SweepError) else BAD_INPUT) from error
