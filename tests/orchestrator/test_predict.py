"""A stored model asked again: prediction files, raw texts, and one clear line for what it cannot answer."""

import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from model.answers import answer
from model.files import read_manifest, write_manifest
from model.tasks import TASKS
from orchestrator import predict
from orchestrator.errors import SweepError
from orchestrator.paths import SweepPaths
from orchestrator.stored import named
from orchestrator.trial import Execution, run_trial
from tests.commands import ROOT, invoke, one_error, run
from tests.environment import own_environment

EXECUTION = Execution(10**9, report_s=3600)
FILES = {f"{task}-{split}-output.csv" for task in ("sst", "para", "sts") for split in ("dev", "test")}
CONFIRM = "a champion is given by confirmation: python -m orchestrator.confirm"
TEST_FILES = {"ids-sst-test.csv": "sentiment", "quora-test.csv": "is_duplicate", "sts-test.csv": "similarity"}


@pytest.fixture(autouse=True)
def _own_environment():
    """Undo what a command sets in the environment for the processes that it starts."""
    with own_environment():
        yield


@pytest.fixture(scope="module")
def train(tiny_plan, tiny_config, tmp_path_factory):
    """Return a function from tasks to the best-dev checkpoint of a trial on them, and its dev score."""

    def trained(*tasks):
        paths = SweepPaths(tmp_path_factory.mktemp("trained"), "tiny")
        paths.trial(0).new_attempt()
        config = replace(tiny_config, tasks=tasks)
        *_, last = run_trial(tiny_plan(config), paths, 0, config, 1, EXECUTION)
        return paths.trial(0).root / last["best"]["checkpoint"], last["best"]["dev_score"]

    return trained


@pytest.fixture(scope="module")
def trained(train):
    """Return a model of all three tasks, and its dev score."""
    return train("sentiment", "paraphrase", "similarity")


@pytest.fixture(scope="module")
def pairs_alone(train):
    """Return a model that knows nothing of single sentences."""
    return train("paraphrase", "similarity")[0]


@pytest.fixture(scope="module")
def singles_alone(train):
    """Return a model that knows nothing of pairs."""
    return train("sentiment")[0]


@pytest.fixture
def own_data(tiny_data, tmp_path):
    """Return a copy of the tiny data that a test may spoil."""
    return Path(shutil.copytree(tiny_data, tmp_path / "own-data"))


def asked(folder, *arguments):
    """Return the answers to texts."""
    result = invoke(predict.app, "--model", folder, "--json", *arguments)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)["answers"]


def rewritten(path, change):
    """Change each row of a tab-separated file, its header given too."""
    header, *rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    lines = ["\t".join(change(header, row)) for row in [header, *rows]]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


# --- prediction files ---


def test_a_stored_model_predicts_and_scores_as_it_did(trained, tiny_data, tmp_path):
    """The prediction files are there in the course's format, and the dev score is equal to the last bit."""
    folder, score = trained

    result = invoke(predict.app, "--model", folder, "--data", tiny_data, "--out", tmp_path / "predictions")

    assert (result.exit_code, result.stderr) == (0, "")
    assert f"dev score {score!r}" in result.stdout
    assert f"recorded  {score!r}" in result.stdout
    assert result.stdout.endswith(": equal\n")
    written = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "predictions").iterdir()}
    assert written.keys() == FILES
    assert all(len(text.splitlines()) == 25 for text in written.values())


def test_json_tells_the_same_of_the_files(trained, tiny_data, tmp_path):
    """One object on standard output: the files with their counts, the scores, and whether they are the recorded."""
    folder, score = trained

    result = invoke(predict.app, "--model", folder, "--data", tiny_data, "--out", tmp_path / "there", "--json")

    said = json.loads(result.stdout)
    assert {Path(entry["file"]).name for entry in said["files"]} == FILES
    assert {entry["predictions"] for entry in said["files"]} == {24}
    assert (said["dev_score"], said["recorded_dev_score"], said["equal"]) == (score, score, True)


