"""ray_cluster.yaml: what Ray's own validation says of it, and what that validation does not look at."""

import copy
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).parent.parent
TEXT = (CHECKOUT / "ray_cluster.yaml").read_text()
CLUSTER = yaml.safe_load(TEXT)
NODE_TYPES = CLUSTER["available_node_types"]
HEAD = NODE_TYPES[CLUSTER["head_node_type"]]
WORKERS = {name: node for name, node in NODE_TYPES.items() if name != CLUSTER["head_node_type"]}
COMMAND_LISTS = [
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
]
START_LISTS = COMMAND_LISTS[-2:]

each_node_type = pytest.mark.parametrize("node_type", NODE_TYPES)
each_worker_type = pytest.mark.parametrize("node_type", WORKERS)
each_start_list = pytest.mark.parametrize("start_list", START_LISTS)


def validated_by_ray(cluster):
    """Return what `ray up` makes of the file before it first speaks to AWS."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(cluster))
    validate_config(prepared)
    return prepared


def ray_start(start_list):
    """Return the one command of the list that starts Ray."""
    (command,) = [command for command in CLUSTER[start_list] if "ray start" in command]
    return command


# Ray's own validation.


def test_ray_accepts_the_file():
    """Ray's schema takes the file, and takes it again on the head, where the autoscaler reads it."""
    assert validated_by_ray(validated_by_ray(CLUSTER))["cluster_name"] == CLUSTER["cluster_name"]


@pytest.mark.parametrize(
    "place",
    [
        lambda cluster: cluster,
        lambda cluster: cluster["auth"],
        lambda cluster: cluster["available_node_types"]["gpu_spot"],
    ],
    ids=["top", "auth", "node type"],
)
def test_ray_refuses_an_unknown_key(place):
    """A misspelt key ends `ray up` before anything is rented."""
    from jsonschema import ValidationError

    cluster = copy.deepcopy(CLUSTER)
    place(cluster)["max_wokers"] = 1
    with pytest.raises(ValidationError, match="max_wokers"):
        validated_by_ray(cluster)


def test_no_command_list_falls_back_to_rays_defaults():
    """Every list of commands is given: Ray's defaults install a nightly build and open the dashboard."""
    assert set(COMMAND_LISTS) <= CLUSTER.keys()


# What it does not look at: names and numbers.


def test_the_cluster_has_a_name_and_a_region():
    """Name and region are given, where Ray would take `default` or fail on the way to AWS."""
    assert CLUSTER["cluster_name"]
    assert re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", CLUSTER["provider"]["region"])


def test_every_command_names_the_providers_region():
    """No aws command asks another region than the one that the nodes are in."""
    regions = re.findall(r"--region[ =](\S+)", TEXT)
    assert set(regions) == {CLUSTER["provider"]["region"]}


def test_workers_are_counted_from_zero_to_the_clusters_most():
    """For each node type min <= max <= the cluster's own max."""
    for node in validated_by_ray(CLUSTER)["available_node_types"].values():
        assert 0 <= node["min_workers"] <= node["max_workers"] <= CLUSTER["max_workers"]


def test_what_belongs_to_one_account_stands_in_five_marked_places():
    """EDIT 1 to 5 stand in the one block that Ray does not read, and every made-up id is in it."""
    before, _, rest = TEXT.partition("\nmetadata:")
    block, _, after = rest.partition("\ncluster_name:")
    assert re.findall(r"# EDIT (\d)", block) == ["1", "2", "3", "4", "5"]
    assert "EDIT" not in before + after
    assert "0123456789abcdef0" in block
    assert "0123456789abcdef0" not in before + after


# The machines.


@each_node_type
def test_a_node_is_in_a_group_of_our_own(node_type):
    """Each node type names its security groups, so that Ray makes none that opens SSH to the world."""
    groups = NODE_TYPES[node_type]["node_config"]["SecurityGroupIds"]
    assert groups
    assert all(group.startswith("sg-") for group in groups)


def test_ray_makes_no_security_group():
    """The provider has no security_group, to which Ray would add SSH from everywhere."""
    assert "security_group" not in CLUSTER["provider"]


def test_nodes_have_no_public_address():
    """Ray speaks to all nodes, the head too, by their private addresses."""
    assert CLUSTER["provider"]["use_internal_ips"] is True
    assert not CLUSTER["provider"].get("use_external_head_ip", False)


@each_node_type
def test_a_node_asks_for_imdsv2(node_type):
    """Instance credentials need a session token and travel one hop."""
    options = NODE_TYPES[node_type]["node_config"]["MetadataOptions"]
    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 1)


