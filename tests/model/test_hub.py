"""The hub, as a loopback server plays it: what is fetched, what is cached, and how each failure reads."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pytest
from huggingface_hub import constants
from pyarrow import parquet

import model.hub
from model.encoder_files import EncoderError, check_folder, find_encoder
from model.hub import PINS, download_encoder, download_split
from model.table_file import DataError
from model.tasks import TASKS, Task

ROOT = Path(__file__).parents[2]
OLD, NEW = "a" * 40, "b" * 40
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 440449768\n"


@dataclass
class FakeHub:
    """Repositories, commit by commit, and every request for them."""

    url: str
    files: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    """(repository, commit) to file to content; a data set's repository begins with datasets/."""
    branches: dict[tuple[str, str], str] = field(default_factory=dict)
    """(repository, branch) to commit."""
    closed: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Repository to status and error code for every request."""
    requests: list[str] = field(default_factory=list)

    def add(self, repo, commit, files, branch="main"):
        """Add a commit, at the head of a branch."""
        self.files[repo, commit] = files
        self.branches[repo, branch] = commit

    def fetched(self):
        """Return the names of the files whose content was asked for, in order."""
        gets = (request for request in self.requests if request.startswith("GET"))
        return [request.partition("/resolve/")[2].partition("/")[2] for request in gets]

    def answer(self, path):
        """Return status, headers and body for a path, as the hub answers it."""
        repo, _, rest = unquote(path).lstrip("/").partition("/resolve/")
        missing = {} if any(repo == known for known, _ in self.files) else {repo: (404, "RepoNotFound")}
        for status, code in [refusal for name, refusal in (missing | self.closed).items() if name == repo]:
            return status, {"X-Error-Code": code}, b""
        revision, _, file = rest.partition("/")
        commit = self.branches.get((repo, revision), revision)
        if (repo, commit) not in self.files:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        if file not in self.files[repo, commit]:
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, b""
        body = self.files[repo, commit][file]
        return 200, {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": commit}, body


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Serve an empty hub, and let huggingface_hub ask it with a fresh cache."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            status, headers, body = fake.answer(self.path)
            fake.requests.append(f"{self.command} {self.path}")
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_HEAD(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake = FakeHub(f"http://127.0.0.1:{server.server_port}")
    # It reads its variables when it is imported, which another test may have caused.
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setenv("HF_ENDPOINT", fake.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_HUB_ETAG_TIMEOUT", raising=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield fake
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def encoder_files(tiny_encoder):
    """Return the tiny encoder as files to serve, with what a repository has beside them."""
    files = {path.name: path.read_bytes() for path in tiny_encoder.iterdir()}
    return {**files, "pytorch_model.bin": b"a pickle", "README.md": b"words"}


def go_offline(monkeypatch):
    """Do as HF_HUB_OFFLINE=1 does at import."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def refusal(name):
    """Return the one line with which an encoder is refused."""
    with pytest.raises(EncoderError) as caught:
        download_encoder(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def data_refusal(task, split="train"):
    """Return the one line with which a data set is refused."""
    with pytest.raises(DataError) as caught:
        download_split(task, split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def as_parquet(folder, **columns):
    """Return the bytes of a Parquet file with these columns."""
    parquet.write_table(pa.table(columns), folder / "written.parquet")
    return (folder / "written.parquet").read_bytes()


def as_jsonl(*rows):
    """Return the bytes of a file of JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def unpinned(name):
    """Return one of the course's tasks at whatever commit the hub has, be it pinned or not."""
    task = TASKS[name]
    return replace(task, hub={**task.hub, "revision": None})


def serve_split(hub, task, split, content, commit=NEW):
    """Serve a split of a task."""
    hub.add(f"datasets/{task.hub['repo']}", commit, {task.hub["files"][split]: content})


def test_an_encoder_is_fetched_without_its_pickle(hub, encoder_files, tiny_encoder):
    """An encoder is its three files at the commit that the default branch stands for, and nothing else."""
    hub.add("someone/tiny", NEW, encoder_files)

    source = find_encoder("someone/tiny")

    assert (source.name, source.revision) == ("someone/tiny", NEW)
    assert source.weights_sha256 == find_encoder(str(tiny_encoder)).weights_sha256
    assert hub.fetched() == ["config.json", "tokenizer.json", "model.safetensors"]
    assert {path.name for path in source.folder.iterdir()} == set(hub.fetched())


def test_a_commit_in_the_cache_is_not_asked_for_again(hub, encoder_files):
    """The second call for a commit makes no request."""
    hub.add("someone/tiny", NEW, encoder_files)
    first = download_encoder(f"someone/tiny@{NEW}")
    hub.requests.clear()

    assert download_encoder(f"someone/tiny@{NEW}") == first
    assert hub.requests == []


def test_a_branch_is_remembered_offline(hub, encoder_files, monkeypatch):
    """Offline, a name without a commit is what it stood for when it was fetched."""
    hub.add("someone/tiny", NEW, encoder_files)
    first = download_encoder("someone/tiny")
    hub.requests.clear()
    go_offline(monkeypatch)

    assert download_encoder("someone/tiny") == first
    assert hub.requests == []


def test_offline_what_is_not_cached_is_named(hub, monkeypatch, tmp_path):
    """Offline, an encoder that is not in the cache is an error that names the cache and the variable."""
    go_offline(monkeypatch)

    text = refusal("someone/tiny")

    assert str(tmp_path / "hub") in text
    assert "HF_HUB_OFFLINE" in text
    assert hub.requests == []


def test_a_revision_is_honoured(hub, encoder_files):
    """NAME@COMMIT and NAME@BRANCH give the files of that commit, whatever the default branch has."""
    config = json.loads(encoder_files["config.json"])
    older = json.dumps({**config, "hidden_dropout_prob": 0.25}).encode()
    hub.add("someone/tiny", OLD, {**encoder_files, "config.json": older}, branch="v1")
    hub.add("someone/tiny", NEW, encoder_files)

    for name in (f"someone/tiny@{OLD}", "someone/tiny@v1"):
        found = download_encoder(name)
        assert found.revision == OLD
        assert (found.folder / "config.json").read_bytes() == older
    assert download_encoder("someone/tiny").revision == NEW


def test_all_files_are_of_one_commit(hub, encoder_files, monkeypatch):
    """A branch that moves while its files are fetched gives the files of one commit."""
    hub.add("someone/tiny", NEW, encoder_files)
    answer = hub.answer

    def moving(path):
        reply = answer(path)
        if reply[0] == 200 and "config.json" in path and len(hub.requests) > 3:
            hub.add("someone/tiny", OLD, {**encoder_files, "tokenizer.json": b"of another commit"})
        return reply

    monkeypatch.setattr(hub, "answer", moving)

    found = download_encoder("someone/tiny")

    assert hub.branches["someone/tiny", "main"] == OLD
    assert found.revision == NEW
    assert (found.folder / "tokenizer.json").read_bytes() == encoder_files["tokenizer.json"]


@pytest.mark.parametrize("name", ["bert-base-uncased", "google-bert/bert-base-uncased"])
def test_a_known_encoder_is_its_pinned_commit(hub, encoder_files, name):
    """BERT-base under either name is the pinned commit, and other weights than its own do not pass."""
    pin = PINS["google-bert/bert-base-uncased"]
    hub.add("google-bert/bert-base-uncased", pin.revision, encoder_files, branch="long-ago")
    hub.add("google-bert/bert-base-uncased", NEW, {})

    found = download_encoder(name)

    assert (found.revision, found.weights_sha256) == (pin.revision, pin.weights_sha256)
    with pytest.raises(EncoderError, match=f"the publisher's is {pin.weights_sha256}"):
        check_folder(found.folder, name=name, expected_sha256=found.weights_sha256)


def test_another_commit_of_a_known_encoder_has_no_expected_weights(hub, encoder_files):
    """The weights' sha256 is known of the pinned commit only."""
    hub.add("google-bert/bert-base-uncased", NEW, encoder_files)

    assert download_encoder("google-bert/bert-base-uncased@main").weights_sha256 is None


def test_a_cache_filled_under_the_old_name_serves(hub, encoder_files, monkeypatch, tmp_path):
    """Offline, BERT-base is found where a program that still says bert-base-uncased has put it."""
    hub.add("google-bert/bert-base-uncased", PINS["google-bert/bert-base-uncased"].revision, encoder_files)
    download_encoder("bert-base-uncased")
    cache = tmp_path / "hub"
    (cache / "models--google-bert--bert-base-uncased").rename(cache / "models--bert-base-uncased")
    go_offline(monkeypatch)

    for name in ("bert-base-uncased", "google-bert/bert-base-uncased"):
        assert "models--bert-base-uncased" in download_encoder(name).folder.parts


def test_a_mirror_that_gives_another_commit_is_refused(hub, encoder_files):
    """A pinned commit is not replaced by what a mirror happens to have."""
    hub.add("someone/tiny", NEW, encoder_files)
    hub.branches["someone/tiny", OLD] = NEW

    assert f"answered with commit {NEW}, asked for {OLD}" in refusal(f"someone/tiny@{OLD}")


def test_a_repository_of_pickles_is_refused(hub, encoder_files):
    """Without model.safetensors nothing is fetched, and the error tells how to convert."""
    hub.add("someone/old", NEW, {k: v for k, v in encoder_files.items() if k != "model.safetensors"})

    text = refusal("someone/old")

    assert "has no model.safetensors; it has pytorch_model.bin, a pickle, which is never loaded" in text
    assert "AutoModel.from_pretrained('someone/old').save_pretrained(FOLDER)" in text
    assert hub.fetched() == []


def test_a_missing_tokenizer_is_named(hub, encoder_files):
    """A repository without tokenizer.json is refused by that name."""
    hub.add("someone/old", NEW, {k: v for k, v in encoder_files.items() if k != "tokenizer.json"})

    assert "has no tokenizer.json" in refusal("someone/old")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("someone/typo", "no someone/typo@main on http://127.0.0.1"),
        ("someone/tiny@nope", "has the repository, but no someone/tiny@nope"),
        (f"someone/tiny@{OLD}", f"has the repository, but no someone/tiny@{OLD}"),
        ("someone/gated", "someone/gated@main is gated: accept its terms on http://127.0.0.1"),
        ("someone/private", "answered 401 for someone/private@main; a wrong name, or private (HF_TOKEN)"),
        ("someone/forbidden", "answered 403 for someone/forbidden@main; check what HF_TOKEN allows"),
        ("someone/tiny@", "nothing after the @"),
        ("no name at all", "no such folder, and no name on the hub"),
    ],
)
def test_what_cannot_be_had_is_told_in_a_line(hub, encoder_files, name, expected):
    """A repository that is missing or shut, a missing revision and a malformed name each have their line."""
    hub.add("someone/tiny", NEW, encoder_files)
    hub.closed = {
        "someone/gated": (403, "GatedRepo"),
        "someone/private": (401, ""),
        "someone/forbidden": (403, ""),
    }

    text = refusal(name)

    assert expected in text
    assert text.startswith(f"encoder {name!r}: ")


