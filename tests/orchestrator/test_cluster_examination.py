"""The doctor, given a cluster file of `ray up`: each mistake is one line, all of them at once."""

import copy
import importlib.util

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.aws_fields import unknown_fields
from orchestrator.cloud_access import cloud_access
from orchestrator.cluster_checks import CHECKS, problems
from orchestrator.cluster_file import read_cluster
from orchestrator.doctor import app
from orchestrator.errors import BAD_INPUT, SweepError
from tests.commands import ROOT, invoke, run

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
    assert all("is the example's" in line or line in lacking for mark, line in found if mark == "note")


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
    "GPU not promised": ("&resources {CPU: 4, GPU: 1}", "{CPU: 4}", "g6.xlarge has one"),
    "GPU not there": ("InstanceType: g6.xlarge", "InstanceType: c7i.xlarge", "c7i.xlarge has none"),
    "spot head": ("InstanceType: m7i.xlarge", "InstanceType: m7i.xlarge\n      InstanceMarketOptions: {MarketType: spot}", "the head is spot"),
    "wrong head": ("head_node_type: head", "head_node_type: haed", "head_node_type"),
}  # fmt: skip
"""Mistake: what stands in ray_cluster.yaml, what is put there, and what the one line says.

What stands in the part that node types share would be told once for each of them: those are below.
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
    "no group": ("      SecurityGroupIds: *security_groups\n", "", "SecurityGroupIds: missing"),
    "no image": ("      ImageId: *image\n", "", "ImageId: missing"),
}


@pytest.mark.parametrize("mistake", SHARED)
def test_a_mistake_in_what_the_machines_share_is_told_of_each(mistake, examine):
    """A line for each node type that has it, since each may be mended apart."""
    old, new, says = SHARED[mistake]

    code, found = examine(TEXT.replace(old, new, 1))

    assert code == BAD_INPUT
    assert len(wrong(found)) == 3
    assert all(says in line for line in wrong(found))
    assert {line.split(".")[1] for line in wrong(found)} == {"head", "gpu_spot", "gpu_on_demand"}


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
        ("\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10) if n else 1}]" for n in range(12)), ": its aliases"),
        ("a: [1", ":1 expected ',' or ']'"),
    ],
    ids=["empty", "list", "tab", "key twice", "object", "ring", "Kubernetes", "bomb", "unclosed"],
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
def test_no_content_makes_a_check_fail(path, value):
    """Whatever stands in whatever place, the checks give lines and raise nothing."""
    cluster = copy.deepcopy(yaml.safe_load(TEXT))
    *above, last = path
    inner = cluster
    for key in above:
        inner = inner[key]
    inner[last] = value

    for lines in problems(cluster).values():
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
