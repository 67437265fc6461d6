"""Which MLflow store a sweep is in: noted in its folder, so that no other one is taken for it."""

from model.files import write_text
from orchestrator import paths as places
from orchestrator.errors import SweepError
from orchestrator.paths import SweepPaths
from orchestrator.redaction import redacted

OUTS_OWN = "OUT/mlflow.db"


def require_same_store(paths: SweepPaths, uri: str | None) -> None:
    """Raise SweepError where the sweep is in another MLflow store than OUT's, and none is asked for.

    What is registered there decides what may be removed here. Another store that is asked for is believed: the
    sweep is written there anew, and a Projection that has found it notes it in the sweep's folder.
    """
    known = noted_store(paths)
    if uri is None and known not in (None, OUTS_OWN):
        raise SweepError(
            f"sweep {paths.name!r} is in MLflow at {known}; add --tracking-uri {known}, or bring it back to OUT's own: "
            f"python -m orchestrator.rebuild {paths.name} --tracking-uri {places.tracking_uri(paths.out)}"
        )


def note_store(paths: SweepPaths, uri: str | None) -> None:
    """Note in the sweep's folder which MLflow store it is in, without a password."""
    store = redacted(uri) if uri and not _is_outs_own(paths, uri) else OUTS_OWN
    if noted_store(paths) != store:
        write_text(paths.tracking, store + "\n")


def _is_outs_own(paths: SweepPaths, uri: str) -> bool:
    """Return whether a URI is that of OUT's own store, however it is written."""
    file, own = places.sqlite_file(uri), places.sqlite_file(places.tracking_uri(paths.out))
    return file is not None and own is not None and file.resolve() == own.resolve()


def noted_store(paths: SweepPaths) -> str | None:
    """Return the store that a sweep's folder names, None where it names none."""
    return paths.tracking.read_text(encoding="utf-8").strip() if paths.tracking.exists() else None
