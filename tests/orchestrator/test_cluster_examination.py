"""The doctor, given a cluster file of `ray up`: each mistake is one line, all of them at once."""

import copy
import importlib.util

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.aws_fields import unknown_fields
from orchestrator.cloud_access import cloud_access
from orchestrator.cluster_checks import CHECKS, problems
from orchestrator.cluster_commands import RAY_COMMANDS
from orchestrator.cluster_file import read_cluster
from orchestrator.cluster_notes import notes
from orchestrator.doctor import app
from orchestrator.ec2_types import gpus_of, vcpus_of
from orchestrator.errors import BAD_INPUT, SweepError
from tests.commands import ROOT, invoke, one_error, run

TEXT = (ROOT / "ray_cluster.yaml").read_text(encoding="utf-8")
SHIPPED = [ROOT / "ray_cluster.yaml", ROOT / "cluster/local.yaml", ROOT / "cluster/gcp.yaml"]
SHIPPED_IDS = [path.name for path in SHIPPED]


@pytest.fixture
def examine(tmp_path):
    """Return a function that gives the doctor a file's text: exit code and lines, of each the mark and what it says."""

    def examined(text):
        file = tmp_path / "planted.yaml"
        file.write_text(text, encoding="utf-8")
        result = invoke(app, file)
        mark, found = "", []
        for line in result.stdout.splitlines():
            mark = line[:4].strip() or mark
            found.append((mark, line[20:]))
        return result.exit_code, found

    return examined


def wrong(found):
    """Return what the doctor calls wrong."""
    return [line for mark, line in found if mark == "FAIL"]


@pytest.mark.parametrize("path", SHIPPED, ids=SHIPPED_IDS)
def test_the_shipped_files_pass(path, examine):
    """Nothing is wrong with them; what is still the example's is a note, and the exit code 0."""
    code, found = examine(path.read_text(encoding="utf-8"))

    assert (code, wrong(found)) == (0, [])
    assert len([line for mark, line in found if mark == "ok"]) == len(CHECKS) + 1
    lacking = cloud_access(read_cluster(path))
    of_this_machine = (*lacking, "file_mounts: ~/.ray-token, for ~/.ray-token, is not here; `ray up` from here would")
    notes = [line for mark, line in found if mark == "note"]
    assert all("is the example's" in line or line.startswith(of_this_machine) for line in notes)


