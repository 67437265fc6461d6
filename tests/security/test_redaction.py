"""What is a secret, in whatever form it is told; and what is none."""

import io
import json
import logging
import sys
import time
from urllib.parse import quote_plus

import pytest

from model.config import field_paths
from model.tasks import TASKS
from orchestrator.guards import guard_logs, guarded_output
from orchestrator.profiles import PROFILES
from orchestrator.redaction import bare, redacted
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
        "http://host/path?mail=a@b, http://host:5000/a@b?mail=a@b, http://[::1]:5000/a@b, http://[::1]/a@b",
        "http://host/a:b@c http://host 'http://host:5000' \"http://host:5000\" a:b@c",
        "sqlite:////data/me:you@home/mlflow.db s3://bucket/key:1@2 http://host#a@b",
        "PWD=/home/me/sweeps OLDPWD='/home/me', 'PWD': '/home/me/sweeps', \"PWD\": \"/home/me/sweeps\"",
        "password='', password: \"\", SharedAccessKeyName=Root;AccountName=me",
    ],
)
def test_innocent_words_stay(text):
    """What a sweep says otherwise is no secret."""
    assert redacted(text) == text


@pytest.mark.parametrize(
    ("uri", "left"),
    [
        ("postgresql://user:p@ss/w0rd@host/db", "postgresql://***@host/db"),
        ("postgresql://user:p/w0rd@host/db", "postgresql://***@host/db"),
        ("postgresql://user:1234/w0rd@host/db", "postgresql://***@host/db"),
        ("postgresql://user:p#ss?w0rd@host/db?mail=a@b", "postgresql://***@host/db?mail=a@b"),
        ("redis://:p@@ss@host:6379/0", "redis://***@host:6379/0"),
        ("http://me:p@ss@host:5000/a?mail=a@b", "http://***@host:5000/a?mail=a@b"),
        ("https://me@host/a@b", "https://***@host/a@b"),
        ("http://me:p/ss@host:5000", "http://***@host:5000"),
        ("mongodb://me:p@h1:1,h2:2/db", "mongodb://***@h1:1,h2:2/db"),
    ],
)
def test_a_uris_password_ends_at_the_last_at(uri, left):
    """It may hold what should have been escaped; a bare URI and a text agree on where it ends."""
    assert redacted(uri) == left
    assert bare(uri) == left.replace("***@", "")
    assert redacted(f"at '{uri}', or \"{uri}\" of a@b") == f"at '{left}', or \"{left}\" of a@b"


def test_uris_that_follow_each_other_are_told_apart():
    """None is taken for the password of the one before."""
    assert redacted("http://a:1,amqp://me:pw@b/,http://c/d@e") == "http://a:1,amqp://***@b/,http://c/d@e"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("X-Api-Key: abcd1234", "X-Api-Key: ***"),
        ("{'X-Auth-Token': 'abcd1234'}", "{'X-Auth-Token': '***'}"),
        ("Server=db;Uid=me;Pwd=abcd1234;Encrypt=yes", "Server=db;Uid=me;Pwd=***;Encrypt=yes"),
        ("Server=db;Pwd=/abcd1234;", "Server=db;Pwd=***;"),
        ("pwd=abcd1234 PWD=abcd1234", "pwd=*** PWD=***"),
        ("AccountKey=ab/cd+12==;EndpointSuffix=x", "AccountKey=***;EndpointSuffix=x"),
        ("SharedAccessKeyName=Root;SharedAccessKey=abcd=", "SharedAccessKeyName=Root;SharedAccessKey=***"),
        ('password="two words here", user="me"', 'password="***", user="me"'),
        ("password: 'two words' # mine", "password: '***' # mine"),
        (r'password="two \"quoted\" words" user', 'password="***" user'),
        ('password="it\'s mine" user', 'password="***" user'),
        (json.dumps('{"password": "two words"}'), r'"{\"password\": \"***\"}"'),
        (json.dumps(json.dumps({"password": 'a "b" c'})), r'"{\"password\": \"***\"}"'),
        ("--password 'two words' --epochs 3", "--password '***' --epochs 3"),
        ("sweep '--api-token=two words' --epochs 3", "sweep '--api-token=***' --epochs 3"),
        ("passphrase='two words'", "passphrase='***'"),
    ],
)
def test_fields_headers_and_options_are_known_by_their_names(text, left):
    """What stands behind such a name goes, to the end of the quotes that it stands in; the rest stays."""
    assert redacted(text) == redacted(left) == left


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "TOKENIZERS_CACHE", "HF_TOKEN_PATH", "MONKEY", "COMPASS"])
def test_innocent_variables_hold_no_secrets(name, monkeypatch):
    """A name is read word by word."""
    monkeypatch.setenv(name, "z9z9z9z9z9")
    assert redacted("is z9z9z9z9z9") == "is z9z9z9z9z9"


