"""`python -m orchestrator.sweep FILE`: the command line. Nothing heavy is imported before it is parsed."""

from orchestrator.signals import exit_at_once

if __name__ == "__main__":
    exit_at_once()  # from now on, for what follows takes a while on a busy machine

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer

from orchestrator import options
from orchestrator.options import ProfileChoice, one_line_errors

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def sweep(
    file: options.SearchSpace = None,
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
    wait_for_nodes: options.WaitForNodes = 600.0,
    keep_checkpoints: options.KeepCheckpoints = 10,
    prefix_cache_gb: options.PrefixCacheGb = 50.0,
    hang_after: Annotated[
        float, typer.Option(min=1, help="Give up a trial's process after so many seconds without a step.")
    ] = 600.0,
    seed: options.Seed = None,
    strict_data: options.StrictData = False,
    debug: options.Debug = False,
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
        from orchestrator.arguments import request
        from orchestrator.examination import Examined, examine, require
        from orchestrator.preflight import FIRST_STAGE

        asked = request(
            file=path, name=name, out=out, pairs=set_ or (),
            fields={"epochs": epochs, "max_train_examples": max_train_examples, "seed": seed},
            profile=profile.value, data=data, encoder=encoder, trials=trials, max_dev_examples=max_dev_examples,
            seed=seed or 0, new=new, tracking_uri=tracking_uri, study_uri=study_uri,
            address=address, gpus_per_trial=gpus_per_trial,
            cpus_per_trial=cpus_per_trial, concurrent=concurrent, prefix_cache_gb=prefix_cache_gb,
            wait_for_nodes=wait_for_nodes,
            hang_after=hang_after, keep_checkpoints=keep_checkpoints, strict_data=strict_data, dry_run=dry_run,
            local=local, as_json=as_json, quiet=quiet,
        )  # fmt: skip
        examined = Examined(request=asked)
        require(examine(examined, FIRST_STAGE))
        from orchestrator.session import run  # torch, Ray, MLflow: seconds, and only for what is in order

        raise typer.Exit(run(examined))


def _search_space(file: Path | None) -> Path:
    """Return the file; without one, raise an error that lists the search spaces with their questions."""
    from orchestrator.errors import SweepError

    if file is not None and file.suffix == ".py" and file.is_file():
        return file
    from orchestrator.spec import question_of

    folder = Path(__file__).parent.parent / "search_spaces"
    known = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    close = get_close_matches(file.stem if file is not None else "", [path.stem for path in known], n=1, cutoff=0.8)
    hint = f" (did you mean {_shown(folder / f'{close[0]}.py')}?)" if close else ""
    what = "no search space given" if file is None else f"{file}: no such search-space file{hint}"
    width = 2 + max(len(_shown(path)) for path in known)
    listed = "\n".join(f"  {_shown(path).ljust(width)}{question_of(path)}" for path in known)
    raise SweepError(f"{what}; there are:\n{listed}")


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


if __name__ == "__main__":
    app(prog_name="python -m orchestrator.sweep")