MISTAKES = {
    "no name": ("cluster_name: multitask-sweeps\n", "", "cluster_name: missing"),
    "no region": ("  region: *region\n", "", "provider.region: missing"),
    "another region": ("--region us-west-2", "--region us-east-1", "asks region us-east-1, the nodes are in us-west-2"),
    "min above max": ("min_workers: 0", "min_workers: 9", "min_workers 9 is more than its max_workers 8"),
    "max above all": ("max_workers: *gpus\n    node", "max_workers: 99\n    node", "99 is more than the cluster's max_workers 8"),
    "no max": ("max_workers: *gpus\nidle", "idle", "max_workers: missing"),
    "misspelt field": ("InstanceMarketOptions:", "InstanceMarketOption:", "(did you mean 'InstanceMarketOptions'?)"),
    "misspelt key": ("idle_timeout_minutes", "idle_timeout_minute", "(did you mean idle_timeout_minutes?)"),
    "no token": ("export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=~/.ray/auth_token SWEEP", "export SWEEP", "worker_start_ray_commands: `ray start` without a token"),
    "open dashboard": ("--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0", "the dashboard listens on 0.0.0.0"),
    "group of Ray's": ("  use_internal_ips", "  security_group: {GroupName: mine}\n  use_internal_ips", "Ray opens SSH to the world"),
    "public addresses": ("use_internal_ips: true", "use_internal_ips: false", "provider.use_internal_ips: not true"),
    "GPU not promised": ("&resources {CPU: 4, GPU: 1}", "{CPU: 4}", "g6.xlarge has 1; no trial"),
    "GPU not there": ("InstanceType: g6.xlarge", "InstanceType: c7i.xlarge", "c7i.xlarge has none"),
    "spot head": ("InstanceType: m7i.xlarge", "InstanceType: m7i.xlarge\n      InstanceMarketOptions: {MarketType: spot}", "the head is spot"),
    "wrong head": ("head_node_type: head", "head_node_type: haed", "head_node_type"),
    "no user": ("  ssh_user: ubuntu\n", "", "auth.ssh_user: missing"),
    "no such region": ("us-west-2", "us-west2", "provider.region: 'us-west2' is no region; expected one as us-west-2"),
    "no such direction": ("us-west-2", "us-wset-2", "provider.region: 'us-wset-2' is no region"),
    "another region's zone": ("  use_internal_ips", "  availability_zone: us-west-2a,us-east-1b\n  use_internal_ips", "'us-east-1b' is no zone of us-west-2"),
    "name that AWS refuses": ("cluster_name: multitask-sweeps", "cluster_name: my*sweeps", "cluster_name: 'my*sweeps' would be refused"),
    "too many GPUs": ("resources: *resources", "resources: {CPU: 4, GPU: 4}", "gpu_on_demand.resources: GPU: 4, and g6.xlarge has 1"),
    "another port": ("$RAY_HEAD_IP:6379", "$RAY_HEAD_IP:6380", "the head listens at port 6379"),
    "port of the head alone": ("--port=6379", "--port=6380", "the head listens at port 6380"),
    "no dollar": ("--address=$RAY_HEAD_IP", "--address=RAY_HEAD_IP", "--address=RAY_HEAD_IP:6379 lacks its $"),
    "no port": ("$RAY_HEAD_IP:6379", "$RAY_HEAD_IP", "--address=$RAY_HEAD_IP has no port"),
    "no address": (" --address=$RAY_HEAD_IP:6379", "", "worker_start_ray_commands: `ray start` without --address"),
    "head without head": ("start --head --port", "start --port", "head_start_ray_commands: `ray start` without --head"),
    "worker as a head": ("start --address=$RAY_HEAD_IP:6379", "start --head", "each worker would be a cluster of its own"),
    "no autoscaler": (" --autoscaling-config=~/ray_bootstrap_config.yaml", "", "no worker would ever come"),
    "no such command": ("bin/ray stop", "bin/ray stopp", "Ray has no command `ray stopp` (did you mean `ray stop`?)"),
    "no such start": ("ray start --address", "ray strat --address", "Ray has no command `ray strat` (did you mean `ray start`?)"),
    "no bucket": ("aws_head.sh multitask", "aws_head.sh Multitask", "is the name of no bucket"),
    "no file system": ("aws_shared.sh fs-", "aws_shared.sh vol-", "is the name of no file system"),
    "subnet as a text": ("&worker_subnets [subnet-0123456789abcdef0]", "&worker_subnets subnet-0123456789abcdef0", "SubnetIds: 'subnet-0123456789abcdef0' is no list"),
    "group of another kind": ("&security_groups [sg-", "&security_groups [subnet-", "SecurityGroupIds: 'subnet-0123456789abcdef0' is no such id; expected sg-"),
    "image of another kind": ("&image ami-", "&image snap-", "ImageId: 'snap-0123456789abcdef0' is no such id; expected ami-"),
    "subnet of another kind": ("&worker_subnets [subnet-", "&worker_subnets [vpc-", "SubnetIds: 'vpc-0123456789abcdef0' is no such id; expected subnet-"),
    "no such market": ("MarketType: spot", "MarketType: Spot", "MarketType: 'Spot' is no market; expected spot"),
    "profile as a text": ("IamInstanceProfile: {Name: multitask-sweeps-head}", "IamInstanceProfile: multitask-sweeps-head", "IamInstanceProfile: 'multitask-sweeps-head' is no mapping; expected {Arn, Name}"),
    "count as a text": ("&gpus 8", '&gpus "8 GPUs"', "'8 GPUs' is not of type 'integer'"),
}  # fmt: skip
"""Mistake: what stands in ray_cluster.yaml, what is put there, and what the one line says.

What is missing in the part that node types share is told once for each of them: those are below.
"""


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_one_line(mistake, examine):
    """It is caught, by one line that says where, and the exit code is 2."""
    old, new, says = MISTAKES[mistake]
    text = _replaced(mistake, old, new)

    code, found = examine(text)

    assert code == BAD_INPUT
    (line,) = wrong(found)
    assert says in line