@pytest.mark.parametrize("name", ["HF_TOKEN", "TOKEN", "NGROK_AUTHTOKEN", "TOKEN_2", "CI_JOB_TOKEN_V4", "HF_TOKENS"])
def test_variables_of_tokens_hold_secrets(name, monkeypatch):
    """Wherever in the name the word ends."""
    monkeypatch.setenv(name, "z9z9z9z9z9")
    assert redacted("is z9z9z9z9z9") == "is ***"


@pytest.mark.parametrize("form", FORMS)
def test_a_weak_secret_is_taken_out_as_a_whole_word_alone(form, monkeypatch):
    """A value that is a plain word is part of others."""
    monkeypatch.setenv("POSTGRES_PASSWORD", "postgres")
    text = "postgresql, my_postgres, postgres2\npostgres=postgres (postgres)"
    told = redacted(FORMS[form](text))
    assert told == FORMS[form]("postgresql, my_postgres, postgres2\nSTARS=STARS (STARS)").replace("STARS", "***")


def test_a_secret_of_twelve_letters_is_taken_out_wherever_it_stands(monkeypatch):
    """It is part of no innocent word."""
    monkeypatch.setenv("MY_KEY", "qwzkxpvjmnbt")
    assert redacted("key_qwzkxpvjmnbtx") == "key_***x"


def test_this_projects_own_words_stay(monkeypatch):
    """A leaderboard, its columns and the commands that resume a sweep can be read, whatever the environment holds."""
    parts = {part for path in field_paths() for part in path.replace("_", ".").split(".")}
    words = {*TASKS, *PROFILES, *parts, "orchestrator", "search_spaces", "predict", "export", "rebuild", "doctor"}
    for number, word in enumerate(sorted(words)):
        monkeypatch.setenv(f"N{number}_KEY", word)
    text = f"python -m orchestrator.sweep search_spaces/exp4.py --name sentiment {sorted(words)}"
    assert redacted(text) == text
    assert redacted("password=sentiment N1_KEY=sentiment http://me:sentiment@a") == (
        "password=*** N1_KEY=*** http://***@a"
    )


def test_a_secret_that_is_no_utf8_is_known(monkeypatch):
    """The environment may hold any bytes; nothing that is printed fails for them."""
    monkeypatch.setenv("MY_PASSWORD", "z9z9\udcffz9")
    assert redacted("is z9z9\udcffz9 or z9z9%FFz9") == "is *** or ***"


PIECES = [
    "://", ":", '"', "'", "a@", "/", "-", "--", "a-", "_", "?", "@", "\\", '\\"', " ", "://a@", "://a:/", "://a:?",
    "?a=", "password=", 'password="', "password='", 'password=\\"', "password: ", "password ", "secret\\",
    "--password ", "--password=", "'--token=", "api-key", "pwd=/", ";pwd= ", "A_KEY=", "eyJ-", "eyJaaaaaaaaaa.",
    "sk-", "hf_a", "Bearer ", "authorization: ", "?token=", "-----BEGIN ", "postgres", "postgres ", "n%3D",
]  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("start", ["", "://a:", 'password="', "password", "--", "-----BEGIN "])
def test_a_long_line_costs_no_more_than_its_length(start, piece, monkeypatch):
    """A hundred thousand of anything, after what might begin a secret: under a second."""
    monkeypatch.setenv("POSTGRES_PASSWORD", "postgres")
    text = start + piece * (100_000 if start == "" else 100_000 // len(piece))
    began = time.process_time()
    redacted(text)
    bare(text)
    assert time.process_time() - began < 1


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


class Untellable:
    """An argument of a log call that fails when it is told."""

    def __str__(self):
        """Fail."""
        raise ValueError("no words")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("message", "arguments", "expected"),
    [
        ("two %s %s", ("z9z9z9z9z9",), "two %s %s ('***',)"),
        ("a number %d", ("z9z9z9z9z9",), "a number %d ('***',)"),
        ("none", ("z9z9z9z9z9",), "none ('***',)"),
        ("%s", (Untellable(),), "that cannot be told)"),
        (Untellable(), (), "that cannot be told)"),
    ],
)
def test_a_log_call_never_raises(message, arguments, expected, monkeypatch):
    """Where format and arguments do not fit they are told beside each other, without secrets."""
    monkeypatch.setenv("STORE_TOKEN", "z9z9z9z9z9")
    before, out = logging.getLogRecordFactory(), io.StringIO()
    handler, log = logging.StreamHandler(out), logging.getLogger("a careless library")
    log.addHandler(handler)
    try:
        guard_logs()
        log.error(message, *arguments, stack_info=True)
        log.error("an error that is none", exc_info=(1, 2, 3))
    finally:
        logging.setLogRecordFactory(before)
        log.removeHandler(handler)
    assert expected in out.getvalue().splitlines()[0][-40:]
    assert "an error that is none" in out.getvalue()


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
