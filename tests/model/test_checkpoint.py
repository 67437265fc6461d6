"""Checkpoints: what they hold, that they give the same bits again, and what they refuse."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from model.checkpoint import FORMAT, load_model, load_state, open_checkpoint, predictions_table, save_checkpoint
from model.config import TrialConfig
from model.encoder_files import EncoderSource, find_encoder
from model.evaluation import labels_from
from model.files import DamagedFileError
from model.training import fine_tune

FILES = ("manifest.json", "model.safetensors", "optimizer.safetensors", "predictions.parquet")


class Trained:
    """A tiny run of two epochs, with what is needed to save and to score it."""

    def __init__(self, config: TrialConfig, source: EncoderSource, encoder, data) -> None:
        """Train it."""
        self.config, self.source, self.data = config, source, data
        self.tasks = [entry.task for entry in data]
        self.dev = {entry.task.name: entry.dev for entry in data}
        self.result = list(fine_tune(config, data, encoder))[-1]

    def save(self, folder: Path, **changed) -> Path:
        """Write the run as a checkpoint."""
        values = {
            "config": self.config,
            "tasks": self.tasks,
            "encoder": self.source,
            "state": self.result.state,
            "facts": {"scores": self.result.dev.scores, "overall": self.result.dev.overall},
            "with_optimizer": True,
            "predictions": predictions_table(self.data, self.result.dev),
        }
        save_checkpoint(folder, **values | changed)
        return folder


@pytest.fixture(scope="module")
def run(tiny_source, fresh_encoder, tiny_task_data):
    """Return a trained tiny run."""
    config = TrialConfig(unfrozen_layers=1, max_tokens=32, epochs=2, batch_size=16, learning_rate=1e-3)
    return Trained(config, tiny_source, fresh_encoder(), tiny_task_data(config))


@pytest.fixture(scope="module")
def saved(run, tmp_path_factory):
    """Return a checkpoint of the run that tests only read."""
    return run.save(tmp_path_factory.mktemp("checkpoints") / "epoch-2")


@pytest.fixture
def copy(saved, tmp_path):
    """Return a copy of the checkpoint that a test may spoil."""
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def flip(path, at, bit=1):
    """Change one bit of a file; return what stood there before."""
    content = path.read_bytes()
    path.write_bytes(content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :])
    return content


def test_a_loaded_model_predicts_the_same_bits(run, saved):
    """Outputs and scores of the loaded model are those of the epoch it was saved in."""
    checkpoint = open_checkpoint(saved)

    found = load_model(checkpoint, run.source).evaluate(checkpoint.tasks, run.dev)

    assert found.scores == run.result.dev.scores
    assert found.overall == run.result.dev.overall
    for task, outputs in run.result.dev.outputs.items():
        assert np.array_equal(found.outputs[task], outputs)


@pytest.mark.parametrize(
    "changes",
    [
        {"unfrozen_layers": "all"},
        {"unfrozen_layers": 3},
        {"unfrozen_layers": 0},
        {"unfrozen_layers": 0, "train_pooler": False},
        {"prefix_dropout": True},
        {"prefix_format": "fp32"},
        {"precision": "bf16"},
    ],
    ids=lambda changes: " ".join(f"{field}={value}" for field, value in changes.items()),
)
def test_a_model_of_any_depth_and_precision_predicts_the_same_bits(
    run, fresh_encoder, tiny_task_data, tmp_path, changes
):
    """Whatever was frozen, and whatever it was rounded to, is the same again when the model is loaded."""
    config = replace(run.config, epochs=1, **changes)
    trained = Trained(config, run.source, fresh_encoder(), tiny_task_data(config))
    checkpoint = open_checkpoint(trained.save(tmp_path / "best", with_optimizer=False))

    found = load_model(checkpoint, run.source).evaluate(checkpoint.tasks, trained.dev)

    assert found.scores == trained.result.dev.scores
    assert all(np.array_equal(found.outputs[t], outputs) for t, outputs in trained.result.dev.outputs.items())


def test_a_loaded_model_is_in_eval_mode(run, saved):
    """No dropout is left on: the same input gives the same output twice."""
    stored = load_model(open_checkpoint(saved), run.source)
    task = run.tasks[0]

    first, second = (stored.predict(task, run.dev[task.name]) for _ in range(2))

    assert not any(module.training for part in (stored.model, stored.prefix.below) for module in part.modules())
    assert np.array_equal(first, second)


def test_the_manifest_gives_config_tasks_and_facts_back(run, saved):
    """What was trained, on which encoder, until which epoch and with which scores stands in the folder."""
    checkpoint = open_checkpoint(saved)

    assert checkpoint.config == run.config
    assert checkpoint.tasks == run.tasks
    assert checkpoint.manifest["epoch"] == 2
    assert checkpoint.manifest["scores"] == run.result.dev.scores
    assert checkpoint.manifest["encoder"] == run.source.identity() | {"revision": None}


def test_a_checkpoint_holds_the_trained_tensors_alone(saved):
    """One layer, pooler and heads are in the file; the frozen prefix is the encoder's, named by its hash."""
    names = load_file(saved / "model.safetensors").keys()

    assert {n for n in names if n.startswith("bert.")} == {
        n for n in names if n.startswith(("bert.encoder.layer.2.", "bert.pooler."))
    }
    assert len(names) == 16 + 2 + 2 * 4