def _replaced(mistake, old, new):
    assert TEXT.count(old) >= 1, f"{mistake}: {old!r} is not in the file any more"
    text = TEXT.replace(old, new, 1)
    return (
        text.replace("resources: *resources", "resources: {CPU: 4, GPU: 1}") if mistake == "GPU not promised" else text
    )


SHARED = {
    "misspelt field": (
        "VolumeSize",
        "VolumSize",
        "Ebs.VolumSize: no such field of RunInstances (did you mean 'VolumeSize'?)",
    ),
    "IMDSv1": ("HttpTokens: required", "HttpTokens: optional", "IMDSv2 is not required"),
    "open disk": ("Encrypted: true", "Encrypted: false", "/dev/sda1 is not encrypted"),
}


@pytest.mark.parametrize("mistake", SHARED)
def test_a_mistake_that_machines_share_is_one_line(mistake, examine):
    """It stands once in the file, so it is told once, with all the node types that it is in."""
    old, new, says = SHARED[mistake]

    code, found = examine(TEXT.replace(old, new, 1))

    assert code == BAD_INPUT
    (line,) = wrong(found)
    assert says in line
    assert all(f"available_node_types.{name}.node_config." in line for name in ("head", "gpu_spot", "gpu_on_demand"))


LEFT_OUT = {
    "no group": ("      SecurityGroupIds: *security_groups\n", "SecurityGroupIds: missing"),
    "no image": ("      ImageId: *image\n", "ImageId: missing"),
}


@pytest.mark.parametrize("mistake", LEFT_OUT)
def test_what_machines_leave_out_is_told_of_each(mistake, examine):
    """A line for each node type, since each may be mended apart."""
    old, says = LEFT_OUT[mistake]

    code, found = examine(TEXT.replace(old, "", 1))

    assert code == BAD_INPUT
    assert len(wrong(found)) == 3
    assert all(says in line for line in wrong(found))
    assert {line.split(".")[1] for line in wrong(found)} == {"head", "gpu_spot", "gpu_on_demand"}


def test_what_an_anchor_repeats_names_every_place_and_its_own(examine):
    """Places first, then the line in which to mend it, with the anchor's place."""
    _, found = examine(TEXT.replace("&gpus 8", '&gpus "8 GPUs"', 1))

    line_of_it = TEXT.splitlines().index("  gpus: &gpus 8") + 1
    assert wrong(found) == [
        (
            "available_node_types.gpu_on_demand.max_workers, available_node_types.gpu_spot.max_workers, max_workers: "
            f"'8 GPUs' is not of type 'integer' (written in line {line_of_it}, at metadata.gpus)"
        )
    ]