def test_an_endpoint_that_is_down_is_named_without_its_password(hub, monkeypatch):
    """A refused connection is an error at once, which shows the endpoint and not the secret in it."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://me:secret@127.0.0.1:{port}")
    start = time.monotonic()

    text = refusal("someone/tiny")

    assert time.monotonic() - start < 5
    assert f"did not come from http://127.0.0.1:{port} (ConnectError" in text
    assert "secret" not in text
    assert hub.requests == []


def test_an_endpoint_that_never_answers_is_given_up(hub, monkeypatch):
    """A server that takes the connection and says nothing costs one timeout, not minutes of retries."""
    monkeypatch.setattr(model.hub, "ANSWER_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()

        text = refusal("someone/tiny")

    assert time.monotonic() - start < 5
    assert "Timeout" in text
    assert hub.requests == []


def test_what_is_cached_outlives_the_endpoint(hub, encoder_files, monkeypatch, caplog):
    """A branch that cannot be asked for is what it stood for before, and a warning says so."""
    hub.add("someone/tiny", NEW, encoder_files)
    first = download_encoder("someone/tiny")
    monkeypatch.setattr(hub, "answer", lambda _: (503, {}, b""))

    assert download_encoder("someone/tiny") == first
    assert "status 503" in caplog.text
    assert f"using the cached commit {NEW}" in caplog.text


def test_a_page_that_is_no_hub_is_refused(hub, monkeypatch):
    """A portal that answers anything with a page is not taken for an encoder."""
    monkeypatch.setattr(hub, "answer", lambda _: (200, {"ETag": '"1"'}, b"<html>Sign in</html>"))

    assert "does not answer as a hub; check HF_ENDPOINT and the proxy" in refusal("someone/tiny")


def test_a_pointer_in_place_of_weights_is_refused(hub, encoder_files):
    """A mirror that serves Git LFS pointers is found out before the weights are loaded."""
    hub.add("someone/tiny", NEW, {**encoder_files, "model.safetensors": POINTER})

    with pytest.raises(EncoderError, match=f"is a Git LFS pointer \\({len(POINTER)} bytes\\)"):
        find_encoder("someone/tiny")


@pytest.mark.slow
def test_another_process_shares_the_cache(hub, tmp_path):
    """A process with HF_HOME and HF_HUB_OFFLINE set reads what was fetched there, and asks nobody."""
    task = unpinned("sentiment")
    serve_split(hub, task, "dev", as_jsonl({"text": "fine", "label": 3}))
    download_split(task, "dev")
    hub.requests.clear()
    program = (
        "import sys, json; from model.hub import download_split; from model.tasks import Task; "
        "print(*download_split(Task.from_dict(json.loads(sys.argv[1])), 'dev').sentences)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(task.to_dict())],
        env={**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )

    assert done.stdout == "('fine',)\n"
    assert hub.requests == []


def test_sentiment_is_read_from_json_lines(hub):
    """SST-5 comes as lines of text, label and label_text; a row's id is its number, from 0."""
    task = unpinned("sentiment")
    rows = [
        {"text": " a plain film ", "label": 2, "label_text": "neutral"},
        {"text": "größer\u2028 than 'life' \U0001f3ac", "label": 4, "label_text": "very positive"},
    ]
    serve_split(hub, task, "train", as_jsonl(*rows) + b"\n")

    split = download_split(task, "train")

    assert split.sentences == (("a plain film",), ("größer\u2028 than 'life' \U0001f3ac",))
    assert split.labels.tolist() == [2, 4]
    assert split.ids == ("0", "1")
    assert split.source == f"SetFit/sst5@{NEW[:12]}/train.jsonl"


