"""What a sweep needs beyond its files, asked last: the machine or cluster, and MLflow. Loads torch, Ray or MLflow."""

from orchestrator import ray_environment
from orchestrator.errors import refuse
from orchestrator.examination import Check, Examined
from orchestrator.gpu_memory import too_large_for_the_gpu
from orchestrator.paths import sqlite_file
from orchestrator.preflight import inspect_for
from orchestrator.profiles import choose
from orchestrator.redaction import redacted
from orchestrator.resources import find_machine


def machine(examined: Examined) -> list[str]:
    """Find the machine, or connect to the cluster."""
    address = examined.request.address
    if "addresses" in examined.wrong:
        return []
    if address is not None:
        ray_environment.prepare(examined.paths.out, address)
    examined.machine = examined.machine or find_machine(address)
    return [examined.machine.where]


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
        refuse(too_large_for_the_gpu(examined.inspected, examined.machine.gpu_bytes))
    examined.drafted = drafted
    at_once = concurrency(plan, examined.machine, examined.request.concurrent)
    return [f"{at_once} at once, each {plan.gpus_per_trial:g} GPUs and {plan.cpus_per_trial:g} cores"]


def tracking(examined: Examined) -> list[str]:
    """Ask MLflow's store, where there is one already."""
    if "addresses" in examined.wrong:
        return []
    from orchestrator.mlflow_client import require_tracking

    request = examined.request
    uri = require_tracking(request.tracking_uri, examined.paths.out, request.name)
    file = sqlite_file(uri)
    return [f"{redacted(uri)}{' answers' if file is None or file.exists() else ', will be made'}"]


SECOND_STAGE: tuple[Check, ...] = (("machine", machine), ("profile", profile), ("share", share), ("MLflow", tracking))