def test_other_dev_data_are_said_to_be_others(trained, own_data, tmp_path):
    """A score on changed data is not set against the recorded one."""
    path = own_data / "sts-dev.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("\t5.0\n", "\t4.0\n", 1), encoding="utf-8")

    result = invoke(predict.app, "--model", trained[0], "--data", own_data, "--out", tmp_path / "predictions")

    assert result.exit_code == 0
    assert result.stdout.endswith("on other dev data\n")


@pytest.mark.parametrize("labels", ["wrong", "empty", "no column"])
def test_the_labels_of_test_files_are_never_read(trained, tiny_data, own_data, tmp_path, labels):
    """Impossible ones, none, or no column at all: the same predictions to the byte, of every row, and no test score."""
    for name, column in TEST_FILES.items():

        def spoilt(header, row, column=column):
            place = header.index(column)
            if labels == "no column":
                return row[:place] + row[place + 1 :]
            return row if row is header else [*row[:place], "secret" if labels == "wrong" else "", *row[place + 1 :]]

        rewritten(own_data / name, spoilt)

    first = invoke(predict.app, "--model", trained[0], "--data", tiny_data, "--out", tmp_path / "whole")
    second = invoke(predict.app, "--model", trained[0], "--data", own_data, "--out", tmp_path / "spoilt")

    assert (second.exit_code, second.stderr) == (0, "")
    for name in FILES:
        assert (tmp_path / "spoilt" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert second.stdout == first.stdout.replace("whole", "spoilt")
    assert second.stdout.count("score") == 1


def test_a_task_without_a_test_file_is_told_and_the_others_are_written(trained, own_data, tmp_path):
    """What is there is predicted; the line goes to standard error."""
    (own_data / "sts-test.csv").unlink()

    result = invoke(predict.app, "--model", trained[0], "--data", own_data, "--out", tmp_path / "predictions")

    assert result.exit_code == 0
    assert result.stderr.startswith("note: no test predictions for similarity: ")
    assert {path.name for path in (tmp_path / "predictions").iterdir()} == FILES - {"sts-test-output.csv"}


def test_a_damaged_model_predicts_nothing(trained, tiny_data, tmp_path):
    """Exit code 2, the file that was changed, and no prediction."""
    folder = Path(shutil.copytree(trained[0], tmp_path / "damaged"))
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")

    result = invoke(predict.app, "--model", folder, "--data", tiny_data, "--out", tmp_path / "predictions")

    assert "the file was changed" in one_error(result)
    assert not (tmp_path / "predictions").exists()


def test_data_without_one_of_the_models_tasks_are_refused(trained, own_data, tmp_path):
    """The task, its file and what the model was trained on, in one line; nothing is written."""
    (own_data / "quora-dev.csv").unlink()

    result = invoke(predict.app, "--model", trained[0], "--data", own_data, "--out", tmp_path / "predictions")

    assert one_error(result) == (
        f"{own_data}: has no dev file of paraphrase (quora-dev.csv); model {trained[0]} was trained on sentiment, "
        "paraphrase, similarity: give its data with --data DIR"
    )
    assert not (tmp_path / "predictions").exists()


def test_a_folder_that_is_not_there_is_one_line(trained, tmp_path):
    """The folder, and what was looked for in it."""
    error = one_error(invoke(predict.app, "--model", trained[0], "--data", tmp_path / "nowhere"))

    assert error == f"{tmp_path}/nowhere: no such data folder; expected ids-sst-dev.csv in it"


# --- raw texts ---


def test_one_text_is_answered_by_the_tasks_of_one_sentence(trained):
    """A class, the likeliest of all, with probabilities that add up to 1."""
    (said,) = asked(trained[0], "--text", "the film is great , it shows a song .")

    assert (said["task"], said["texts"]) == ("sentiment", ["the film is great , it shows a song ."])
    assert list(said["probabilities"]) == ["0", "1", "2", "3", "4"]
    assert math.fsum(said["probabilities"].values()) == pytest.approx(1)
    assert str(said["prediction"]) == max(said["probabilities"], key=said["probabilities"].get)
    assert said["tokens"] == said["tokens_read"]


def test_two_texts_are_answered_by_the_tasks_of_pairs(trained):
    """Duplicate or not, with a probability; and a similarity within 0 to 5."""
    paraphrase, similarity = asked(trained[0], "--text", "how is the plot ?", "--text", "why is the plot ?")

    assert (paraphrase["task"], similarity["task"]) == ("paraphrase", "similarity")
    assert paraphrase["prediction"] == (paraphrase["probabilities"]["1"] > 0.5)
    assert 0 <= similarity["prediction"] <= 5


def test_texts_of_a_data_file_get_the_answers_of_its_prediction_file(trained, tiny_data, tmp_path):
    """One at a time or with its whole file, a text has one answer."""
    invoke(predict.app, "--model", trained[0], "--data", tiny_data, "--out", tmp_path / "predictions")
    texts, rows = tmp_path / "texts", (tiny_data / "sts-dev.csv").read_text(encoding="utf-8").splitlines()[1:]
    texts.write_text("".join("\t".join(row.split("\t")[2:4]) + "\n" for row in rows), encoding="utf-8")

    said = [entry for entry in asked(trained[0], "--texts", texts) if entry["task"] == "similarity"]

    written = (tmp_path / "predictions" / "sts-dev-output.csv").read_text(encoding="utf-8").splitlines()[1:]
    values = [float(line.split(",")[1]) for line in written]
    assert [entry["output"] for entry in said] == pytest.approx(values, abs=1e-5)


def test_the_answers_are_a_table_for_people(trained):
    """A row an answer: yes or no for a duplicate, the range beside a value."""
    result = invoke(predict.app, "--model", trained[0], "--text", "how is the plot ?", "--text", "why is it ?")

    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[:2] == [f"model {trained[0]}", "text task answer probabilities"]
    pair = "how is the plot ? | why is it ?"
    assert lines[2].startswith((f"{pair} paraphrase yes no 0.", f"{pair} paraphrase no no 0."))
    assert lines[3].startswith(f"{pair} similarity ")
    assert lines[3].endswith(" of 0..5")


def test_a_text_longer_than_the_model_reads_is_cut_and_said_to_be(trained):
    """How long it is, and how much of it was read; the answer is that to its beginning."""
    long = "the film is great . " * 50
    result = invoke(predict.app, "--model", trained[0], "--json", "--text", long)

    assert "has 252 tokens, and sentiment was answered from 32: this model reads 32 at a time" in result.stderr
    (said,) = json.loads(result.stdout)["answers"]
    (beginning,) = asked(trained[0], "--text", "the film is great . " * 6)
    assert said["probabilities"] == pytest.approx(beginning["probabilities"], abs=1e-6)


@pytest.mark.parametrize(
    "text", ["a \x1b[31mred\x07 film", "a\r\nfilm", "\u202egreat film", "[bold]film[/bold] :boom:"]
)
def test_control_characters_and_markup_are_harmless(trained, text):
    """They are answered to like other text, and written out where they are shown."""
    result = invoke(predict.app, "--model", trained[0], "--text", text)

    assert result.exit_code == 0, result.stderr
    assert all(character.isprintable() or character == "\n" for character in result.stdout)
    assert ascii(text)[1:-1].encode().decode("unicode_escape") == text
    assert len(result.stdout.splitlines()) == 3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--text", ""], "--text '': is empty; expected a text"),
        (["--text", " \t\n"], r"--text ' \t\n': is empty; expected a text"),
        (["--text", "\x00\x1b"], r"--text '\x00\x1b': is empty; expected a text"),
        (["--text", "a", "--text", ""], "--text '': is empty; expected a text"),
        (["--text", "\udcff film"], r"--text '\udcff film': is not UTF-8"),
        (["--text", "a" * 100_001], "--text: a text of 100,001 characters; at most 100,000"),
        (["--text", "a", "--text", "b", "--text", "c"], "--text is given 3 times; once for a text, twice for a pair, "),
        (["--text", "a", "--texts", "b"], "--text and --texts: give one of them"),
        (["--text", "a", "--data", "b"], "--text and --texts are answered here; leave out --data and --out"),
        (["--texts", "/nowhere/texts"], "--texts /nowhere/texts: cannot be read (No such file or directory)"),
    ],
    ids=range(10),
)
def test_what_no_model_can_answer_is_told_before_a_model_is_looked_for(tmp_path, given, said):
    """One line, exit code 2: that there is no such model either is not come to."""
    error = one_error(invoke(predict.app, "--model", "exp4", "--runs", tmp_path, *given))

    assert error.startswith(said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"good\n\nbad\n", "{file}:2 '': is empty; expected a text"),
        (b"a\tb\tc\n", "{file}:1: 3 texts with tabs between them; expected one, or the two of a pair"),
        (b"fine\nf\xfcr\n", "--texts {file}: byte 0xFC is not UTF-8"),
        (b"a\n" * 10_001, "--texts {file}: 10,001 lines; at most 10,000, more is a data set (--data)"),
    ],
    ids=["blank line", "three", "not UTF-8", "too many"],
)
def test_a_bad_file_of_texts_is_one_line(tmp_path, content, said):
    """File and line, what is there, what was expected."""
    path = tmp_path / "texts"
    path.write_bytes(content)

    assert one_error(invoke(predict.app, "--model", "exp4", "--texts", path)) == said.format(file=path)


