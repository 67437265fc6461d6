"""`python -m orchestrator.predict --model exp4@best-dev --data DIR --out DIR`: a stored model's predictions.

Fetches the checkpoint from MLflow (or takes its folder), checks every file, scores the dev set again and
writes the course's prediction files. Test labels are not read: the test set is opened by confirmation alone.
"""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.options import STORED_MODEL, Debug, EncoderPlace, Runs, TrackingUri, one_line_errors

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def predict(
    model: Annotated[str, typer.Option(help=STORED_MODEL)],
    data: Annotated[
        str | None, typer.Option(help="Folder of the course's files, or 'hub'; the bundled sample.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the prediction files go.")] = Path("predictions"),
    runs: Runs = Path("runs"),
    tracking_uri: TrackingUri = None,
    encoder: EncoderPlace = None,
    debug: Debug = False,
) -> None:
    """Write a model's predictions for the dev and test files, and its dev score beside the recorded one."""
    from orchestrator.stored import fetch

    with one_line_errors(debug=debug, mendable=(ValueError, OSError)), tempfile.TemporaryDirectory() as temporary:
        _predict(fetch(model, runs, tracking_uri, Path(temporary)), data, out, encoder, runs)


def _predict(folder: Path, data: str | None, out: Path, encoder: str | None, runs: Path) -> None:
    import torch

    from model.checkpoint import load_model, open_checkpoint
    from model.data import SAMPLE, Split, load_split
    from model.evaluation import Examples
    from model.predictions import prediction_path, write_predictions
    from model.table_file import DataError
    from model.training import tokenized
    from orchestrator.stored import encoder_for

    checkpoint = open_checkpoint(folder)
    manifest = checkpoint.manifest
    torch.set_num_threads(manifest["threads"])
    source = encoder_for(checkpoint, encoder, runs)
    model = load_model(checkpoint, source)
    place = data or str(SAMPLE)
    tokenizer = source.tokenizer()

    def examples(split: Split) -> Examples:
        return tokenized(split, checkpoint.config, tokenizer, source.tokenizer_sha256)

    dev = {task.name: load_split(place, task, "dev") for task in checkpoint.tasks}
    capped = {name: split.capped(manifest["max_dev_examples"]) for name, split in dev.items()}
    evaluation = model.evaluate(checkpoint.tasks, {name: examples(split) for name, split in capped.items()})
    for task in checkpoint.tasks:
        splits = [dev[task.name]]
        try:
            splits.append(load_split(place, task, "test"))
        except DataError as error:
            print(f"no test predictions for {task.name}: {error}", file=sys.stderr)
        for split in splits:
            path = prediction_path(out, task, split.name)
            write_predictions(path, task, split.ids, model.predict(task, examples(split)))
            print(f"{path}  {len(split):,} predictions")
    scores = ", ".join(f"{name} {score!r}" for name, score in evaluation.scores.items())
    parts = ", ".join(f"{len(split):,} of {len(dev[name]):,}" for name, split in capped.items())
    cut = any(len(split) < len(dev[name]) for name, split in capped.items())
    print(f"dev score {evaluation.overall!r} ({scores})" + (f" on {parts} examples, as in the sweep" if cut else ""))
    same_data = {name: split.content_hash() for name, split in dev.items()} == manifest["dev_content"]
    if same_data:
        verdict = "equal" if evaluation.overall == manifest["dev_score"] else "NOT equal"
        print(f"recorded  {manifest['dev_score']!r}, at epoch {manifest['epoch']}: {verdict}")
    else:
        print(f"recorded  {manifest['dev_score']!r}, on other dev data")


if __name__ == "__main__":
    app(prog_name="python -m orchestrator.predict")
