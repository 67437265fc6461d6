"""All that can be known of a sweep before anything heavy is loaded: within seconds, all at once, nothing left behind.

Imports no torch, Ray or MLflow; Optuna alone where the search space is one. What needs them is in readiness.py.
"""

import re
from urllib.parse import urlsplit

from model.data import Corpus, load_corpus
from model.data_report import concerns, report
from model.encoder_files import EncoderSource, find_encoder
from model.files import size_text
from model.tasks import TASKS
from orchestrator.disk import needs
from orchestrator.errors import SweepError, refuse
from orchestrator.examination import Check, Examined
from orchestrator.folders import free_bytes, too_small, unusable
from orchestrator.hold import refuse_if_held
from orchestrator.inspection import Inspected, Options, check_alone, inspect
from orchestrator.paths import sqlite_file
from orchestrator.profiles import Profile, choose
from orchestrator.ray_environment import named, no_token, open_to_all
from orchestrator.redaction import redacted
from orchestrator.request import Request
from orchestrator.resources import this_machine, visible_gpus
from orchestrator.spec import load_sweep
from orchestrator.study_place import wrong_study

STORES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https")
"""Schemes of MLflow's stores that keep experiments and models."""


def options(examined: Examined) -> list[str]:
    """Refuse what is wrong with the options as they are written, and a name that another process works on."""
    request = examined.request
    refuse(request.problems)
    if not request.dry_run:
        refuse_if_held(examined.paths)
    return [f"{request.name} in {examined.paths.out}"]


def folders(examined: Examined) -> list[str]:
    """Refuse a folder for results that cannot be used."""
    out = examined.paths.out
    if not examined.request.out_is_known:
        return []
    refuse(unusable(out, examined.paths.root))
    return [f"{out}: can be written, flushed, locked and renamed in; {size_text(free_bytes(out))} free"]


def addresses(examined: Examined) -> list[str]:
    """Refuse addresses of MLflow and Ray that are written wrong, or not safe to join; nobody is asked yet."""
    request = examined.request
    refuse([
        *_wrong_tracking(request.tracking_uri), *wrong_study(request.study_uri), *_wrong_address(request.address)
    ])  # fmt: skip
    places = (request.tracking_uri, request.study_uri, request.address)
    return [redacted(place) for place in places if place] or ["of this machine alone"]


def search_space(examined: Examined) -> list[str]:
    """Load the search space."""
    examined.loaded = load_sweep(examined.request.file)
    return [examined.loaded.sweep.question]


def sweep(examined: Examined) -> list[str]:
    """Inspect configs, encoder and data: those of the profile, or what is known of them without one."""
    request, loaded = examined.request, examined.loaded
    unknown = request.address is not None and request.profile == "auto"
    if loaded is None or unknown:
        profile, _ = choose(request.profile, visible_gpus())
        check_alone(
            loaded,
            settings=request.settings,
            encoder=request.encoder if unknown else request.encoder or profile.encoder,
            data=request.data if unknown else request.data or profile.data,
            strict=request.strict_data,
        )
        return []
    gpus = visible_gpus()
    try:
        examined.inspected, examined.why = inspect_for(examined, gpus)
    except SweepError:
        if request.profile != "auto" or not gpus:
            raise
        examined.machine = this_machine()  # torch has the last word on GPUs, and so on the profile
        if examined.machine.gpus:
            raise
        examined.inspected, examined.why = inspect_for(examined, 0)
    return _sweep(examined.inspected)


def disk(examined: Examined) -> list[str]:
    """Refuse a disk without the room that the sweep will take."""
    request, inspected, paths = examined.request, examined.inspected, examined.paths
    unknown = inspected is None or "folders" in examined.wrong or not request.out_is_known
    if unknown or request.dry_run:  # which says what it would take
        return []
    assert inspected is not None
    if paths.plan.exists() and not request.new:
        return []  # what it takes, it has taken in part
    trials = inspected.loaded.sweep.total(request.trials)
    parts = needs(
        inspected,
        trials=trials,
        at_once=min(trials, examined.at_once or request.concurrent or 1),
        keep=request.keep_checkpoints,
        cache_limit=request.cache_bytes,
        cache=paths.prefix_cache,
    )
    refuse(too_small(paths.out, parts))
    return []


