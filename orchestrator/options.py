"""What several commands have in common: options, and how an error reaches the person."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.errors import BAD_INPUT, FAILED, SweepError, is_unusable, unforeseen, unusable_line
from orchestrator.guards import guard_logs, guarded_output

STORED_MODEL = "NAME in MLflow (its champion, else its best-dev), NAME@ALIAS, NAME/VERSION, or a checkpoint's folder."


class ProfileChoice(StrEnum):
    """What decides encoder, data and settings."""

    auto = "auto"
    laptop = "laptop"
    study = "study"


SearchSpace = Annotated[Path | None, typer.Argument(help="A search space, as search_spaces/exp4.py.")]
Examined = Annotated[
    Path | None, typer.Argument(help="A search space, or a cluster file of `ray up`, as ray_cluster.yaml.")
]
Profile = Annotated[
    ProfileChoice, typer.Option(help="laptop: packaged MiniLM, bundled sample. study: bert-base, full data.")
]
Data = Annotated[str | None, typer.Option(help="Folder of the course's files, or 'hub'.")]
Encoder = Annotated[str | None, typer.Option(help="'minilm', a folder, or NAME[@REVISION] on the hub.")]
Trials = Annotated[int | None, typer.Option(min=1, help="Total trials of a space.")]
Epochs = Annotated[int | None, typer.Option(help="Epochs of each trial.")]
MaxTrainExamples = Annotated[int | None, typer.Option(help="Cap on each task's training examples.")]
MaxDevExamples = Annotated[int | None, typer.Option(min=1, help="Cap on each task's dev examples.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Set a config field, as heads.dropout=0.5."),
]
Name = Annotated[str | None, typer.Option(help="The sweep's name; the file's stem by default.")]
New = Annotated[bool, typer.Option("--new", help="Put an earlier sweep of this name aside.")]
Out = Annotated[str, typer.Option(help="Where results go.")]
SweepTracking = Annotated[str | None, typer.Option(help="An MLflow server or database; OUT/mlflow.db by default.")]
StudyUri = Annotated[
    str | None, typer.Option(help="A database for the study, as postgresql+psycopg://HOST/NAME; OUT/NAME/study.db.")
]
Address = Annotated[str | None, typer.Option(help="A Ray head, HOST:PORT or auto; a local Ray by default.")]
GpusPerTrial = Annotated[float | None, typer.Option(min=0, help="1 where there are GPUs.")]
CpusPerTrial = Annotated[float | None, typer.Option(min=0.1, help="The cores shared out by default.")]
Concurrent = Annotated[int | None, typer.Option(min=1, help="At most so many trials at once.")]
WaitForNodes = Annotated[
    float, typer.Option(min=0, help="Wait so many seconds for a cluster's first node that holds a trial.")
]
KeepCheckpoints = Annotated[
    int, typer.Option(min=1, help="Keep the weights of so many best trials, and of every registered one.")
]
PrefixCacheGb = Annotated[
    float, typer.Option(min=0, help="Limit of the frozen layers' cache; 0: compute them at every step.")
]
Seed = Annotated[
    int | None, typer.Option(min=0, max=2**32 - 1, help="Of every trial, and of the sampler; the file's own, and 0.")
]
StrictData = Annotated[
    bool, typer.Option("--strict-data", help="No row may be left out, no dev example be a training example too.")
]
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
            elif isinstance(error, OSError) and is_unusable(error):
                lines, code = [unusable_line(error)], BAD_INPUT
            elif isinstance(error, ImportError):
                lines, code = [f"{error}: the installation is broken; pip install -r requirements.lock again"], FAILED
            else:
                lines, code = [unforeseen(error)], FAILED
            from orchestrator.console import say

            if debug:
                say(traceback.format_exc().rstrip(), to=sys.stderr)
            say("\n".join(line if line.startswith(" ") else f"error: {line}" for line in lines), to=sys.stderr)
            raise typer.Exit(error.exit_code if isinstance(error, SweepError) else code) from error