def test_a_file_may_have_texts_and_pairs_and_is_answered_in_its_order(trained, tmp_path):
    """Each line by the tasks that take so many texts."""
    path = tmp_path / "texts"
    path.write_bytes(b"a film\nhow ?\twhy ?\r\na plot\n")

    found = [(entry["texts"], entry["task"]) for entry in asked(trained[0], "--texts", path)]

    assert found == [
        (["a film"], "sentiment"), (["how ?", "why ?"], "paraphrase"), (["how ?", "why ?"], "similarity"),
        (["a plot"], "sentiment"),
    ]  # fmt: skip


def test_one_text_for_a_model_of_pairs_is_one_line(pairs_alone):
    """What it knows, and how to ask."""
    error = one_error(invoke(predict.app, "--model", pairs_alone, "--text", "a film"))

    assert error == (
        f"--text: one text, and all that model {pairs_alone} knows takes two (paraphrase, similarity); "
        "give --text twice"
    )


def test_two_texts_for_a_model_of_single_sentences_are_one_line(singles_alone):
    """What it knows, and how to ask."""
    error = one_error(invoke(predict.app, "--model", singles_alone, "--text", "a film", "--text", "a plot"))

    assert (
        error == f"--text: two texts, and all that model {singles_alone} knows takes one (sentiment); give --text once"
    )