def alone(examined: Examined) -> list[str]:
    """Check the encoder and the data where no search space is given: those asked for, or the profile's."""
    request = examined.request
    profile, _ = choose(request.profile, visible_gpus())
    encoder = find_encoder(request.encoder or profile.encoder)
    corpus = load_corpus(request.data or profile.data, list(TASKS.values()), strict=request.strict_data)
    return [_encoder(encoder), *_data(corpus)]


def inspect_for(examined: Examined, gpus: float) -> tuple[Inspected, str]:
    """Return the sweep as it is with so many GPUs, which decide the profile, and why that. Raises SweepError."""
    assert examined.loaded is not None
    profile, why = choose(examined.request.profile, gpus)
    return inspect(examined.loaded, _options(examined.request, profile)), why


def _options(request: Request, profile: Profile) -> Options:
    return Options(
        name=request.name,
        profile=profile.name,
        encoder=profile.encoder if request.encoder is None else request.encoder,
        data=profile.data if request.data is None else request.data,
        profile_settings=profile.settings,
        settings=request.settings,
        trials=request.trials,
        max_dev_examples=request.max_dev_examples,
        seed=request.seed,
        gpus_per_trial=request.gpus_per_trial,
        cpus_per_trial=request.cpus_per_trial,
        strict_data=request.strict_data,
    )


def _wrong_tracking(uri: str | None) -> list[str]:
    if uri is None:
        return []
    at, scheme = f"--tracking-uri {redacted(uri)}", uri.partition(":")[0].lower().partition("+")[0]
    if scheme not in STORES:
        return [f"{at}: expected http(s)://HOST:PORT, or a database as sqlite:///FILE or postgresql://HOST/NAME"]
    if scheme.startswith("http") and not _host_and_port(uri):
        return [f"{at}: names no host, or no port that there is"]
    if scheme == "sqlite":
        file = sqlite_file(uri)
        if file is None or file.name in ("", ":memory:"):
            return [f"{at}: names no file, and what is kept in memory ends with the process; expected sqlite:///FILE"]
        if not (folder := file.absolute().parent).is_dir():
            return [f"{at}: there is no folder {folder}"]
    return []


def _wrong_address(address: str | None) -> list[str]:
    if not address:
        return []
    meant = named(address)
    at = f"--address {redacted(address)}" + (f" (RAY_ADDRESS is {redacted(meant)})" if meant != address else "")
    known = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^:/\s]+):(\d{1,5})", meant)
    if meant != "auto" and (known is None or not 0 < int(known[2]) < 2**16):
        return [f"{at}: expected HOST:PORT of ray start --head, or auto"]
    wrong = open_to_all(meant) or no_token()
    return [f"{at}: {wrong}"] if wrong else []


def _host_and_port(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _sweep(inspected: Inspected) -> list[str]:
    """Return what would run, on what."""
    found = inspected.loaded.sweep
    count = f"{len(found.configs)} configs" if found.configs else f"{found.trials} trials of a space"
    count += f", {found.seeds} seeds each" if found.seeds > 1 else ""
    tried = "" if found.configs else f", {len(inspected.configs)} points of it tried"
    return [
        f"{count}{tried}; varies: {', '.join(inspected.varies) or 'nothing'}",
        f"encoder {_encoder(inspected.encoder)}",
        f"data {inspected.options.data}",
        *_data(inspected.corpus),
    ]


def _encoder(source: EncoderSource) -> str:
    shape = source.config
    return f"{source.name}: {shape.num_hidden_layers} layers of {shape.hidden_size}, {source.folder}"


def _data(corpus: Corpus) -> list[str]:
    """Return the sizes, and what a person may want to mend."""
    sizes = [
        f"{task} {len(splits['train']):,} train, {len(splits['dev']):,} dev" for task, splits in sorted(corpus.items())
    ]
    return [" · ".join(sizes), *concerns(report(corpus), corpus)]


FIRST_STAGE: tuple[Check, ...] = (
    ("options", options),
    ("folders", folders),
    ("addresses", addresses),
    ("search space", search_space),
    ("sweep", sweep),
    ("disk", disk),
)
WITHOUT_A_FILE: tuple[Check, ...] = (*FIRST_STAGE[:3], ("material", alone))
