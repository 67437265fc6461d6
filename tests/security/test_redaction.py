"""What is a secret, in whatever form it is told; and what is none."""

import io
import json
import logging
import sys
from urllib.parse import quote_plus

import pytest

from orchestrator.redaction import bare, guard_logs, guarded_output, redacted
from tests.security.canaries import contents, hits, planted

FORMS = {"plain": str, "repr": repr, "json": json.dumps, "a list": lambda text: repr([text]), "a URI": quote_plus}


@pytest.fixture
def secrets(monkeypatch):
    """Return the canaries after the environment was given those that it holds."""
    canaries, environment, text = planted()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return canaries, environment, text


@pytest.mark.parametrize("form", FORMS)
def test_the_environments_secrets_are_known_in_every_form(secrets, form):
    """As they are, quoted by Python or JSON, escaped for a URI; those of several lines too."""
    canaries, environment, _ = secrets
    own = {name: value for name, value in environment.items() if not name.endswith(("URL", "DSN"))}  # known by looks
    told = {name: redacted(f"{name} is {FORMS[form](value)}").encode() for name, value in own.items()}
    assert hits(canaries, told) == []


@pytest.mark.parametrize("form", ["plain", "repr", "json"])
def test_secrets_are_known_by_their_looks(secrets, form):
    """Keys of clouds and hubs, URIs, headers, fields, options and PEM blocks, in texts that are quoted too."""
    canaries, _, text = secrets
    assert hits(canaries, {"text": redacted(FORMS[form](text)).encode()}) == []


@pytest.mark.parametrize(
    "text",
    [
        "epoch 3: dev score 0.7708, token id 30525 is beyond the encoder's 30522 embedding rows",
        "has no token [CLS]; expected BERT's WordPiece tokenizer",
        "model:/tiny@best-dev, /data/runs/tiny/trials/0001, sqlite:////data/runs/mlflow.db",
        "sha256 is 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "--keep-checkpoints 3 --set heads.dropout=0.5, key: learning_rate",
        "max_tokens=128, tokens=64, basic training, bearer of news",
        '{"max_tokens": 128, "tokenizer": "364de3464916", "keys": ["epochs"]}',
    ],
)
def test_innocent_words_stay(text):
    """What a sweep says otherwise is no secret."""
    assert redacted(text) == text


def test_taking_secrets_out_twice_changes_nothing_more(secrets):
    """What was taken out is not taken for a secret."""
    _, environment, text = secrets
    once = redacted(f"{environment} {text}")
    assert redacted(once) == once


def test_a_log_record_has_no_secret_in_its_message_nor_in_its_error(secrets):
    """Whatever handler formats it."""
    canaries, environment, text = secrets
    before, out = logging.getLogRecordFactory(), io.StringIO()
    handler, log = logging.StreamHandler(out), logging.getLogger("a library")
    log.addHandler(handler)
    try:
        guard_logs()
        error = RuntimeError(f"it failed with {environment} {text}")
        log.error("at %s", environment, exc_info=error)
    finally:
        logging.setLogRecordFactory(before)
        log.removeHandler(handler)
    assert "RuntimeError: it failed with {'AWS_SECRET_ACCESS_KEY': '***'" in out.getvalue()
    assert hits(canaries, {"log": out.getvalue().encode()}) == []


def test_what_is_printed_has_no_secret_and_the_streams_come_back(secrets, capsys):
    """Both streams, for the block's length; they are what they were else."""
    canaries, environment, text = secrets
    before = sys.stdout, sys.stderr
    with guarded_output():
        print(environment, text)
        print(environment, text, file=sys.stderr)
        sys.stdout.writelines([text, "\n"])
        assert (sys.stdout.encoding, sys.stdout.isatty()) == (before[0].encoding, False)
    assert (sys.stdout, sys.stderr) == before
    said = capsys.readouterr()
    assert "'AWS_SECRET_ACCESS_KEY': '***'" in said.out
    assert hits(canaries, {"out": said.out.encode(), "err": said.err.encode()}) == []


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://me:secret@host:5000/a?b=c", "http://host:5000/a?b=c"),
        ("http://host:5000/#/experiments/1", "http://host:5000/#/experiments/1"),
        ("https://me@host", "https://host"),
        ("sqlite:////data/me@home/mlflow.db", "sqlite:////data/me@home/mlflow.db"),
    ],
)
def test_a_bare_uri_has_neither_user_nor_password(uri, expected):
    """It opens in a browser; what is no user is left as it is."""
    assert bare(uri) == expected


def test_what_is_searched_for_is_found(tmp_path):
    """A secret among other bytes of a file is a hit."""
    canaries, _, _ = planted()
    (tmp_path / "file").write_bytes(b"\0" + canaries["HF_TOKEN"].encode() + b"\xff")
    assert hits(canaries, contents(tmp_path)) == [f"{tmp_path / 'file'}: HF_TOKEN"]


def test_a_secret_that_a_long_line_is_cut_in_is_taken_out_whole(monkeypatch):
    """Half of one would no longer be known for what it is."""
    from orchestrator.mlflow_client import first_line

    monkeypatch.setenv("STORE_TOKEN", "z9" * 18)

    assert "z9" not in first_line(RuntimeError("x" * 285 + "z9" * 18))