LOCAL = {
    "no user": ("  ssh_user: ubuntu                      # EDIT\n", "", "auth.ssh_user: missing"),
    "head twice": ("[10.0.0.12, 10.0.0.13]", "[10.0.0.11, 10.0.0.13]", "provider.worker_ips: 10.0.0.11 is the head's"),
    "worker twice": ("[10.0.0.12, 10.0.0.13]", "[10.0.0.13, 10.0.0.13]", "10.0.0.13 is given twice"),
    "no address": ("[10.0.0.12, 10.0.0.13]", "[10.0.0.12, 10.0.0.313]", "'10.0.0.313' is no address"),
    "no host": ("head_ip: 10.0.0.11", "head_ip: ubuntu@head", "provider.head_ip: 'ubuntu@head' is no address"),
    "name with a folder": ("cluster_name: multitask-sweeps", "cluster_name: multitask/sweeps", "cluster_name: 'multitask/sweeps'"),
    "no autoscaler": (" --autoscaling-config=~/ray_bootstrap_config.yaml", "", "no worker would ever come"),
    "no head": ("start --head --port", "start --port", "without --head"),
}  # fmt: skip
GCP = {
    "region as AWS writes it": ("us-west1", "us-west-1", "provider.region: 'us-west-1' is no region; expected one as us-west1"),
    "another region's zone": ("region: us-west1", "region: us-east1", "'us-west1-a' is no zone of us-east1"),
    "another zone": ("--zone us-west1-a", "--zone us-west1-b", "asks zone us-west1-b, the nodes are in us-west1-a"),
    "name that Google refuses": ("cluster_name: multitask-sweeps", "cluster_name: Multitask_Sweeps", "cluster_name: 'Multitask_Sweeps'"),
    "no user": ("  ssh_user: ubuntu\n", "", "auth.ssh_user: missing"),
}  # fmt: skip
OTHERS = [("local", mistake) for mistake in LOCAL] + [("gcp", mistake) for mistake in GCP]


@pytest.mark.parametrize(("provider", "mistake"), OTHERS)
def test_a_planted_mistake_of_another_provider_is_one_line(provider, mistake, examine):
    """It is caught, by one line that says where, and the exit code is 2."""
    text = (ROOT / f"cluster/{provider}.yaml").read_text(encoding="utf-8")
    old, new, says = {"local": LOCAL, "gcp": GCP}[provider][mistake]
    assert text.count(old) >= 1

    code, found = examine(text.replace(old, new))

    assert code == BAD_INPUT
    (line,) = wrong(found)
    assert says in line


NOTED = {
    "no worker at all": ("&gpus 8", "&gpus 0", "max_workers: 0, so no worker can come"),
    "no worker of a type": ("    max_workers: *gpus\n", "    max_workers: 0\n", "no type of workers may have a machine"),
    "too many CPUs": ("resources: *resources", "resources: {CPU: 64, GPU: 1}", "CPU: 64, and g6.xlarge has 4 vCPUs"),
    "idle GPUs": ("InstanceType: g6.xlarge", "InstanceType: g6.12xlarge", "GPU: 1, and g6.12xlarge has 4; the rest"),
    "no such source": ("~/multitask-sweeps: .", "~/multitask-sweeps: ./sweps", "./sweps, for ~/multitask-sweeps, is not here"),
    "no such home": ("~/multitask-sweeps: .", "~/multitask-sweeps: ~nobody-at-all/x", "~nobody-at-all/x, for"),
    "no such folder": ("cd ~/multitask-sweeps && make", "cd ~/multitask-sweep && make", "~/multitask-sweep is no mount of this file (did you mean ~/multitask-sweeps?)"),
}  # fmt: skip


@pytest.mark.parametrize("case", NOTED)
def test_what_may_be_meant_so_is_a_note(case, examine):
    """It is told, and the exit code stays 0: elsewhere, or for another purpose, the file is right."""
    old, new, says = NOTED[case]
    assert old in TEXT

    code, found = examine(TEXT.replace(old, new))

    assert (code, wrong(found)) == (0, [])
    assert any(says in line for mark, line in found if mark == "note")


