"""Secrets that were made up, each in a place of its own, and what is searched for them afterwards."""

import base64
import json
import random
import string
from pathlib import Path

RNG = random.Random(20261126)

ENVIRONMENT_NAMES = (
    "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "DATABASE_PASSWORD",
    "PGPASSWORD", "MYSQL_PWD", "REDIS_PASSWORD", "GITHUB_TOKEN", "GH_PAT", "GITLAB_PRIVATE_TOKEN", "X_API_KEY",
    "OPENAI_API_KEY", "WANDB_API_KEY", "KAGGLE_KEY", "FLASK_SECRET_KEY", "MLFLOW_FLASK_SERVER_SECRET_KEY",
    "AZURE_CLIENT_SECRET", "SLACK_BOT_TOKEN", "NPM_TOKEN", "DOCKER_AUTH", "ADMIN_PASSWD", "VAULT_CREDENTIAL",
    "RAY_HEAD_TOKEN",
)  # fmt: skip
"""Names of environment variables whose whole value is the secret."""


def word(length=24, letters=string.ascii_letters + string.digits):
    """Return a secret that nothing else is like."""
    return "".join(RNG.choice(letters) for _ in range(length))


def planted():
    """Return the canaries by name, the environment that holds some, and a text that holds the others."""
    canaries = {name: word() for name in ENVIRONMENT_NAMES}
    environment = dict(canaries)

    def hidden(name, form):
        canaries[name] = word()
        environment[name] = form.format(canaries[name])

    hidden("SSH_PRIVATE_KEY", "-----BEGIN KEY-----\n{}\n-----END KEY-----\n")  # several lines: escaped where quoted
    hidden("MAIL_PASSWORD", "a\"b'{}\\é/@")  # escaped by repr, by JSON and in a URI, each in another way
    hidden("GOOGLE_APPLICATION_CREDENTIALS_JSON", '{{"type": "service_account", "private_key": "{}"}}')
    hidden("DATABASE_URL", "postgresql://sweeper:{}@db.example:5432/runs")
    hidden("SENTRY_DSN", "https://{}@errors.example/7")
    hidden("BROKER_URL", "amqp://me:{}@queue.example//")

    looks = {
        "an AWS key id": ("AKIA" + word(16, string.ascii_uppercase + string.digits), "key {}"),
        "a hub token": ("hf_" + word(34, string.ascii_letters), "logged in with {}"),
        "a GitHub token": ("ghp_" + word(36), "remote: {}"),
        "a fine-grained GitHub token": ("github_pat_" + word(40), "remote: {}"),
        "a GitLab token": ("glpat-" + word(20), "clone with {}"),
        "a Slack token": ("xoxb-" + word(24), "posting as {}"),
        "a Google key": ("AIza" + word(35), "map {}"),
        "an OpenAI key": ("sk-" + word(40), "Incorrect API key provided: {}"),
        "a JWT": (f"eyJ{word(20)}.eyJ{word(30)}.{word(43)}", "jwt {}"),
        "a bearer token": (word(40), "Authorization: Bearer {}"),
        "basic authentication": (base64.b64encode(f"me:{word()}".encode()).decode(), "Authorization: Basic {}"),
        "a signed URL": (word(64), "https://bucket.s3.example/key?X-Amz-Date=1&X-Amz-Signature={}"),
        "a token in a query": (word(), "GET /api?user=me&access_token={} HTTP/1.1"),
        "a field of JSON": (word(), '{{"user": "me", "password": "{}"}}'),
        "a field of Python": (word(), "{{'client_secret': '{}'}}"),
        "a setting": (word(40), "aws_secret_access_key = {}"),
        "an option": (word(), "mysqldump --password {} runs"),
        "a header": (word(), "X-Api-Key: {}"),
        "an ODBC password": (word(), "Driver={{x}};Server=db.example;Uid=me;Pwd={};Encrypt=yes"),
        "a storage account's key": (word(44) + "==", "AccountName=me;AccountKey={};EndpointSuffix=core.example"),
        "a bus's key": (word(43) + "=", "SharedAccessKeyName=Root;SharedAccessKey={}"),
        "a password of two words": (word(), 'password="correct {}"'),
        "a password of two words in YAML": (word(), "password: 'correct {}'"),
        "a URI's password with @ and /": (word(), "postgresql://me:p@ss/{}@db.example:5432/runs"),
        "a PEM block": (word(64), "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----"),
    }
    text = "\n".join(form.format(value) for value, form in looks.values())
    canaries |= {name: value for name, (value, _) in looks.items()}
    canaries |= {"the tracking URI's password": word(), "the hub endpoint's password": word()}
    canaries |= {"the question's password": word(), "the question's token": word()}
    assert len(canaries) == len(set(canaries.values())) == 59
    return canaries, environment, text


def hits(canaries, found):
    """Return where which canary is: `found` holds bytes by the name of their place."""
    return sorted(
        f"{place}: {name}" for place, content in found.items() for name, value in canaries.items()
        if value.encode() in content
    )  # fmt: skip


def contents(*folders):
    """Return the bytes of every file under the folders, by its path; what is no file has none."""
    return {
        str(path): path.read_bytes()
        for folder in folders
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def chatty_library(text):
    """Return the sitecustomize.py of a library that once a process tells all that it knows, in every way there is."""
    return CHATTY.replace("TEXT", json.dumps(text))


CHATTY = '''
import hashlib, logging, os, sys, threading, traceback, warnings

digest = hashlib.file_digest


def fail(text):
    raise RuntimeError("noise of an exception " + text)


def tell(*given, **named):
    """Tell it at the first file that our code hashes."""
    if "orchestrator" in sys.modules:
        hashlib.file_digest = digest
        text = f"{dict(os.environ)} " + TEXT
        print("noise of print", text)
        sys.stderr.write(f"noise of stderr {text}\\n")
        warnings.warn("noise of warnings " + text)
        logging.getLogger("chatty").error("noise of logging %s", text)
        try:
            fail(text)
        except RuntimeError:
            logging.getLogger("chatty").exception("it failed")
            traceback.print_exc()
        thread = threading.Thread(target=fail, args=("of a thread " + text,))
        thread.start()
        thread.join()
    return digest(*given, **named)


hashlib.file_digest = tell
'''
NOISES = ("print", "stderr", "warnings", "logging", "an exception", "an exception of a thread")
"""Each begins with "noise of"."""
