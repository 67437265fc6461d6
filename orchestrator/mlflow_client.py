"""MLflow's client, set up so that an outage costs seconds, and what is fetched with it."""

import logging
import os
import re
import urllib.error
import urllib.request
import warnings
from pathlib import Path
from urllib.parse import quote

from orchestrator.errors import SweepError, UnreachableError
from orchestrator.limits import within
from orchestrator.paths import sqlite_file, tracking_uri
from orchestrator.redaction import bare, redacted

ANSWER_S = 5.0
"""Seconds in which a server has to give a first sign of life."""
USE_S = 12.0
"""Seconds in which it has to answer two questions."""
STORE_CLIENTS = {"boto3", "botocore"}
"""What MLflow's client sends artifacts to S3 with."""
PROXIED = re.compile(
    r"request to (?:endpoint )?(https?://[^/\s]+)/api/2\.0/mlflow-artifacts/\S+ failed with [\s\S]*?"
    r"(?:too many |error code )([45]\d\d)"
)
"""What MLflow's client says where its server has not taken an artifact: the server, and its status."""
DRIVERS = {"psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
"""Packages that go by another name than their module."""
SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}
"""MLflow's client: no wait of minutes in an outage, no telemetry, no pickles, no lines of its own."""


def _apply_settings() -> None:
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


_apply_settings()
warnings.filterwarnings("ignore", module="mlflow")

import mlflow  # noqa: E402  (reads the environment)
import sqlalchemy  # noqa: E402
from mlflow import MlflowClient  # noqa: E402
from mlflow.artifacts import download_artifacts  # noqa: E402
from mlflow.entities import Experiment  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode  # noqa: E402

logging.getLogger("mlflow").setLevel(logging.ERROR)
logging.getLogger("alembic").setLevel(logging.ERROR)


def require_answer(uri: str) -> None:
    """Raise OSError where nobody answers at a server's URI within ANSWER_S; MLflow would ask for 40 s, a database 100.

    Any answer of an http server will do: what it has to say, the client understands. A database has to let us in, or
    SQLAlchemy's error is raised.
    """
    if uri.startswith(("http://", "https://")):
        within(ANSWER_S, lambda: _knock(uri))
    elif "://" in uri and sqlite_file(uri) is None:
        within(ANSWER_S, lambda: sqlalchemy.create_engine(uri).connect().close())


def _knock(uri: str) -> None:
    try:
        urllib.request.urlopen(bare(uri), timeout=ANSWER_S).close()  # noqa: S310  (http alone)
    except urllib.error.HTTPError:
        return


def connect(uri: str) -> MlflowClient:
    """Return a client. models:/ URIs are resolved through the process's own URI, whatever a client was given."""
    _apply_settings()
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    return MlflowClient(uri, registry_uri=uri)


def require_store(uri: str, name: str | None = None) -> None:
    """Raise UnreachableError with one line where a store cannot be used: nobody answers, or it wants something else.

    Raises SweepError where the experiment of this name was deleted there.
    """
    found: list[Experiment] = []

    def ask() -> None:
        client = connect(uri)
        client.search_experiments(max_results=1)
        if name is not None and (experiment := client.get_experiment_by_name(name)):
            found.append(experiment)

    try:
        require_answer(uri)
        if uri.startswith("http"):
            within(USE_S, ask)
        elif _is_there(uri):  # never given up: what MLflow may have to do to its own tables is done whole
            ask()
    except ModuleNotFoundError as error:
        raise SweepError(
            f"--tracking-uri {redacted(uri)}: {error}; install the database's driver, as pip install "
            f"{DRIVERS.get(error.name or '', error.name)}"
        ) from error
    except SweepError:
        raise
    except Exception as error:
        raise _unusable(uri, error) from error
    if found and found[0].lifecycle_stage == "deleted":
        raise SweepError(
            f"MLflow at {redacted(uri)}: its experiment {name!r} was deleted; restore it (mlflow experiments restore "
            f"-x {found[0].experiment_id}), or --name NAME gives another name"
        )


def _unusable(uri: str, error: Exception) -> UnreachableError:
    """Return an error that says in one line why a store cannot be used, and what to do."""
    text, at = first_line(error), f"MLflow at {redacted(uri)}"
    if re.search(r"\b(401|403)\b|[Uu]nauthori[sz]ed|not authenticated|[Pp]ermission denied", str(error)):
        advice = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        return UnreachableError(f"{at} refuses us ({text}); {advice}")
    if "out-of-date database schema" in str(error):
        return UnreachableError(
            f"{at}: the database is of another MLflow ({mlflow.__version__} is here); back it up, then: mlflow db "
            f"upgrade {redacted(uri)}"
        )
    if (status := re.search(r"API request to endpoint \S+ failed with error code (\d+)", str(error))) is not None:
        return UnreachableError(
            f"{at} answers with status {status[1]}, and not as MLflow does; is it `mlflow server` that listens there?"
        )
    advice = "start it, or leave out --tracking-uri" if uri.startswith("http") else "another --tracking-uri?"
    return UnreachableError(f"{at} does not answer: {text}; {advice}")