def test_paraphrase_is_read_from_parquet(hub, tmp_path):
    """Quora's pairs come as question1, question2, an integer label, and idx, which is the id."""
    task = unpinned("paraphrase")
    questions = {"question1": ["how ?", "why\t?"], "question2": ["how so ?", "when ?"]}
    content = as_parquet(tmp_path, **questions, label=pa.array([1, 0], pa.int64()), idx=pa.array([7, 5], pa.int32()))
    serve_split(hub, task, "train", content)

    split = download_split(task, "train")

    assert split.sentences == (("how ?", "how so ?"), ("why\t?", "when ?"))
    assert split.labels.tolist() == [1, 0]
    assert split.ids == ("7", "5")
    assert split.source_sha256 == hashlib.sha256(content).hexdigest()


def test_similarity_keeps_the_decimals_of_its_labels(hub, tmp_path):
    """The benchmark's labels are float32, and 3.8 stays 3.8, as it stands in the course's file."""
    task = unpinned("similarity")
    labels = pa.array([3.8, 0.0, 5.0, 1.333], pa.float32())
    content = as_parquet(tmp_path, sentence1=["a"] * 4, sentence2=["b"] * 4, label=labels, idx=[0, 1, 2, 3])
    serve_split(hub, task, "dev", content)

    assert download_split(task, "dev").labels.tolist() == [3.8, 0.0, 5.0, 1.333]