RIGHT = {
    "image by parameter": ("ami-0123456789abcdef0", "resolve:ssm:/aws/service/ami"),
    "short ids": ("sg-0123456789abcdef0", "sg-01234567"),
    "zones": ("  use_internal_ips", "  availability_zone: us-west-2a,us-west-2-lax-1a\n  use_internal_ips"),
    "another Ray port": ("6379", "6400"),
    "port by default": ("--head --port=6379", "--head"),
    "braces": ("$RAY_HEAD_IP:", "${RAY_HEAD_IP}:"),
    "government": ("us-west-2", "us-gov-west-1"),
    "Europe's own": ("us-west-2", "eusc-de-east-1"),
    "north-west": ("us-west-2", "cn-northwest-1"),
    "type of no known size": ("InstanceType: g6.xlarge", "InstanceType: g99.4xlarge"),
    "name with a space": ("cluster_name: multitask-sweeps", "cluster_name: Sweeps of Zoe"),
    "bucket by variable": ("aws_head.sh multitask-sweeps-0123456789abcdef0", "aws_head.sh $BUCKET"),
    "another ray command": ("bin/ray stop", "bin/ray stop && ray status"),
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_is_right_is_not_called_a_mistake(case, examine):
    """Forms that AWS and Ray take, beside the file's own."""
    old, new = RIGHT[case]
    assert old in TEXT

    code, found = examine(TEXT.replace(old, new))

    assert (code, wrong(found)) == (0, [])


def test_the_users_default_is_rays_where_nothing_is_said_of_signing_in(examine):
    """Without `auth` Ray takes its own for AWS, with a user; without `ssh_user` in it, none."""
    cluster = yaml.safe_load(TEXT)
    del cluster["auth"]

    assert examine(yaml.safe_dump(cluster))[0] == 0


def test_the_commands_of_ray_are_those_of_the_lock():
    """The list that a start command is held against is what `ray` itself knows."""
    from ray.scripts.scripts import cli

    assert set(cli.commands) == RAY_COMMANDS


@pytest.mark.parametrize(
    ("machine", "vcpus", "gpus"),
    [
        ("g6.xlarge", 4, 1), ("g6.12xlarge", 48, 4), ("g5.48xlarge", 192, 8), ("p4d.24xlarge", 96, 8),
        ("m7i.large", 2, None), ("m7i-flex.2xlarge", 8, None), ("g6f.xlarge", 4, None), ("c4.8xlarge", None, None),
        ("hpc7a.12xlarge", None, None), ("g6.metal", None, None), ("t3.medium", None, None), ("", None, None),
        ("u-6tb1.56xlarge", None, None), ("g6", None, None),
    ],
)  # fmt: skip
def test_a_machines_size_says_its_cpus_and_gpus(machine, vcpus, gpus):
    """By its family and size; of what is not known nothing is said."""
    assert (vcpus_of(machine), gpus_of(machine)) == (vcpus, gpus)


# What is left to edit.


LEFT = {
    "ray_cluster.yaml": ["metadata.region", "metadata.gpus"],
    "gcp.yaml": ["max_workers", "provider.region", "provider.availability_zone", "setup_commands[3]"],
    "local.yaml": ["provider.head_ip", "provider.worker_ips", "auth.ssh_user", "auth.ssh_private_key"],
}


@pytest.mark.parametrize("path", SHIPPED, ids=SHIPPED_IDS)
def test_what_an_edit_mark_is_for_is_left_to_edit(path, examine):
    """Beside the ids, every value under an EDIT mark that is as shipped, once."""
    _, found = examine(path.read_text(encoding="utf-8"))

    told = [line.split(" is the example's, ")[0] for _, line in found if " is the example's, " in line]
    assert told == LEFT[path.name]


def test_what_is_edited_is_not_left_to_edit(examine):
    """Another value is the person's own, and a mark that is gone says that the example's value is meant."""
    text = (ROOT / "cluster/local.yaml").read_text(encoding="utf-8")
    text = text.replace("10.0.0.11 ", "10.1.0.11 ").replace("ubuntu                      # EDIT", "ubuntu")

    _, found = examine(text)

    told = [line.split(" is the example's, ")[0] for _, line in found if " is the example's, " in line]
    assert told == ["provider.worker_ips", "auth.ssh_private_key"]


def test_a_rule_that_is_open_to_the_world_is_named_with_its_port(examine):
    """Beside the group itself, each rule for 0.0.0.0/0 or ::/0 is told."""
    group = (
        "  security_group: {GroupName: mine, IpPermissions: [{FromPort: 8265, ToPort: 8265, IpProtocol: tcp, "
        "IpRanges: [{CidrIp: 0.0.0.0/0}]}, {FromPort: 22, ToPort: 22, IpProtocol: tcp, IpRanges: [{CidrIp: 10.0.0.0/8}]}]}\n"
    )

    _, found = examine(TEXT.replace("  use_internal_ips", f"{group}  use_internal_ips", 1))

    assert [line.split(";")[0] for line in wrong(found)] == [
        "provider.security_group: Ray opens SSH to the world in a group that it makes",
        "provider.security_group.IpPermissions: port 8265 is open to 0.0.0.0/0",
    ]


def test_all_mistakes_are_told_at_once(examine):
    """Mistakes of every check do not hide one another."""
    text = TEXT
    chosen = ("no name", "no region", "min above max", "misspelt field", "no token", "open dashboard", "misspelt key")
    for mistake in chosen:
        text = text.replace(*MISTAKES[mistake][:2], 1)

    code, found = examine(text)

    assert code == BAD_INPUT
    for mistake in chosen:
        assert any(MISTAKES[mistake][2] in line for line in wrong(found)), mistake


def test_without_start_commands_rays_open_ones_are_told(examine):
    """Without any start command of one's own Ray starts as its defaults do: open."""
    cluster = yaml.safe_load(TEXT)
    for place in ("head_start_ray_commands", "worker_start_ray_commands"):
        del cluster[place]

    _, found = examine(yaml.safe_dump(cluster))

    assert [line.split(":")[0] for line in wrong(found)] == ["head_start_ray_commands", "worker_start_ray_commands"]


# The file itself.


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ": holds nothing; expected a cluster file"),
        ("[1, 2]", ": holds list; expected a cluster file"),
        ("a: 1\n\tb: 2", ":2 found character '\\t' that cannot start any token; YAML is indented with spaces"),
        ("a: 1\nmax_workers: 2\nb: {c: 1, c: 2}", ":3 'c' is given twice (first in line 3)"),
        ("a: !!python/object/apply:os.system [echo]", ":1 could not determine a constructor for the tag"),
        ("a: &a [*a]", ":1 an alias stands within what it names"),
        ("apiVersion: ray.io/v1\nkind: RayJob", ": is a RayJob for Kubernetes"),
        ('AWSTemplateFormatVersion: "2010-09-09"\nA: !Ref B', ": is a template of CloudFormation; expected a file for"),
        ("Resources: {A: {Type: 'AWS::S3::Bucket', B: !Ref C}}", ": is a template of CloudFormation"),
        ("\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10) if n else 1}]" for n in range(12)), ": its aliases"),
        ("a: [1", ":1 expected ',' or ']'"),
    ],
    ids=[
        "empty",
        "list",
        "tab",
        "key twice",
        "object",
        "ring",
        "Kubernetes",
        "CloudFormation",
        "its resources",
        "bomb",
        "unclosed",
    ],
)
def test_what_is_no_cluster_file_is_one_line(text, says, tmp_path, examine):
    """It is named with its line, and nothing else is said of it."""
    code, found = examine(text)

    assert code == BAD_INPUT
    ((_, line),) = found
    assert line.startswith(f"{tmp_path / 'planted.yaml'}{says}")


