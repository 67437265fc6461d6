"""All that can be known of a sweep before anything heavy is loaded: within seconds, all at once, nothing left behind.

Imports no torch, Ray or MLflow; Optuna alone where the search space is one.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.disk import needs
from orchestrator.errors import collected, refuse
from orchestrator.folders import too_small, unusable
from orchestrator.hold import refuse_if_held
from orchestrator.inspection import Inspected, Options, inspect
from orchestrator.paths import SweepPaths
from orchestrator.profiles import Profile, choose
from orchestrator.ray_environment import open_to_all
from orchestrator.redaction import redacted
from orchestrator.request import Request
from orchestrator.resources import visible_gpus
from orchestrator.spec import LoadedSweep, load_sweep

STORES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https")
"""Schemes of MLflow's stores that keep experiments and models."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What the first stage found in order."""

    request: Request
    loaded: LoadedSweep
    inspected: Inspected | None
    """None where the profile is not known before a cluster has been asked for its GPUs."""


def preflight(request: Request) -> Checked:
    """Check what was asked for. Raises SweepError with a line for each thing that is wrong, up to twenty."""
    given = {"--data": request.data, "--encoder": request.encoder, "--address": request.address}
    refuse(f"{option} '': is empty; leave it out, or name something" for option, value in given.items() if value == "")
    paths = SweepPaths(request.out.resolve(), request.name)
    if not request.dry_run:
        refuse_if_held(paths)
    problems = [*unusable(paths.out, paths.root), *wrong_addresses(request)]
    loaded = collected(lambda: load_sweep(request.file), problems)
    unknown = request.address is not None and request.profile == "auto"
    if loaded is None or unknown:
        refuse(problems)
    assert loaded is not None
    inspected = None if unknown else inspect_for(request, loaded, visible_gpus(), problems)
    return Checked(request=request, loaded=loaded, inspected=inspected)


def inspect_for(request: Request, loaded: LoadedSweep, gpus: float, problems: list[str] | None = None) -> Inspected:
    """Return the sweep as it is with so many GPUs, which decide the profile. Raises SweepError with all problems."""
    profile, _ = choose(request.profile, gpus)
    inspected = inspect(loaded, _options(request, profile), problems or [])
    refuse(_too_large_for_the_disk(request, inspected))
    return inspected


def wrong_addresses(request: Request) -> list[str]:
    """Return what is wrong with the addresses of MLflow and Ray as they are written; nobody is asked yet."""
    problems = []
    uri = request.tracking_uri
    if uri is not None:
        scheme = urlsplit(uri).scheme.partition("+")[0]
        if scheme not in STORES:
            problems.append(
                f"--tracking-uri {redacted(uri)}: expected http(s)://HOST:PORT, or a database as sqlite:///FILE or "
                "postgresql://HOST/NAME"
            )
        elif scheme.startswith("http") and not _host_and_port(uri):
            problems.append(f"--tracking-uri {redacted(uri)}: names no host, or no port that there is")
        elif scheme == "sqlite" and not (folder := Path(uri.partition(":///")[2]).absolute().parent).is_dir():
            problems.append(f"--tracking-uri {redacted(uri)}: there is no folder {folder}")
    address = request.address
    if address and address != "auto" and not re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^:/\s]+):\d{1,5}", address):
        problems.append(f"--address {redacted(address)}: expected HOST:PORT of ray start --head, or auto")
    elif address and (wrong := open_to_all(address)):
        problems.append(wrong)
    return problems


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


def _too_large_for_the_disk(request: Request, inspected: Inspected) -> list[str]:
    paths, sweep = SweepPaths(request.out.resolve(), request.name), inspected.loaded.sweep
    if paths.plan.exists():
        return []  # what it takes, it has taken in part
    trials = len(sweep.configs) or request.trials or sweep.trials
    parts = needs(
        inspected,
        trials=trials,
        at_once=min(trials, request.concurrent or 1),
        keep=request.keep_checkpoints,
        cache_limit=request.cache_bytes,
    )
    return too_small(paths.out, parts)


def _host_and_port(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