@pytest.mark.parametrize("kind", [pa.int64(), pa.float32()])
def test_a_hidden_test_split_is_unlabelled(hub, tmp_path, kind):
    """A test split whose labels are all -1 has no labels."""
    task = unpinned("similarity")
    content = as_parquet(tmp_path, sentence1=["a", "c"], sentence2=["b", "d"], label=pa.array([-1, -1], kind))
    serve_split(hub, task, "test", content)

    split = download_split(task, "test")

    assert split.labels is None
    assert len(split) == 2


def test_a_test_split_may_lack_the_label_column(hub):
    """A test split without the label's column has no labels; a training split without it is refused."""
    task = unpinned("sentiment")
    serve_split(hub, task, "test", as_jsonl({"text": "fine"}))
    assert download_split(task, "test").labels is None

    serve_split(hub, task, "train", as_jsonl({"text": "fine"}), commit=OLD)
    assert "train.jsonl:1: no column 'label'; found 'text'" in data_refusal(task)


def test_hidden_labels_among_shown_ones_are_an_error(hub):
    """A -1 is no label where other rows have one, and nowhere in a training split."""
    task = unpinned("sentiment")
    serve_split(hub, task, "test", as_jsonl({"text": "fine", "label": 3}, {"text": "bad", "label": -1}))
    assert "test.jsonl:2: label '-1'" in data_refusal(task, "test")

    serve_split(hub, task, "train", as_jsonl({"text": "bad", "label": -1}), commit=OLD)
    assert "train.jsonl:1: label '-1'" in data_refusal(task)