def test_merged_keys_may_be_given_again(tmp_path):
    """What `<<` brings is no key given twice."""
    file = tmp_path / "merged.yaml"
    file.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n", encoding="utf-8")

    assert read_cluster(file)["b"] == {"x": 3, "y": 2}


def test_a_file_that_is_not_there_is_named(tmp_path):
    """As it is given."""
    with pytest.raises(SweepError, match=r"nothing\.yaml: cannot be read \(No such file or directory\)"):
        read_cluster(tmp_path / "nothing.yaml")


@pytest.mark.parametrize("name", ["slurm.sh", "Dockerfile"])
def test_a_file_of_another_kind_is_one_line(name):
    """It says what the doctor reads, and looks no further."""
    error = one_error(invoke(app, ROOT / "cluster" / name), BAD_INPUT)

    assert error.endswith(
        f"{name}: is neither a search space (.py) nor a cluster file of `ray up` (.yaml, .yml); doctor reads these two"
    )


def test_an_option_beside_a_cluster_file_is_refused():
    """It would change nothing, and may be thought to; --debug is for every command."""
    file = ROOT / "ray_cluster.yaml"

    error = one_error(invoke(app, file, "--address", "10.0.0.1:6379", "--trials", "3"), BAD_INPUT)

    assert error.startswith("--address, --trials: for a search space alone, and ")
    assert invoke(app, file, "--debug").exit_code == 0