def test_a_text_without_a_token_is_one_line(trained):
    """The tokenizer takes it for nothing, so that there is nothing to answer to."""
    error = one_error(invoke(predict.app, "--model", trained[0], "--text", "\u0301"))

    assert error.endswith(": holds nothing that the model's tokenizer knows of")


def test_what_does_not_fit_is_told_without_torch(pairs_alone):
    """In a process of its own: the line comes before anything heavy is loaded."""
    program = (
        "import sys; from orchestrator.predict import app\n"
        "try: app(sys.argv[1:])\n"
        "finally: print({'torch', 'mlflow', 'ray'} & set(sys.modules))"
    )
    line = [sys.executable, "-c", program, "--model", str(pairs_alone), "--text", "a film"]

    result = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (result.returncode, result.stdout) == (2, "set()\n")


def test_weights_that_are_no_numbers_give_no_answer(trained, tmp_path):
    """A model whose tensors hold a NaN is one line, not a NaN in the table."""
    folder = Path(shutil.copytree(trained[0], tmp_path / "spoilt"))
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor * float("nan") for name, tensor in tensors.items()}, folder / "model.safetensors")
    facts = {
        key: value for key, value in read_manifest(folder, contents=False).items() if key not in ("files", "digest")
    }
    write_manifest(folder, facts)

    error = one_error(invoke(predict.app, "--model", folder, "--text", "a film"))

    assert error.startswith("sentiment: the model's output is [nan, ")


