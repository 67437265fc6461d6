"""`python -m orchestrator.doctor [FILE]`: what a sweep checks before it starts, as a list, and what it would use.

Given a cluster file of `ray up` (.yaml), what is wrong with that.
"""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from orchestrator import options
from orchestrator.errors import BAD_INPUT, DONE, UNREACHABLE, SweepError
from orchestrator.options import ProfileChoice, one_line_errors

if TYPE_CHECKING:
    from orchestrator.examination import Finding

PACKAGES = ("torch", "ray", "optuna", "mlflow", "numpy", "pyarrow", "tokenizers", "safetensors")
CLUSTER_FILES = {".yaml", ".yml"}
WIDTH = 14
"""Columns of a check's name."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def doctor(
    context: typer.Context,
    file: options.Examined = None,
    profile: options.Profile = ProfileChoice.auto,
    data: options.Data = None,
    encoder: options.Encoder = None,
    trials: options.Trials = None,
    epochs: options.Epochs = None,
    max_train_examples: options.MaxTrainExamples = None,
    max_dev_examples: options.MaxDevExamples = None,
    set_: options.Settings = None,
    name: options.Name = None,
    new: options.New = False,
    out: options.Out = "runs",
    tracking_uri: options.SweepTracking = None,
    study_uri: options.StudyUri = None,
    address: options.Address = None,
    gpus_per_trial: options.GpusPerTrial = None,
    cpus_per_trial: options.CpusPerTrial = None,
    concurrent: options.Concurrent = None,
    keep_checkpoints: options.KeepCheckpoints = 10,
    prefix_cache_gb: options.PrefixCacheGb = 50.0,
    seed: options.Seed = None,
    strict_data: options.StrictData = False,
    debug: options.Debug = False,
) -> None:
    """Say what is in order, what is not, and what would be used. Nothing is started, nothing is written.

    A search space, or a cluster file of `ray up` (.yaml).
    The options are the sweep's own: what it would be refused for stands in the list. Exit codes: 0 all is in order;
    2 something is not; 4 nothing but that Ray or MLflow does not answer.
    """
    if file is not None and file.suffix in CLUSTER_FILES:
        _cluster(file, _given(context) - {"--debug"}, debug=debug)
    with one_line_errors(debug=debug):
        from orchestrator.arguments import request
        from orchestrator.examination import Examined, Finding, examine
        from orchestrator.preflight import FIRST_STAGE, WITHOUT_A_FILE
        from orchestrator.readiness import SECOND_STAGE

        if file is not None and file.suffix != ".py" and file.is_file():
            raise SweepError(
                f"{file}: is neither a search space (.py) nor a cluster file of `ray up` (.yaml, .yml); "
                "doctor reads these two"
            )
        asked = request(
            file=file or Path("doctor"), name=name, out=out, pairs=set_ or (),
            fields={"epochs": epochs, "max_train_examples": max_train_examples, "seed": seed},
            profile=profile.value, data=data, encoder=encoder, trials=trials, max_dev_examples=max_dev_examples,
            seed=seed or 0, new=new, tracking_uri=tracking_uri, study_uri=study_uri,
            address=address, gpus_per_trial=gpus_per_trial,
            cpus_per_trial=cpus_per_trial, concurrent=concurrent, prefix_cache_gb=prefix_cache_gb,
            keep_checkpoints=keep_checkpoints, strict_data=strict_data, wait_for_nodes=0.0,
        )  # fmt: skip
        checks = (*(FIRST_STAGE if file is not None else WITHOUT_A_FILE), *SECOND_STAGE)
        _tell(Finding("versions", [_versions()]))
        codes = set()
        for finding in examine(Examined(request=asked), checks):
            codes.add(finding.code)
            _tell(finding)
    wrong = codes - {DONE}
    raise typer.Exit(DONE if not wrong else UNREACHABLE if wrong == {UNREACHABLE} else BAD_INPUT)


def _given(context: typer.Context) -> set[str]:
    """Return the options that stand on the command line."""
    return {
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name != "file"
        and parameter.name is not None
        and (source := context.get_parameter_source(parameter.name)) is not None
        and source.name == "COMMANDLINE"
    }


def _cluster(file: Path, others: set[str], *, debug: bool) -> NoReturn:
    """Say what is wrong with a cluster file; nothing is asked of a cloud. Other options are a search space's."""
    with one_line_errors(debug=debug):
        from orchestrator.cluster_examination import examine_cluster

        if others:
            raise SweepError(
                f"{', '.join(sorted(others))}: for a search space alone, and {file} is a cluster file, which is "
                "checked by itself; give it without"
            )
        codes = set()
        for finding in examine_cluster(file):
            codes.add(finding.code)
            _tell(finding)
    raise typer.Exit(max(codes))


def _tell(finding: "Finding") -> None:
    mark = "note" if finding.note else "ok  " if finding.code == DONE else "FAIL"
    for number, line in enumerate(finding.lines):
        start = f"{mark} {finding.name:<{WIDTH}}" if number == 0 else " " * (WIDTH + 5)
        print(f"{start} {line}", flush=True)


def _versions() -> str:
    def known(package: str) -> str:
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            return f"{package} is missing"

    return " · ".join([f"Python {platform.python_version()}", *map(known, PACKAGES)])


if __name__ == "__main__":
    app(prog_name="python -m orchestrator.doctor")
