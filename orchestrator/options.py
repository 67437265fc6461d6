"""What several commands have in common: options, and how an error reaches the person."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.errors import BAD_INPUT, FAILED, SweepError
from orchestrator.redaction import guard_logs, guarded_output

STORED_MODEL = "NAME@ALIAS or NAME/VERSION in MLflow, or a checkpoint's folder."


class ProfileChoice(StrEnum):
    """What decides encoder, data and settings."""

    auto = "auto"
    laptop = "laptop"
    study = "study"


Runs = Annotated[Path, typer.Option(help="The sweeps' folder, whose MLflow is asked.")]
TrackingUri = Annotated[str | None, typer.Option(help="Another MLflow server or database.")]
EncoderPlace = Annotated[str | None, typer.Option(help="Where the encoder lies now, if it moved.")]
Debug = Annotated[bool, typer.Option("--debug", help="Tracebacks in place of one-line errors.")]


@contextmanager
def one_line_errors(*, debug: bool, mendable: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn an error into lines on standard error and an exit code, without secrets; `debug` shows the traceback too.

    SweepError and what is `mendable` is for the person, and stands there as it is; of any other error, its type too.
    """
    guard_logs()
    with guarded_output():
        try:
            yield
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if isinstance(error, (SweepError, *mendable)):
                lines, code = str(error).split("\n"), BAD_INPUT
            else:
                lines, code = [f"{type(error).__name__}: {error}; --debug shows the traceback"], FAILED
            from orchestrator.console import say

            if debug:
                say(traceback.format_exc().rstrip(), to=sys.stderr)
            say("\n".join(line if line.startswith(" ") else f"error: {line}" for line in lines), to=sys.stderr)
            raise typer.Exit(error.exit_code if isinstance(error, SweepError) else code) from error