def _is_there(uri: str) -> bool:
    """Return whether a database holds MLflow's tables; False where it holds none at all: they will be made.

    Nothing is written. Raises SweepError where it is somebody else's.
    """
    file = sqlite_file(uri)
    where = uri if file is None else f"sqlite:///file:{quote(str(file.absolute()))}?mode=ro&uri=true"
    engine = sqlalchemy.create_engine(where)
    try:
        tables = set(sqlalchemy.inspect(engine).get_table_names())
    finally:
        engine.dispose()
    if tables and not {"alembic_version", "experiments"} <= tables:
        raise SweepError(
            f"--tracking-uri {redacted(uri)}: is a database without MLflow's tables and with others "
            f"({', '.join(sorted(tables)[:3])}); name one of MLflow, or an empty one"
        )
    return bool(tables)


def require_tracking(uri: str | None, out: Path, name: str | None = None) -> str:
    """Return where a sweep will be tracked. Raises as require_store; a database that is not there yet will be made."""
    uri = uri or tracking_uri(out)
    file = sqlite_file(uri)
    if file is None or file.exists():
        require_store(uri, name)
    return uri


BEST_DEV = "best-dev"
CHAMPION = "champion"
"""The alias that a confirmation gives, and nothing else."""
PREFERRED = (CHAMPION, BEST_DEV)
"""The aliases that a name alone stands for: the first that the model has."""


def named_model(name: str, uri: str) -> str:
    """Return NAME@ALIAS for a registered model's NAME alone, and NAME@ALIAS or NAME/VERSION as they are.

    Raises SweepError where the model has no such alias, and UnreachableError where MLflow does not answer.
    """
    base, at, alias = name.partition("@")
    require_store(uri)
    if "/" in name:
        return name
    aliases = _aliases(base, uri)
    if aliases is None:  # which are there, fetching says
        return name
    found = next((known for known in (PREFERRED if not at else (alias,)) if known in aliases), None)
    if found is not None:
        return f"{base}@{found}"
    has = f"it has {' and '.join(aliases)}" if aliases else "it has none"
    advice = ""
    if alias == CHAMPION:
        advice = f"; a champion is given by confirmation: python -m orchestrator.confirm {base}"
    missing = f"alias {alias!r}" if at else f"alias {' or '.join(PREFERRED)}"
    raise SweepError(f"model {base!r} in MLflow at {redacted(uri)} has no {missing}; {has}{advice}")


def _aliases(model: str, uri: str) -> list[str] | None:
    """Return a registered model's aliases; None where there is no such model."""
    try:
        return sorted(connect(uri).get_registered_model(model).aliases)
    except MlflowException as error:
        if error.error_code in {ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), ErrorCode.Name(INVALID_PARAMETER_VALUE)}:
            return None
        raise


def fetch_model(name: str, uri: str, target: Path) -> Path:
    """Return a folder with the files of a registered model, NAME@ALIAS or NAME/VERSION. Raises SweepError."""
    client = connect(uri)
    try:
        known = [
            f"{model.name}@{alias}" for model in client.search_registered_models() for alias in sorted(model.aliases)
        ]
    except Exception as error:
        raise UnreachableError(f"MLflow at {redacted(uri)} does not answer: {first_line(error)}") from error
    try:
        return Path(download_artifacts(artifact_uri=f"models:/{name}", dst_path=str(target), tracking_uri=uri))
    except Exception as error:
        there = ", ".join(known) or "none yet: a sweep registers its best when its first trial ends"
        raise SweepError(f"model {name!r} not found in MLflow at {redacted(uri)}; there are: {there}") from error


def artifacts_refused(error: BaseException) -> str | None:
    """Return in one line that a server's store of artifacts takes nothing, and who has to mend that; None if it does.

    Two ways lead there: through MLflow's server, which tells us no reason, or from here, by the store's own client.
    """
    said = " ".join(str(error).split())
    if (proxied := PROXIED.search(said)) is not None:
        return (
            f"its server at {proxied[1]} cannot keep artifacts (status {proxied[2]}); why stands in the server's log: "
            "it needs credentials for its --artifacts-destination, a bucket that is there, and the right to put, get, "
            "list and delete objects in it"
        )
    if isinstance(error, ModuleNotFoundError) and error.name in STORE_CLIENTS:
        return (
            f"artifacts go from here to the server's own store, whose client {error.name} is not installed here; pip "
            "install -e '.[cluster]', or start the server with --artifacts-destination instead of "
            "--default-artifact-root"
        )
    if type(error).__module__.partition(".")[0] in STORE_CLIENTS:
        reason = said.partition(": An error occurred ")[2] or said
        return (
            f"artifacts go from here to the server's own store, which refuses them ({redacted(reason)[:200]}); this "
            "process needs credentials (an instance profile, or AWS_PROFILE) that may put, get, list and delete there"
        )
    return None


def first_line(error: BaseException) -> str:
    """Return an error in one line, without secrets; of one that is the artifact store's, what to do about it."""
    if (refused := artifacts_refused(error)) is not None:
        return refused
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        error = error.reason
    return redacted((str(error) or type(error).__name__).strip().splitlines()[0])[:300]