def test_rows_with_nulls_are_skipped_and_counted(hub, tmp_path):
    """A null sentence or label leaves its row out, by number and reason, as in a tab-separated file."""
    task = unpinned("paraphrase")
    first: list[str | None] = ["how ?"] * 2000
    label: list[int | None] = [1, 0] * 1000
    first[2], label[6] = None, None
    serve_split(hub, task, "train", as_parquet(tmp_path, question1=first, question2=["why ?"] * 2000, label=label))

    split = download_split(task, "train")

    assert split.skipped == ((3, "empty sentence"), (7, "no label"))
    assert (len(split), split.rows) == (1998, 2000)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (POINTER, "is a Git LFS pointer"),
        (b"", "no usable row"),
        (b'{"text": "fine", "label": 3\n', ":1: not a line of JSON"),
        (b'{"text": "fine", "label": 3}\n{"text": "\xff"}\n', ":2: not a line of JSON"),
        (b'{"text": "\\ud800", "label": 3}\n', ":1: not a line of JSON"),
        (b'["fine", 3]\n', ":1: \"['fine', 3]\"; expected an object with text, label"),
        (b'{"text": 7, "label": 3}\n', ":1: column 'text' is '7'; expected text"),
        (b'{"text": "fine", "label": NaN}\n', ":1: label 'nan'"),
        (b'{"text": "fine", "label": 2.5}\n', ":1: label '2.5'"),
        (b'{"text": "fine", "label": 7}\n', ":1: label '7'"),
    ],
)
def test_damaged_lines_are_named(hub, content, expected):
    """A file of JSON lines that cannot be used is refused with the line and what stands there."""
    task = unpinned("sentiment")
    serve_split(hub, task, "train", content)

    assert expected in data_refusal(task)


def test_damaged_parquet_is_named(hub, tmp_path):
    """A pointer, a cut file, a wrong column and a column of numbers are refused by name."""
    task = unpinned("similarity")
    good = as_parquet(tmp_path, sentence1=["a"], sentence2=["b"], label=[1.0])
    cases = {
        POINTER: "is a Git LFS pointer",
        good[: len(good) // 2]: "not a Parquet file that can be read",
        as_parquet(tmp_path, sentence1=["a"], other=["b"], label=[1.0]): "no column 'sentence2'; found 'sentence1'",
        as_parquet(tmp_path, sentence1=["a"], sentence2=[4], label=[1.0]): "'sentence2' is int64; expected string",
        as_parquet(tmp_path, sentence1=["a"], sentence2=["b"], label=[[1.0]]): "not a Parquet file that can be",
    }
    for number, (content, expected) in enumerate(cases.items()):
        serve_split(hub, task, "train", content, commit=f"{number:040x}")
        assert expected in data_refusal(task)


def test_a_data_set_that_cannot_be_had_is_told_in_a_line(hub, monkeypatch):
    """A missing data set, a missing file, and a task or a split that the hub does not have are DataErrors."""
    task = unpinned("sentiment")
    assert f"task 'sentiment', train split: no SetFit/sst5@main on {hub.url}" in data_refusal(task)

    hub.add("datasets/SetFit/sst5", NEW, {"README.md": b"words"})
    assert "SetFit/sst5@main has no train.jsonl" in data_refusal(task)
    assert "no train split on the hub is known; give a folder" in data_refusal(replace(task, hub=None))
    assert "no extra split on the hub is known" in data_refusal(task, "extra")
    assert "Task.hub must name 1 sentences" in data_refusal(
        replace(task, hub={**task.hub, "sentences": ("text", "label_text")})
    )

    go_offline(monkeypatch)
    assert "SetFit/sst5@main is not in the cache" in data_refusal(task)


def test_a_pinned_data_set_is_its_commit(hub):
    """Task.hub's revision is the commit that is read, and it comes from the cache the second time."""
    task = replace(unpinned("sentiment"), name="pinned", hub={**TASKS["sentiment"].hub, "revision": OLD})
    serve_split(hub, task, "train", as_jsonl({"text": "old", "label": 1}), commit=OLD)
    serve_split(hub, task, "train", as_jsonl({"text": "new", "label": 1}))

    assert download_split(task, "train").sentences == (("old",),)
    hub.requests.clear()
    shipped = Task.from_dict(json.loads(json.dumps(task.to_dict())))
    assert download_split(shipped, "train").sentences == (("old",),)
    assert hub.requests == []


def test_an_unfinished_cache_is_completed(hub, encoder_files):
    """A commit of which the cache has only some files is asked for again, and the rest is fetched."""
    hub.add("someone/tiny", NEW, encoder_files)
    found = download_encoder(f"someone/tiny@{NEW}")
    (found.folder / "tokenizer.json").unlink()
    shutil.rmtree(found.folder.parents[1] / "blobs", ignore_errors=True)

    again = download_encoder(f"someone/tiny@{NEW}")

    assert (again.folder / "tokenizer.json").read_bytes() == encoder_files["tokenizer.json"]
    check_folder(again.folder, name="tiny")