# The fields of a machine.


def test_a_field_of_rays_own_is_no_mistake():
    """SubnetIds is Ray's, and only at the top; a name that is like nothing is told without a guess."""
    assert unknown_fields({"SubnetIds": ["subnet-1"], "ImageId": "ami-1"}) == []
    assert unknown_fields({"Placement": {"SubnetIds": []}}) == ["Placement.SubnetIds: no such field of RunInstances"]
    assert unknown_fields({"xyz": 1}) == ["xyz: no such field of RunInstances"]


def test_a_field_deep_in_a_list_is_found():
    """Every element of a list is looked at."""
    tags = {"TagSpecifications": [{"Tags": [{"Key": "a", "Value": "b"}, {"Key": "a", "Valu": "b"}]}]}

    assert unknown_fields(tags) == [
        "TagSpecifications.Tags.Valu: no such field of RunInstances (did you mean 'Value'?)"
    ]


# Laws.

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def places(value, path=()):
    """Return the path of every value in a file."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


PLACES = [path for path in places(yaml.safe_load(TEXT)) if path]


@given(st.sampled_from(PLACES), anything)
@example(("available_node_types", "head", "node_config", "BlockDeviceMappings"), {"\n": None})
def test_no_content_makes_a_check_fail(path, value):
    """Whatever stands in whatever place, the checks give lines and raise nothing."""
    cluster = copy.deepcopy(yaml.safe_load(TEXT))
    *above, last = path
    inner = cluster
    for key in above:
        inner = inner[key]
    inner[last] = value

    for lines in (*problems(cluster).values(), *notes(cluster).values()):
        assert all(isinstance(line, str) and "\n" not in line for line in lines)


def test_what_a_cloud_needs_from_here_is_a_note_and_no_mistake():
    """Without AWS's client, or without credentials, a line says which; other providers have none of it."""
    lines = cloud_access(yaml.safe_load(TEXT))
    assert len(lines) <= 1
    if importlib.util.find_spec("boto3") is None:
        assert lines == ["boto3 is not installed here, and `ray up` needs it for AWS; pip install -e '.[cluster]'"]
    assert cloud_access(yaml.safe_load((ROOT / "cluster/local.yaml").read_text(encoding="utf-8"))) == []


@pytest.mark.slow
def test_the_command_says_it_as_a_person_sees_it(tmp_path):
    """As a process of its own: lines on standard output, nothing on standard error, exit codes 0 and 2."""
    planted = tmp_path / "planted.yml"
    planted.write_text(TEXT.replace("cluster_name: multitask-sweeps\n", ""), encoding="utf-8")

    good, bad = run("orchestrator.doctor", ROOT / "ray_cluster.yaml"), run("orchestrator.doctor", planted)

    assert (good.returncode, good.stderr) == (0, "")
    assert (bad.returncode, bad.stderr) == (BAD_INPUT, "")
    assert "FAIL names          cluster_name: missing" in bad.stdout