@pytest.mark.parametrize(
    ("task", "outputs", "prediction"),
    [
        ("sentiment", [0, 0, 0, 0, 900], 4),
        ("paraphrase", [0.0], 0),
        ("paraphrase", [1e-30], 1),
        ("paraphrase", [-1e4], 0),
        ("similarity", [5.5], 5.0),
        ("similarity", [-3.0], 0.0),
        ("similarity", [2.5], 2.5),
    ],
)
def test_an_answer_is_within_the_tasks_range(task, outputs, prediction):
    """Whatever the outputs: large logits, a logit of nothing, a value beyond the range's ends."""
    said = answer(TASKS[task], np.array(outputs, np.float32))

    assert said["prediction"] == prediction
    assert said.get("output", 0) in (0, *outputs)
    assert math.fsum(said.get("probabilities", {"": 1}).values()) == pytest.approx(1)


# --- which model ---


@pytest.mark.slow
def test_a_missing_model_is_one_line(tmp_path):
    """Exit code 2; where was looked, and which option says where else to."""
    result = run("orchestrator.predict", "--model", "exp4@best-dev", "--runs", tmp_path, "--out", tmp_path / "out")

    error = one_error(result)
    assert error == f"model 'exp4@best-dev': no such folder, and no MLflow store at {tmp_path}/mlflow.db; see --runs"
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def registered(tmp_path_factory, trained):
    """Return OUT with an MLflow store that has models with both aliases, with one, and with none."""
    from orchestrator.mlflow_client import connect
    from orchestrator.paths import tracking_uri

    out = tmp_path_factory.mktemp("out")
    client = connect(tracking_uri(out))
    for name, aliases in (("both", ["best-dev", "champion"]), ("searched", ["best-dev"]), ("bare", [])):
        client.create_registered_model(name)
        version = client.create_model_version(name, trained[0].as_uri())
        for alias in aliases:
            client.set_registered_model_alias(name, alias, version.version)
    return out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ("both", "both@champion"),
        ("searched", "searched@best-dev"),
        ("both@best-dev", "both@best-dev"),
        ("bare/1", "bare/1"),
    ],
)
def test_a_name_alone_is_the_champion_or_else_the_best_on_dev(registered, given, whole):
    """A whole name stays what it is."""
    assert named(given, registered, None) == whole


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("searched@champion", f"has no alias 'champion'; it has best-dev; {CONFIRM} searched"),
        ("both@bset-dev", "has no alias 'bset-dev'; it has best-dev and champion"),
        ("bare", "has no alias champion or best-dev; it has none"),
    ],
)  # fmt: skip
def test_an_alias_that_is_not_there_is_one_line_with_those_that_are(registered, given, said):
    """And how a champion is made."""
    with pytest.raises(SweepError) as caught:
        named(given, registered, None)

    where = f"model {given.partition('@')[0]!r} in MLflow at sqlite:///{registered}/mlflow.db"
    assert str(caught.value) == f"{where} {said}"


@pytest.mark.slow
@pytest.mark.parametrize("given", ["nobody", "nobody@champion", "both/9", "a/b/c", "@champion", "both@"])
def test_a_model_that_is_not_there_is_one_line_with_those_that_are(registered, given):
    """The models with their aliases."""
    result = invoke(predict.app, "--model", given, "--runs", registered, "--text", "a film")

    error = one_error(result)
    assert error.startswith(f"model {given.partition('@')[0] if given == 'both@' else given!r}") or "both" in error
    assert "best-dev" in error


@pytest.mark.slow
def test_which_model_answered_is_said(registered):
    """The first line names the alias that a name alone stood for."""
    result = invoke(predict.app, "--model", "both", "--runs", registered, "--text", "a film")

    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0] == "model both@champion"


@pytest.mark.slow
def test_a_sweeps_folder_of_the_models_name_is_not_in_its_way(registered, monkeypatch):
    """In OUT itself a name is the model, not the folder that the sweep of that name lies in."""
    (registered / "both").mkdir(exist_ok=True)
    monkeypatch.chdir(registered)

    assert named("both", registered, None) == "both@champion"
