"""What a sweep needs beyond its files, asked last: the machine or cluster, and MLflow. Loads torch, Ray or MLflow."""

import sys
from typing import TYPE_CHECKING

from orchestrator import ray_environment
from orchestrator.console import say
from orchestrator.errors import SweepError, refuse
from orchestrator.examination import Check, Examined
from orchestrator.gpu_memory import too_large_for_the_gpu
from orchestrator.paths import sqlite_file
from orchestrator.preflight import disk, inspect_for
from orchestrator.profiles import choose
from orchestrator.redaction import redacted
from orchestrator.request import Request
from orchestrator.resources import Machine, NodeWish, Share, find_machine, too_large

if TYPE_CHECKING:
    from orchestrator.plan import Plan


def machine(examined: Examined) -> list[str]:
    """Find the machine, or connect to the cluster and wait for a node that holds a trial."""
    request = examined.request
    if "addresses" in examined.wrong:
        return []
    if request.address is not None:
        ray_environment.prepare(examined.paths.out, request.address)
    wait_s = 0.0 if request.dry_run else request.wait_for_nodes
    wish = NodeWish.of(request.cpus_per_trial, request.gpus_per_trial, wait_s)
    examined.machine = examined.machine or find_machine(request.address, wish, lambda line: _tell(request, line))
    return [examined.machine.where]


def _tell(request: Request, line: str) -> None:
    if not request.quiet:
        say(line, to=sys.stderr)


def profile(examined: Examined) -> list[str]:
    """Settle the profile by the GPUs that there are; inspect the sweep again where it is another than was thought."""
    if examined.machine is None:
        return []
    chosen, examined.why = choose(examined.request.profile, examined.machine.gpus)
    before = examined.inspected
    if examined.loaded is not None and "sweep" not in examined.wrong and (
        before is None or before.options.profile != chosen.name
    ):  # fmt: skip
        examined.inspected = None
        examined.inspected, examined.why = inspect_for(examined, examined.machine.gpus)
    return [f"{chosen.name} ({examined.why})"]


def share(examined: Examined) -> list[str]:
    """Settle what each trial gets, and refuse a trial that no node or no GPU can hold."""
    if examined.inspected is None or examined.machine is None:
        return []
    from orchestrator.plan import concurrency, draft

    drafted = draft(examined.inspected, examined.machine)
    plan = drafted.plan
    if plan.gpus_per_trial:
        own = int(examined.machine.gpu_bytes * min(1.0, plan.gpus_per_trial))  # those that share a GPU share its memory
        refuse(too_large_for_the_gpu(examined.inspected, own))
    examined.drafted = drafted
    examined.at_once = at_once = concurrency(plan, examined.machine, examined.request.concurrent)
    return [f"{at_once} at once, each {plan.gpus_per_trial:g} GPUs and {plan.cpus_per_trial:g} cores"]


def earlier(examined: Examined) -> list[str]:
    """Refuse to go on with a sweep that is another one, lies damaged, or was settled for another machine or store."""
    request, paths, drafted, machine = examined.request, examined.paths, examined.drafted, examined.machine
    if drafted is None or machine is None or request.new or not request.out_is_known or not paths.plan.exists():
        return []
    from orchestrator.plan import settled
    from orchestrator.store import require_same_store
    from orchestrator.study_file import require_sound

    plan = settled(paths.plan, drafted.plan)
    require_same_store(paths, request.tracking_uri)
    refuse_other_resources(plan, machine, request.cpus_per_trial)
    require_sound(paths.study_file)
    return [f"{paths.root}: goes on"]


def refuse_other_resources(plan: "Plan", machine: Machine, cpus_per_trial: float | None) -> None:
    """Raise where the settled plan asks for more than there is, or the command line for another share."""
    wrong = too_large(machine, Share(plan.cpus_per_trial, plan.gpus_per_trial, plan.threads))
    if cpus_per_trial is not None and cpus_per_trial != plan.cpus_per_trial:
        wrong.append(f"--cpus-per-trial {cpus_per_trial:g}: this sweep was settled with {plan.cpus_per_trial:g}")
    if wrong:
        raise SweepError("\n".join(wrong) + "\n--new puts the sweep aside and settles it for this machine")


def study(examined: Examined) -> list[str]:
    """Ask the study's database, where it is a server."""
    request, paths = examined.request, examined.paths
    if "addresses" in examined.wrong or not request.out_is_known:
        return []
    from orchestrator.study_place import require_study

    return [redacted(require_study(paths, request.study_uri, new=request.new))]


def tracking(examined: Examined) -> list[str]:
    """Ask MLflow's store, where there is one already."""
    out_is_wrong = "folders" in examined.wrong or not examined.request.out_is_known
    if "addresses" in examined.wrong or (examined.request.tracking_uri is None and out_is_wrong):
        return []
    from orchestrator.mlflow_client import require_tracking

    request = examined.request
    uri = require_tracking(request.tracking_uri, examined.paths.out, request.name)
    file = sqlite_file(uri)
    return [f"{redacted(uri)}{' answers' if file is None or file.exists() else ', will be made'}"]


SECOND_STAGE: tuple[Check, ...] = (
    ("machine", machine),
    ("profile", profile),
    ("share", share),
    ("room", disk),
    ("earlier sweep", earlier),
    ("study", study),
    ("MLflow", tracking),
)