def test_the_state_comes_back_bit_for_bit(run, saved):
    """Weights, moments, steps and the epoch are those that were saved."""
    state = load_state(open_checkpoint(saved))

    assert state.epoch == 2
    for found, expected in (
        (state.weights, run.result.state.weights),
        (state.optimizer, run.result.state.optimizer),
    ):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_training_goes_on_from_a_checkpoint(run, saved, fresh_encoder):
    """A third epoch from the folder equals the third of an uninterrupted run, bit for bit."""
    longer = replace(run.config, epochs=3)
    whole = list(fine_tune(longer, run.data, fresh_encoder()))[-1]

    (resumed,) = fine_tune(longer, run.data, fresh_encoder(), resume=load_state(open_checkpoint(saved)))

    assert resumed.dev.scores == whole.dev.scores
    assert all(torch.equal(t, whole.state.weights[n]) for n, t in resumed.state.weights.items())


def test_a_best_dev_checkpoint_has_no_moments(run, tmp_path):
    """Without the optimizer the folder holds a third, and still predicts."""
    folder = run.save(tmp_path / "best", with_optimizer=False, predictions=None)

    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "model.safetensors"]
    assert load_model(open_checkpoint(folder), run.source) is not None


def test_resuming_from_a_checkpoint_without_moments_is_refused_in_words(run, tmp_path):
    """The error is a ValueError that names the folder and what is missing, not one of the file system."""
    folder = run.save(tmp_path / "best", with_optimizer=False)

    with pytest.raises(ValueError, match=r"best.*optimizer"):
        load_state(open_checkpoint(folder))


@pytest.mark.parametrize("name", FILES[1:])
@pytest.mark.parametrize("place", [0.0, 0.001, 0.25, 0.5, 0.75, 0.999_999])
def test_a_flipped_bit_is_refused(copy, name, place):
    """Wherever a stored file is damaged, header or data, the checkpoint is not opened."""
    flip(copy / name, int(place * (copy / name).stat().st_size))

    with pytest.raises(DamagedFileError, match=name):
        open_checkpoint(copy)


