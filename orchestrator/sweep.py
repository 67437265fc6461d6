"""`python -m orchestrator.sweep FILE`: the command line. Nothing heavy is imported before it is parsed."""

from orchestrator.signals import exit_at_once

if __name__ == "__main__":
    exit_at_once()  # from now on, for what follows takes a while on a busy machine

from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.options import Debug, ProfileChoice, one_line_errors

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


PYTHON_CONSTANTS = {"True": True, "False": False, "None": None}
"""As a search-space file has them."""


@app.command()
def sweep(
    file: Annotated[Path | None, typer.Argument(help="A search space, as search_spaces/exp4.py.")] = None,
    profile: Annotated[
        ProfileChoice,
        typer.Option(help="laptop: packaged MiniLM, bundled sample. study: bert-base, full data."),
    ] = ProfileChoice.auto,
    data: Annotated[str | None, typer.Option(help="Folder of the course's files, or 'hub'.")] = None,
    encoder: Annotated[str | None, typer.Option(help="'minilm', a folder, or NAME[@REVISION] on the hub.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Total trials of a space.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of each trial.")] = None,
    max_train_examples: Annotated[int | None, typer.Option(help="Cap on each task's training examples.")] = None,
    max_dev_examples: Annotated[int | None, typer.Option(min=1, help="Cap on each task's dev examples.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Set a config field, as heads.dropout=0.5."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The sweep's name; the file's stem by default.")] = None,
    new: Annotated[bool, typer.Option("--new", help="Put an earlier sweep of this name aside.")] = False,
    out: Annotated[Path, typer.Option(help="Where results go.")] = Path("runs"),
    tracking_uri: Annotated[
        str | None, typer.Option(help="An MLflow server or database; OUT/mlflow.db by default.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="A Ray head, HOST:PORT or auto; a local Ray by default.")] = None,
    gpus_per_trial: Annotated[float | None, typer.Option(min=0, help="1 where there are GPUs.")] = None,
    cpus_per_trial: Annotated[float | None, typer.Option(min=0.1, help="The cores shared out by default.")] = None,
    concurrent: Annotated[int | None, typer.Option(min=1, help="At most so many trials at once.")] = None,
    keep_checkpoints: Annotated[
        int, typer.Option(min=1, help="Keep the weights of so many best trials, and of every registered one.")
    ] = 10,
    prefix_cache_gb: Annotated[
        float, typer.Option(min=0, help="Limit of the frozen layers' cache; 0: compute them at every step.")
    ] = 50.0,
    hang_after: Annotated[
        float, typer.Option(min=1, help="Give up a trial's process after so many seconds without a step.")
    ] = 600.0,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**32 - 1, help="Of every trial, and of the sampler; the file's own, and 0."),
    ] = None,
    strict_data: Annotated[
        bool, typer.Option("--strict-data", help="No row may be left out, no dev example be a training example too.")
    ] = False,
    debug: Debug = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would run; start nothing.")] = False,
    local: Annotated[bool, typer.Option("--local", help="The first trial in this process, for a debugger.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object an event on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors alone.")] = False,
) -> None:
    """Fine-tune every config of a search space and rank them. Running the same command again continues.

    Exit codes: 0 done; 1 failed; 2 bad usage, space or data; 3 done, with failed trials; 4 Ray or MLflow
    unreachable; 5 the sweep is running elsewhere; 130 interrupted.
    """
    with one_line_errors(debug=debug):
        path = _search_space(file)
        values = {"epochs": epochs, "max_train_examples": max_train_examples, "seed": seed}
        settings = {key: value for key, value in values.items() if value is not None} | _settings(set_ or [])
        from orchestrator.preflight import preflight
        from orchestrator.request import Request

        request = Request(
            file=path, name=_name(name or path.stem), profile=profile.value, data=data, encoder=encoder,
            settings=settings, trials=trials, max_dev_examples=max_dev_examples, seed=seed or 0, new=new, out=_out(out),
            tracking_uri=tracking_uri, address=address, gpus_per_trial=gpus_per_trial,
            cpus_per_trial=cpus_per_trial, concurrent=concurrent,
            prefix_cache_gb=prefix_cache_gb, hang_after=hang_after, keep_checkpoints=keep_checkpoints,
            strict_data=strict_data, dry_run=dry_run, local=local, as_json=as_json, quiet=quiet,
        )  # fmt: skip
        checked = preflight(request)
        from orchestrator.session import run  # torch, Ray, MLflow: seconds, and only for what is in order

        raise typer.Exit(run(checked))


def _search_space(file: Path | None) -> Path:
    """Return the file; without one, raise an error that lists the search spaces with their questions."""
    from orchestrator.errors import SweepError

    if file is not None and file.suffix == ".py" and file.is_file():
        return file
    from orchestrator.spec import question_of

    folder = Path(__file__).parent.parent / "search_spaces"
    known = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    near_by = folder / f"{file.stem if file is not None else ''}.py"
    hint = f" (did you mean {_shown(near_by)}?)" if near_by in known else ""
    what = "no search space given" if file is None else f"{file}: no such search-space file{hint}"
    listed = "\n".join(f"  {_shown(path).ljust(24)}{question_of(path)}" for path in known)
    raise SweepError(f"{what}; there are:\n{listed}")


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _name(name: str) -> str:
    from orchestrator.errors import SweepError
    from orchestrator.paths import NAME_PATTERN, RESERVED

    if not NAME_PATTERN.fullmatch(name):
        raise SweepError(f"--name {name!r}: expected 1 to 64 of A-Z a-z 0-9 . _ -, not starting with . or -")
    if name in RESERVED:
        raise SweepError(f"--name {name!r}: OUT has something of its own of that name; take another")
    return name


def _out(out: Path) -> Path:
    from orchestrator.errors import SweepError

    if set(str(out.resolve())) & set("?%"):
        raise SweepError(f"--out {str(out)!r}: a database's URI cannot hold its ? or %; name another folder")
    return out


def _settings(pairs: list[str]) -> dict[str, Any]:
    """Return FIELD=VALUE pairs with values read as JSON, or as Python writes it, where they are that; else as text."""
    import json

    from orchestrator.errors import SweepError

    settings: dict[str, Any] = {}
    for pair in pairs:
        field, equals, text = pair.partition("=")
        if not equals or not field:
            raise SweepError(f"--set {pair!r}: expected FIELD=VALUE, as in --set learning_rate=1e-4")
        if field in settings:
            raise SweepError(f"--set {field} is given twice")
        try:
            settings[field] = json.loads(text)
        except ValueError:
            settings[field] = PYTHON_CONSTANTS.get(text, text)
    return settings


if __name__ == "__main__":
    app(prog_name="python -m orchestrator.sweep")
