"""`python -m orchestrator.doctor [FILE]`: what a sweep checks before it starts, as a list, and what it would use."""

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from orchestrator.errors import BAD_INPUT, DONE, UNREACHABLE, SweepError
from orchestrator.options import Debug, ProfileChoice, one_line_errors

if TYPE_CHECKING:
    from model.data import Corpus
    from orchestrator.inspection import Inspected
    from orchestrator.request import Request
    from orchestrator.resources import Machine
    from orchestrator.spec import LoadedSweep

PACKAGES = ("torch", "ray", "optuna", "mlflow", "numpy", "pyarrow", "tokenizers", "safetensors")
WIDTH = 14
"""Columns of a check's name."""
T = TypeVar("T")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    name: str
    lines: list[str]
    code: int = DONE
    """The exit code that it asks for."""


@app.command()
def doctor(
    file: Annotated[Path | None, typer.Argument(help="A search space, as search_spaces/exp4.py.")] = None,
    profile: Annotated[ProfileChoice, typer.Option(help="As for a sweep.")] = ProfileChoice.auto,
    data: Annotated[str | None, typer.Option(help="As for a sweep.")] = None,
    encoder: Annotated[str | None, typer.Option(help="As for a sweep.")] = None,
    out: Annotated[Path, typer.Option(help="As for a sweep.")] = Path("runs"),
    tracking_uri: Annotated[str | None, typer.Option(help="As for a sweep.")] = None,
    address: Annotated[str | None, typer.Option(help="As for a sweep.")] = None,
    strict_data: Annotated[bool, typer.Option("--strict-data", help="As for a sweep.")] = False,
    debug: Debug = False,
) -> None:
    """Say what is in order, what is not, and what would be used. Nothing is started, nothing is written.

    Exit codes: 0 all is in order; 2 something is not; 4 nothing but that Ray or MLflow does not answer.
    """
    from orchestrator.request import Request

    request = Request(
        file=file or Path(), name=file.stem if file else "doctor", profile=profile.value, data=data, encoder=encoder,
        settings={}, out=out, tracking_uri=tracking_uri, address=address, strict_data=strict_data,
    )  # fmt: skip
    codes = set()
    with one_line_errors(debug=debug):
        for finding in examine(request, given=file is not None):
            codes.add(finding.code)
            mark = "ok  " if finding.code == DONE else "FAIL"
            for number, line in enumerate(finding.lines):
                start = f"{mark} {finding.name:<{WIDTH}}" if number == 0 else " " * (WIDTH + 5)
                print(f"{start} {line}", flush=True)
    wrong = codes - {DONE}
    raise typer.Exit(DONE if not wrong else UNREACHABLE if wrong == {UNREACHABLE} else BAD_INPUT)


def examine(request: "Request", *, given: bool) -> Iterator[Finding]:
    """Yield what each check finds, in the order in which a sweep makes them; `given` says whether there is a file."""
    from model.encoder_files import find_encoder
    from orchestrator.folders import unusable
    from orchestrator.gpu_memory import too_large_for_the_gpu
    from orchestrator.paths import SweepPaths
    from orchestrator.preflight import inspect_for, wrong_addresses
    from orchestrator.profiles import choose
    from orchestrator.resources import find_machine, visible_gpus
    from orchestrator.spec import load_sweep

    paths = SweepPaths(request.out.resolve(), request.name)
    yield Finding("versions", [_versions()])
    folders = unusable(paths.out, paths.root)
    yield Finding("folders", folders, BAD_INPUT) if folders else Finding("folders", [_room(paths.out)])
    if addresses := wrong_addresses(request):
        yield Finding("addresses", addresses, BAD_INPUT)
        return

    def machine() -> "Machine":
        if request.address is not None:
            from orchestrator import ray_environment

            ray_environment.prepare(paths.out, request.address)
        return find_machine(request.address)

    there: list[Machine] = []
    yield _look("machine", machine, lambda it: [it.where], there)
    gpus = there[0].gpus if there else visible_gpus()
    profile, why = choose(request.profile, gpus)
    yield Finding("profile", [f"{profile.name} ({why})"])
    if not given:
        place, source = request.encoder or profile.encoder, request.data or profile.data
        yield _look("encoder", lambda: find_encoder(place), lambda it: [_encoder(it)])
        yield _look("data", lambda: _corpus(source, strict=request.strict_data), _data)
    else:
        loaded: list[LoadedSweep] = []
        yield _look("search space", lambda: load_sweep(request.file), lambda it: [it.sweep.question], loaded)
        if loaded:
            kept: list[Inspected] = []
            yield _look("sweep", lambda: inspect_for(request, loaded[0], gpus), _sweep, kept)
            if kept and there and (large := too_large_for_the_gpu(kept[0], there[0].gpu_bytes)):
                yield Finding("GPU memory", large, BAD_INPUT)
    yield _look("MLflow", lambda: _tracking(request, paths.out), lambda it: [it])


def _look(name: str, action: Callable[[], T], told: Callable[[T], list[str]], kept: list[T] | None = None) -> Finding:
    """Return what is to be told of what an action finds, which is added to `kept`; or what is wrong."""
    try:
        value = action()
        if kept is not None:
            kept.append(value)
        return Finding(name, told(value))
    except SweepError as error:
        return Finding(name, str(error).split("\n"), error.exit_code)
    except ValueError as error:  # of the encoder, or the data
        return Finding(name, str(error).split("\n"), BAD_INPUT)


def _versions() -> str:
    def known(package: str) -> str:
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            return f"{package} is missing"

    return " · ".join([f"Python {platform.python_version()}", *map(known, PACKAGES)])


def _room(out: Path) -> str:
    from model.files import size_text
    from orchestrator.folders import free_bytes

    return f"{out}: can be written, flushed, locked and renamed in; {size_text(free_bytes(out))} free"


def _encoder(source: Any) -> str:
    shape = source.config
    return f"{source.name}: {shape.num_hidden_layers} layers of {shape.hidden_size}, {source.folder}"


def _corpus(source: str, *, strict: bool) -> "Corpus":
    from model.data import load_corpus
    from model.tasks import TASKS

    return load_corpus(source, list(TASKS.values()), strict=strict)


def _data(corpus: "Corpus") -> list[str]:
    """Return the sizes, and what a person may want to mend."""
    from model.data_report import concerns, report

    sizes = [
        f"{task} {len(splits['train']):,} train, {len(splits['dev']):,} dev" for task, splits in sorted(corpus.items())
    ]
    return [" · ".join(sizes), *concerns(report(corpus), corpus)]


def _sweep(inspected: "Inspected") -> list[str]:
    """Return what would run, on what."""
    sweep = inspected.loaded.sweep
    count = f"{len(sweep.configs)} configs" if sweep.configs else f"{sweep.trials} trials of a space"
    tried = "" if sweep.configs else f", {len(inspected.configs)} points of it tried"
    return [
        f"{count}{tried}; varies: {', '.join(inspected.varies) or 'nothing'}",
        f"encoder {_encoder(inspected.encoder)}",
        f"data {inspected.options.data}",
        *_data(inspected.corpus),
    ]


def _tracking(request: "Request", out: Path) -> str:
    from orchestrator.mlflow_client import require_tracking
    from orchestrator.paths import sqlite_file

    uri = require_tracking(request.tracking_uri, out)
    file = sqlite_file(uri)
    return f"{uri}{' answers' if file is None or file.exists() else ', will be made'}"


if __name__ == "__main__":
    app(prog_name="python -m orchestrator.doctor")