@each_node_type
def test_a_nodes_disks_are_encrypted(node_type):
    """Every disk that a node type asks for is encrypted, and there is one."""
    disks = NODE_TYPES[node_type]["node_config"]["BlockDeviceMappings"]
    assert disks
    assert all(disk["Ebs"]["Encrypted"] is True for disk in disks)


@each_worker_type
def test_a_worker_has_not_the_heads_rights(node_type):
    """No node runs with Ray's default role of full EC2 and S3, nor a worker with the head's."""
    assert HEAD["node_config"]["IamInstanceProfile"] == {"Name": "multitask-sweeps-head"}
    assert WORKERS[node_type]["node_config"]["IamInstanceProfile"] == {"Name": "multitask-sweeps-worker"}


@each_worker_type
def test_a_worker_is_one_gpu_that_comes_with_the_work(node_type):
    """A worker has one GPU and some CPU for its trial, and none runs when there is no work."""
    worker = WORKERS[node_type]
    assert worker["resources"]["GPU"] == 1
    assert worker["resources"]["CPU"] >= 1
    assert worker["min_workers"] == 0
    assert worker["max_workers"] >= 1


def test_the_two_worker_types_are_one_machine_on_two_markets():
    """Spot and on demand differ in nothing but the market, so a trial may start on one and go on on the other."""
    spot, on_demand = copy.deepcopy(WORKERS["gpu_spot"]), WORKERS["gpu_on_demand"]
    assert spot["node_config"].pop("InstanceMarketOptions") == {"MarketType": "spot"}
    assert spot == on_demand
    assert len(WORKERS) == 2


def test_the_head_is_on_demand_and_takes_no_trial():
    """The head is not spot, and offers neither GPU nor CPU."""
    assert "InstanceMarketOptions" not in HEAD["node_config"]
    assert HEAD["resources"] == {"CPU": 0, "GPU": 0}


# The commands.


@pytest.mark.parametrize("command_list", COMMAND_LISTS)
def test_every_command_is_a_shell_command(command_list):
    """Bash can parse each command as Ray wraps it, in parentheses."""
    for command in CLUSTER[command_list]:
        subprocess.run(["bash", "-n", "-c", f"true && ({command})"], check=True)


@each_start_list
def test_ray_starts_with_token_authentication(start_list):
    """The very shell that starts Ray exports the token's mode and path first: exports reach no other."""
    exports, _, _ = ray_start(start_list).partition("ray start")
    assert re.search(r"export .*\bRAY_AUTH_MODE=token\b", exports)
    assert re.search(r"export .*\bRAY_AUTH_TOKEN_PATH=~/\.ray/auth_token\b", exports)


@each_start_list
def test_ray_starts_from_the_projects_environment(start_list):
    """Ray is the lock's, whatever the image has on its PATH."""
    assert "~/multitask-sweeps/.venv/bin/ray start" in ray_start(start_list)


def test_the_dashboard_stays_on_loopback_and_nothing_is_reported():
    """The head's dashboard listens on 127.0.0.1, and usage statistics are off."""
    flags = ray_start("head_start_ray_commands").split()
    assert "--dashboard-host=127.0.0.1" in flags
    assert "--disable-usage-stats" in flags
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in flags
    assert "0.0.0.0" not in "".join(CLUSTER["head_start_ray_commands"])  # noqa: S104 - looked for, not bound


def test_what_stays_at_home_is_not_sent():
    """The mount of the checkout leaves out history, environment, runs and secrets."""
    assert CLUSTER["file_mounts"]["~/multitask-sweeps"] == "."
    assert {".git", ".venv", "runs", ".env*", "*.pem"} <= set(CLUSTER["rsync_exclude"])
    assert CLUSTER["rsync_filter"] == [".gitignore"]