def test_a_flipped_bit_anywhere_in_the_manifest_is_refused(run, tmp_path):
    """The manifest is checked like the files it names: no changed config, epoch or score is believed."""
    manifest = run.save(tmp_path / "best", with_optimizer=False, predictions=None) / "manifest.json"
    believed = []
    for at in range(0, manifest.stat().st_size, 3):  # every third: each costs a read of the whole folder
        whole = flip(manifest, at)
        try:
            if json.loads(manifest.read_text(encoding="utf-8")) == json.loads(whole):
                continue  # the last of a float's seventeen digits may be another for the same number
            open_checkpoint(manifest.parent)
        except (DamagedFileError, ValueError):
            pass
        else:
            believed.append(whole[max(0, at - 20) : at + 1])
        finally:
            manifest.write_bytes(whole)

    assert believed == []


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [0, 100])
def test_a_truncated_file_is_refused(copy, name, kept):
    """What a full disk cut short is not opened."""
    (copy / name).write_bytes((copy / name).read_bytes()[:kept])

    with pytest.raises(DamagedFileError, match=name):
        open_checkpoint(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(copy, name):
    """The file that is not there is named."""
    (copy / name).unlink()

    with pytest.raises(DamagedFileError, match=name):
        open_checkpoint(copy)


def test_a_missing_folder_is_refused(tmp_path):
    """A checkpoint that was never written is an error of the same kind."""
    with pytest.raises(DamagedFileError, match="none"):
        open_checkpoint(tmp_path / "none")


def test_another_format_is_refused_with_both_numbers(run, tmp_path):
    """A checkpoint of a later version says so."""
    folder = run.save(tmp_path / "later", facts={"format": FORMAT + 1})

    with pytest.raises(DamagedFileError, match=f"format {FORMAT + 1}; this version reads {FORMAT}"):
        open_checkpoint(folder)


def test_another_encoder_is_refused(saved, tiny_encoder, tmp_path):
    """Trained tensors are not laid over other weights; the message names both encoders."""
    other = Path(shutil.copytree(tiny_encoder, tmp_path / "other"))
    tensors = load_file(other / "model.safetensors")
    tensors["embeddings.LayerNorm.bias"] += 1e-3
    save_file(tensors, other / "model.safetensors")

    with pytest.raises(ValueError, match=r"was trained from encoder 'tiny-encoder0'.*not from 'other'"):
        load_model(open_checkpoint(saved), find_encoder(str(other)))


def test_another_tokenizer_is_refused(saved, tiny_encoder, tmp_path):
    """The same weights with other token ids are another encoder."""
    other = Path(shutil.copytree(tiny_encoder, tmp_path / "other"))
    tokenizer = json.loads((other / "tokenizer.json").read_text(encoding="utf-8"))
    ids = tokenizer["model"]["vocab"]
    ids["film"], ids["plot"] = ids["plot"], ids["film"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")

    with pytest.raises(ValueError, match="other"):
        load_model(open_checkpoint(saved), find_encoder(str(other)))


def test_the_same_encoder_elsewhere_is_accepted(saved, tiny_encoder, tmp_path):
    """The hash decides, not the folder's name."""
    moved = Path(shutil.copytree(tiny_encoder, tmp_path / "moved"))

    stored = load_model(open_checkpoint(saved), find_encoder(str(moved)))

    assert torch.equal(
        stored.prefix.below.embeddings.word_embeddings.weight,
        load_file(tiny_encoder / "model.safetensors")["embeddings.word_embeddings.weight"],
    )


def test_a_failed_write_leaves_the_old_checkpoint(run, copy):
    """An error after the weights were written leaves the old folder as it was, and nothing beside it."""
    before = {path.name: path.read_bytes() for path in copy.iterdir()}

    with pytest.raises(TypeError):
        run.save(copy, facts={"not JSON": object()})

    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]
    assert open_checkpoint(copy).manifest["epoch"] == 2


def test_saving_again_replaces_the_checkpoint(run, copy):
    """The new folder stands in the old one's place, with no file left over from it."""
    run.save(copy, with_optimizer=False, predictions=None, facts={"overall": 0.5})

    assert open_checkpoint(copy).manifest["overall"] == 0.5
    assert sorted(path.name for path in copy.iterdir()) == ["manifest.json", "model.safetensors"]


def test_equal_runs_give_equal_bytes(run, saved, tmp_path):
    """No time, path or order of a set is in a checkpoint."""
    again = run.save(tmp_path / "again")

    assert all((again / name).read_bytes() == (saved / name).read_bytes() for name in FILES)


def test_predictions_are_kept_one_row_an_example(run, saved):
    """Task, id, label, predicted label and the outputs themselves, in the data's order."""
    table = pq.read_table(saved / "predictions.parquet")

    assert table.column_names == ["task", "id", "label", "prediction", "outputs"]
    assert len(table) == 3 * 24
    for entry in run.data:
        rows = [row for row in table.to_pylist() if row["task"] == entry.task.name]
        outputs = run.result.dev.outputs[entry.task.name]
        assert [row["id"] for row in rows] == list(entry.dev.ids)
        assert [row["label"] for row in rows] == entry.dev.labels.tolist()
        assert [row["prediction"] for row in rows] == labels_from(entry.task, outputs).tolist()
        assert np.array_equal(np.array([row["outputs"] for row in rows], dtype=np.float32), outputs)


def test_accuracy_can_be_computed_from_the_predictions(run, saved):
    """The table alone gives the score that was reported."""
    rows = [row for row in pq.read_table(saved / "predictions.parquet").to_pylist() if row["task"] == "sentiment"]

    found = sum(row["label"] == row["prediction"] for row in rows) / len(rows)

    assert found == run.result.dev.scores["sentiment"]