def fetch_token(start_list, home, aws, curl="echo us-west-2"):
    """Run the list's first command in a home of its own, with `aws` and `curl` as the shell scripts given."""
    (home / "bin").mkdir(exist_ok=True)
    for name, script in (("aws", aws), ("curl", curl)):
        (home / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (home / "bin" / name).chmod(0o700)
    if not (home / "multitask-sweeps").exists():
        (home / "multitask-sweeps").symlink_to(CHECKOUT)
    environment = {"HOME": str(home), "PATH": f"{home / 'bin'}:{os.environ['PATH']}"}
    return subprocess.run(["bash", "-c", CLUSTER[start_list][0]], env=environment, check=False).returncode


@each_start_list
def test_the_token_is_readable_for_its_owner_alone(start_list, tmp_path):
    """The token's file is 0600, also where an earlier attempt left a more open one."""
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.with_suffix(".new").touch(0o644)
    assert fetch_token(start_list, tmp_path, "echo secret") == 0
    assert token.read_text() == "secret\n"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600


@each_start_list
def test_without_a_token_ray_does_not_start(start_list, tmp_path):
    """Where the secret store refuses, the command fails, which ends the start, and the old token stays."""
    assert fetch_token(start_list, tmp_path, "echo old") == 0
    assert fetch_token(start_list, tmp_path, "exit 1") != 0
    assert (tmp_path / ".ray" / "auth_token").read_text() == "old\n"


@each_start_list
def test_the_token_is_that_of_the_machines_region(start_list, tmp_path):
    """The region is what the machine says of itself, so that it stands in the file once."""
    assert fetch_token(start_list, tmp_path, 'echo "$@"', curl="echo eu-north-1") == 0
    assert "--region eu-north-1 " in (tmp_path / ".ray" / "auth_token").read_text()


def test_without_the_machines_word_ray_does_not_start(tmp_path):
    """Where the metadata service does not answer, nothing is asked of a region that may be another's."""
    assert fetch_token("head_start_ray_commands", tmp_path, "echo secret", curl="exit 7") != 0
    assert not (tmp_path / ".ray" / "auth_token").exists()


def test_the_head_takes_the_autoscaler_that_can_fall_back():
    """Though `ray up` sets v2 before our command, what Ray starts in sees v1, with the scorer."""
    from ray.autoscaler._private.util import with_envs

    command = ray_start("head_start_ray_commands").replace("~/multitask-sweeps/.venv/bin/ray start", "env #", 1)
    (composed,) = with_envs([command], {"RAY_enable_autoscaler_v2": "1", "RAY_NODE_TYPE_NAME": "head"})
    seen = subprocess.run(["bash", "-c", composed], check=True, capture_output=True, text=True).stdout.splitlines()
    assert "RAY_enable_autoscaler_v2=0" in seen
    assert "RAY_NODE_TYPE_NAME=head" in seen
    assert "RAY_AUTOSCALER_UTILIZATION_SCORER=spot_first.score" in seen


# Which machines are rented.


@pytest.fixture
def rented(monkeypatch):
    """Return a function: what Ray's scheduler rents for so many trials, when the cloud has refused some types."""
    from ray.autoscaler._private.node_provider_availability_tracker import NodeProviderAvailabilityTracker
    from ray.autoscaler._private.resource_demand_scheduler import ResourceDemandScheduler
    from ray.autoscaler.node_launch_exception import NodeLaunchException

    monkeypatch.syspath_prepend(CHECKOUT / "cluster")
    monkeypatch.setenv("RAY_AUTOSCALER_UTILIZATION_SCORER", "spot_first.score")

    def rent(trials, *, refused=(), clock_s=0.0):
        known = NodeProviderAvailabilityTracker(timer=lambda: clock_s)
        for node_type in refused:
            known.update_node_availability(node_type, 0, NodeLaunchException("InsufficientInstanceCapacity", "", None))
        file = validated_by_ray(CLUSTER)
        scheduler = ResourceDemandScheduler(
            _NoMachines(), file["available_node_types"], file["max_workers"], file["head_node_type"], 1000.0
        )
        wanted, _ = scheduler.get_nodes_to_launch(
            [], {}, [{"CPU": 4, "GPU": 1}] * trials, {}, [], {}, [], known.summary()
        )
        return {node_type: count for node_type, count in wanted.items() if node_type != "head"}

    return rent


class _NoMachines:
    """A cloud in which nothing runs yet."""

    def non_terminated_nodes(self, _):
        return []


def test_spot_machines_come_first(rented):
    """Three trials take three spot machines, twenty as many as the file allows; no trial, none."""
    assert rented(3) == {"gpu_spot": 3}
    assert rented(20) == {"gpu_spot": 8}
    assert rented(0) == {}


def test_where_there_is_no_spot_machine_others_come(rented):
    """After a refusal the on-demand type is rented, for half an hour; then spot is tried again."""
    assert rented(3, refused=["gpu_spot"]) == {"gpu_on_demand": 3}
    assert rented(3, refused=["gpu_spot"], clock_s=1900.0) == {"gpu_spot": 3}
    assert rented(3, refused=["gpu_spot", "gpu_on_demand"]) == {"gpu_spot": 3}


def test_rays_own_scorer_would_not_fall_back(rented, monkeypatch):
    """Why there is one of ours: Ray 2.60 goes on asking for what was refused."""
    monkeypatch.delenv("RAY_AUTOSCALER_UTILIZATION_SCORER")
    assert rented(3, refused=["gpu_spot"]) == {"gpu_spot": 3}
