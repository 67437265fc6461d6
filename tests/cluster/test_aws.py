"""ray_cluster.yaml against moto's server, which answers as AWS does: account, bootstrap, machines, volume.

Run by `make aws-test` in an environment of its own, since moto wants a graphql-core that breaks MLflow. What moto does
not have: machines that boot (what runs on them is tested in test_head.py and test_ray_cluster.py), a say on who may do
what (tests/cluster/iam.py evaluates it), and, of the account's template, the bucket's policy, the secret, tags
of volumes (these are read here as they stand). It rents the least of the machines that are asked for, one.
"""

import ast
import copy
import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cluster.head import ROOT, sh
from tests.cluster.iam import allows, touched

pytest.importorskip("moto", reason="needs moto, in an environment of its own: make aws-test")
boto3 = pytest.importorskip("boto3")

TEMPLATE = (ROOT / "cluster/aws_account.yaml").read_text(encoding="utf-8")
REGION = "us-west-2"
ACCOUNT = "123456789012"
"""What moto answers as."""
LISTS = [
    {"ParameterKey": name, "ParameterValue": default}
    for name, default in re.findall(r"(\w+):\n    Type: CommaDelimitedList\n    Default: (\S+)", TEMPLATE)
]
"""Said, since moto splits what is given and not what is the default."""
SETTINGS = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
    "RAY_AUTOSCALER_UTILIZATION_SCORER": "spot_first.score",
}


@pytest.fixture(scope="module")
def moto(tmp_path_factory):
    """Return the address of a server that answers as AWS does, with an empty account; nothing leaves this machine."""
    before = dict(os.environ)
    os.environ.update(SETTINGS, HOME=str(tmp_path_factory.mktemp("home")))
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    os.environ["AWS_ENDPOINT_URL"] = f"http://{host}:{port}"
    yield os.environ["AWS_ENDPOINT_URL"]
    server.stop()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def account(moto):
    """Return the outputs of cluster/aws_account.yaml, deployed to the empty account."""
    assert moto.startswith("http://127.0.0.1:")
    stacks = boto3.client("cloudformation")
    text = TEMPLATE.replace('!GetAZs ""', f"!GetAZs {REGION}")  # moto takes the region of "" for us-east-1
    stacks.create_stack(
        StackName="multitask-sweeps", TemplateBody=text, Capabilities=["CAPABILITY_NAMED_IAM"], Parameters=LISTS
    )
    (stack,) = stacks.describe_stacks(StackName="multitask-sweeps")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


@pytest.fixture(scope="module")
def template():
    """Return the properties of the template's resources by name."""
    from cfnlint.decode import cfn_yaml

    resources = cfn_yaml.loads(TEMPLATE)["Resources"]
    return {name: resource.get("Properties", {}) for name, resource in resources.items()}


@pytest.fixture(scope="module")
def volume(template, account, ec2):
    """Return the id of the data volume, made from the template's properties: moto's stack leaves its tags out."""
    data = template["Data"]
    subnet = ec2.describe_subnets(SubnetIds=[account["HeadSubnet"]])["Subnets"][0]
    made = ec2.create_volume(
        AvailabilityZone=subnet["AvailabilityZone"],
        Size=100,
        VolumeType=data["VolumeType"],
        Encrypted=data["Encrypted"],
        TagSpecifications=[{"ResourceType": "volume", "Tags": [dict(tag) for tag in data["Tags"]]}],
    )
    return made["VolumeId"]


@pytest.fixture(scope="module")
def ec2(moto):
    """Return a client."""
    assert moto
    return boto3.client("ec2")


@pytest.fixture(scope="module")
def edited(account, ec2):
    """Return ray_cluster.yaml as a person edits it: the five places, from the outputs and the image's id."""
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    text = (ROOT / "ray_cluster.yaml").read_text(encoding="utf-8")
    for example, own in (
        ("ami-0123456789abcdef0", image),
        (
            "worker_subnets: &worker_subnets [subnet-0123456789abcdef0]",
            f"worker_subnets: &worker_subnets [{account['WorkerSubnets']}]",
        ),
        ("subnet-0123456789abcdef0", account["HeadSubnet"]),
        ("sg-0123456789abcdef0", account["SecurityGroup"]),
        ("fs-0123456789abcdef0", account["Shared"]),
        ("multitask-sweeps-0123456789abcdef0", account["Bucket"]),
    ):
        assert example in text
        text = text.replace(example, own)
    return yaml.safe_load(text)


@pytest.fixture(scope="module")
def bootstrapped(edited):
    """Return the file as `ray up` has it after its bootstrap, before it rents anything."""
    from ray.autoscaler._private.commands import _bootstrap_config

    return _bootstrap_config(copy.deepcopy(edited), no_config_cache=True)


@pytest.fixture
def provider(bootstrapped):
    """Return Ray's own node provider; what it rents is ended after the test."""
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    provider = AWSNodeProvider(bootstrapped["provider"], bootstrapped["cluster_name"])
    yield provider
    if left := provider.non_terminated_nodes({}):
        provider.terminate_nodes(left)


@pytest.fixture
def launcher(bootstrapped, provider, monkeypatch):
    """Return what rents workers in Ray's monitor, and what it knows of the cloud's refusals."""
    from ray.autoscaler._private.event_summarizer import EventSummarizer
    from ray.autoscaler._private.node_launcher import BaseNodeLauncher
    from ray.autoscaler._private.node_provider_availability_tracker import NodeProviderAvailabilityTracker
    from ray.autoscaler._private.prom_metrics import AutoscalerPrometheusMetrics

    monkeypatch.syspath_prepend(ROOT / "cluster")
    tracker = NodeProviderAvailabilityTracker()
    launcher = BaseNodeLauncher(
        provider=provider,
        pending=None,
        event_summarizer=EventSummarizer(),
        node_provider_availability_tracker=tracker,
        session_name="test",
        prom_metrics=AutoscalerPrometheusMetrics(session_name="test"),
    )

    def launch(node_type, count=1):
        return launcher._launch_node(copy.deepcopy(bootstrapped), count, node_type) or {}

    launch.tracker = tracker
    return launch


def policy_of(role, name):
    """Return a role's own policy, with what the stack made filled in."""
    found = boto3.client("iam").get_role_policy(RoleName=role, PolicyName=name)
    return ast.literal_eval(found["PolicyDocument"])


def rent_head(provider, bootstrapped):
    """Rent the head as `ray up` does."""
    from ray.autoscaler.tags import TAG_RAY_LAUNCH_CONFIG, TAG_RAY_NODE_KIND, TAG_RAY_NODE_NAME, TAG_RAY_USER_NODE_TYPE

    tags = {
        TAG_RAY_NODE_KIND: "head",
        TAG_RAY_USER_NODE_TYPE: "head",
        TAG_RAY_NODE_NAME: "ray-multitask-sweeps-head",
        TAG_RAY_LAUNCH_CONFIG: "hash",
    }
    config = copy.deepcopy(bootstrapped["available_node_types"]["head"]["node_config"])
    (head,) = provider.create_node(config, tags, 1)
    return head


def instance(ec2, identity):
    """Return what the cloud holds of a machine."""
    return ec2.describe_instances(InstanceIds=[identity])["Reservations"][0]["Instances"][0]


def zone_of(ec2, identity):
    """Return the zone of a machine's subnet; what moto says of the machine itself is always us-east-1a."""
    return ec2.describe_subnets(SubnetIds=[instance(ec2, identity)["SubnetId"]])["Subnets"][0]["AvailabilityZone"]


def volumes(ec2, machine):
    """Return a machine's disks."""
    ids = [mapping["Ebs"]["VolumeId"] for mapping in machine["BlockDeviceMappings"]]
    return ec2.describe_volumes(VolumeIds=ids)["Volumes"]


# The account.


def test_the_template_is_valid():
    """cfn-lint, which holds AWS's own schemas, finds nothing in it."""
    lint = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run([lint, ROOT / "cluster/aws_account.yaml"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_account_has_a_network_that_nobody_reaches(account, template, ec2):
    """The group's one inbound rule is itself, the workers' subnets are in two zones, without public addresses."""
    (group,) = ec2.describe_security_groups(GroupIds=[account["SecurityGroup"]])["SecurityGroups"]
    (rule,) = group["IpPermissions"]
    assert rule["IpProtocol"] == "-1"
    assert rule["IpRanges"] == []
    assert [pair["GroupId"] for pair in rule["UserIdGroupPairs"]] == [account["SecurityGroup"]]
    subnets = ec2.describe_subnets(SubnetIds=account["WorkerSubnets"].split(", "))["Subnets"]
    assert len({subnet["AvailabilityZone"] for subnet in subnets}) == 2
    assert [template[name]["MapPublicIpOnLaunch"] for name in ("PrivateA", "PrivateB")] == [False, False]


def test_the_bucket_is_closed_and_remembers(template):
    """No public access, TLS alone, encrypted, versioned; deleting the stack keeps what lasts."""
    bucket = template["Bucket"]
    assert list(bucket["PublicAccessBlockConfiguration"].values()) == [True] * 4
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert bucket["BucketEncryption"]
    (deny,) = template["BucketByTlsAlone"]["PolicyDocument"]["Statement"]
    assert (deny["Effect"], deny["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    assert TEMPLATE.count("DeletionPolicy: Retain") == 3


def test_what_an_earlier_stack_kept_is_taken_up_again(account, ec2):
    """A stack that is given bucket, volume and file system makes none, and its roles and outputs name those."""
    bucket, volume = account["Bucket"], "vol-0123456789abcdef0"
    shared = boto3.client("efs").create_file_system(CreationToken="kept")["FileSystemId"]  # mounted in no network
    kept = {"ExistingBucket": bucket, "ExistingVolume": volume, "ExistingShared": shared}
    stacks, before = boto3.client("cloudformation"), len(ec2.describe_volumes()["Volumes"])
    # moto's stacks keep nothing when they go, so the first one stays, and the names of roles are others here.
    text = re.sub(r"(Name: multitask-sweeps-)(head|worker)\b", r"\1again-\2", TEMPLATE)
    text = text.replace('!GetAZs ""', f"!GetAZs {REGION}")
    given = [*LISTS, *({"ParameterKey": name, "ParameterValue": value} for name, value in kept.items())]
    stacks.create_stack(StackName="again", TemplateBody=text, Capabilities=["CAPABILITY_NAMED_IAM"], Parameters=given)
    made = {
        one.get("LogicalResourceId") for one in stacks.describe_stack_resources(StackName="again")["StackResources"]
    }
    outputs = {
        one["OutputKey"]: one["OutputValue"]
        for one in stacks.describe_stacks(StackName="again")["Stacks"][0]["Outputs"]
    }
    policies = [policy_of(f"multitask-sweeps-again-{name}", name) for name in ("head", "worker")]

    assert made.isdisjoint({"Bucket", "Data", "Shared"})
    assert made >= {"Network", "SharedInA", "HeadRole"}
    assert (outputs["Bucket"], outputs["Shared"]) == (bucket, shared)
    assert len(ec2.describe_volumes()["Volumes"]) == before
    assert allows(policies[0], "ec2:AttachVolume", f"arn:aws:ec2:{REGION}:{ACCOUNT}:volume/{volume}")
    for policy in policies:
        assert allows(policy, "s3:PutObject", f"arn:aws:s3:::{bucket}/mlflow/1/weights")
        assert allows(policy, "s3:ListBucket", f"arn:aws:s3:::{bucket}")


def test_a_worker_may_do_little(template):
    """Read the token, write MLflow's artifacts; no machine, no backup, no role."""
    (policy,) = template["WorkerRole"]["Policies"]
    statements = policy["PolicyDocument"]["Statement"]
    actions = [one["Action"] if isinstance(one["Action"], list) else [one["Action"]] for one in statements]
    assert {action.split(":")[0] for some in actions for action in some} == {"s3", "secretsmanager"}
    (places,) = [one["Resource"] for one in statements if "s3:PutObject" in one["Action"]]
    assert str(places).count("/mlflow/*") == 1


@pytest.fixture(scope="module")
def head_may(account):
    """Return what says whether the head's policy allows a request to EC2, given by its name and boto's parameters."""
    policy = policy_of("multitask-sweeps-head", "head")
    assert account["Bucket"] in str(policy)

    def may(operation, params, tags_of=lambda _: {}):
        asked = list(touched(operation, params, (REGION, ACCOUNT), tags_of))
        return asked != [] and all(allows(policy, action, resource, **more) for action, resource, more in asked)

    may.policy = policy
    return may


def test_the_head_may_do_all_that_rays_provider_asks(bootstrapped, provider, launcher, ec2, head_may):
    """Rent both types of worker, tag them as they come and later, look at them, end them: all of it is allowed."""
    refused, seen = [], set()

    def note(params, model, **_):
        tags = lambda identity: {tag["Key"]: tag["Value"] for tag in instance(ec2, identity)["Tags"]}  # noqa: E731
        seen.add(model.name)
        if not head_may(model.name, params, tags):
            refused.append((model.name, params))

    for client in (provider.ec2.meta.client, provider.ec2_fail_fast.meta.client):
        client.meta.events.register("before-parameter-build.ec2", note)
    for node_type in ("gpu_spot", "gpu_on_demand"):
        (worker,) = launcher(node_type)
        provider.non_terminated_nodes({})  # as the autoscaler does first
        provider.set_node_tags(worker, {"ray-node-status": "up-to-date", "ray-node-name": "worker"})
    provider.terminate_nodes(provider.non_terminated_nodes({}))

    assert refused == []
    assert seen >= {"RunInstances", "CreateTags", "DescribeInstances", "TerminateInstances"}
    assert bootstrapped["cluster_name"] == "multitask-sweeps"


OF_CLUSTER = {"ray-cluster-name": "multitask-sweeps"}


@pytest.mark.parametrize("tags", [{}, {"ray-cluster-name": "another"}, {"Name": "multitask-sweeps"}])
def test_the_head_cannot_take_or_end_a_strangers_machine(head_may, tags):
    """It may not give it the cluster's tag, with which it could end it; nor end, stop or start it as it is."""
    stranger = "i-0123456789abcdef0"
    tag = {"Resources": [stranger], "Tags": [{"Key": "ray-cluster-name", "Value": "multitask-sweeps"}]}
    assert not head_may("CreateTags", tag, lambda _: tags)
    for operation in ("TerminateInstances", "StopInstances", "StartInstances"):
        assert not head_may(operation, {"InstanceIds": [stranger]}, lambda _: tags)
        assert head_may(operation, {"InstanceIds": [stranger]}, lambda _: OF_CLUSTER)


@pytest.mark.parametrize(
    "other",
    [
        {"SubnetId": "subnet-0fedcba9876543210"}, {"SecurityGroupIds": ["sg-0fedcba9876543210"]},
        {"InstanceType": "p5.48xlarge"}, {"TagSpecifications": [{"ResourceType": "instance", "Tags": []}]},
    ],
    ids=lambda other: next(iter(other)),
)  # fmt: skip
def test_the_head_rents_the_clusters_machines_alone(bootstrapped, account, head_may, other):
    """In the stack's subnets and security group, of the types that the stack was given, under the cluster's tag."""
    config = bootstrapped["available_node_types"]["gpu_spot"]["node_config"]
    request = {name: config[name] for name in ("ImageId", "InstanceType", "KeyName")} | {
        "SubnetId": account["WorkerSubnets"].split(", ")[1],
        "SecurityGroupIds": [account["SecurityGroup"]],
        "TagSpecifications": [
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in OF_CLUSTER.items()]}
        ],
    }
    assert head_may("RunInstances", request)
    assert not head_may("RunInstances", request | other)


def test_the_head_attaches_the_data_volume_to_its_own_cluster(head_may):
    """Neither another volume, nor to a machine of somebody else's."""
    (volume,) = [
        place
        for statement in head_may.policy["Statement"]
        if "ec2:AttachVolume" in statement["Action"]
        for place in ([statement["Resource"]] if isinstance(statement["Resource"], str) else statement["Resource"])
        if ":volume/" in place
    ]
    machine = f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-0123456789abcdef0"
    mine = {"aws:ResourceTag/ray-cluster-name": "multitask-sweeps"}
    assert re.search(r":volume/vol-\w+$", volume)
    assert allows(head_may.policy, "ec2:AttachVolume", volume)
    assert not allows(head_may.policy, "ec2:AttachVolume", volume + "0")
    assert allows(head_may.policy, "ec2:AttachVolume", machine, **mine)
    assert not allows(head_may.policy, "ec2:AttachVolume", machine)


def test_the_head_gives_machines_the_workers_role_and_no_other(head_may):
    """Its own role on a machine that it rents would be a second head."""
    role = f"arn:aws:iam::{ACCOUNT}:role/multitask-sweeps"
    assert allows(head_may.policy, "iam:PassRole", f"{role}-worker")
    assert not allows(head_may.policy, "iam:PassRole", f"{role}-head")


def test_the_token_is_made_by_the_account(template):
    """64 letters and digits that nobody typed, under the name that the nodes ask for."""
    assert template["Token"]["Name"] == "multitask-sweeps/ray-token"
    assert template["Token"]["GenerateSecretString"] == {"PasswordLength": 64, "ExcludePunctuation": True}
    assert "multitask-sweeps/ray-token" in (ROOT / "cluster/aws_token.sh").read_text(encoding="utf-8")


# Ray's bootstrap.


def test_the_edited_file_has_nothing_left_to_edit(edited, tmp_path):
    """The doctor's checks pass on it, without a note."""
    from orchestrator.cluster_checks import problems
    from orchestrator.cluster_file import left_to_edit

    assert left_to_edit(edited) == []
    assert not any(problems(edited).values())
    assert tmp_path


def test_the_bootstrap_makes_neither_group_nor_role(bootstrapped, ec2, account):
    """Ray finds all that it would else make open: groups, roles, subnets; it makes a key pair."""
    groups = {group["GroupName"] for group in ec2.describe_security_groups()["SecurityGroups"]}
    assert not [name for name in groups if name.startswith("ray-autoscaler")]
    roles = {role["RoleName"] for role in boto3.client("iam").list_roles()["Roles"]}
    assert "ray-autoscaler-v1" not in roles
    for node in bootstrapped["available_node_types"].values():
        assert node["node_config"]["SecurityGroupIds"] == [account["SecurityGroup"]]
        assert node["node_config"]["KeyName"] == f"ray-autoscaler_{REGION}"


# Machines.


def test_each_type_is_rented_as_the_file_says(bootstrapped, provider, launcher, ec2, account):
    """Market, machine, group, subnet, profile, IMDSv2, encrypted disk and Ray's tags are what the cloud then holds."""
    rented = {"head": [rent_head(provider, bootstrapped)]}
    for node_type in ("gpu_spot", "gpu_on_demand"):
        rented[node_type] = list(launcher(node_type))

    assert [len(ids) for ids in rented.values()] == [1, 1, 1]
    for node_type, ids in rented.items():
        for identity in ids:
            machine = instance(ec2, identity)
            tags = {tag["Key"]: tag["Value"] for tag in machine["Tags"]}
            disks = volumes(ec2, machine)
            print(
                f"{identity} {node_type}: {machine['InstanceType']}, {machine.get('InstanceLifecycle', 'on demand')}, "
                f"IMDSv2 {machine['MetadataOptions']['HttpTokens']}, "
                f"disks {[(disk['Size'], disk['VolumeType'], disk['Encrypted']) for disk in disks]}, "
                f"{machine['IamInstanceProfile']['Arn'].rpartition('/')[2]}, {tags['ray-user-node-type']}",
            )
            assert machine.get("InstanceLifecycle") == ("spot" if node_type == "gpu_spot" else None)
            assert machine["InstanceType"] == ("m7i.xlarge" if node_type == "head" else "g6.xlarge")
            assert [group["GroupId"] for group in machine["SecurityGroups"]] == [account["SecurityGroup"]]
            assert machine["SubnetId"] in account["WorkerSubnets"]
            assert machine["IamInstanceProfile"]["Arn"].endswith(
                "/multitask-sweeps-head" if node_type == "head" else "/multitask-sweeps-worker"
            )
            assert machine["MetadataOptions"]["HttpTokens"] == "required"
            assert machine["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
            assert [(disk["Size"], disk["VolumeType"], disk["Encrypted"]) for disk in disks] == [(150, "gp3", True)]
            assert tags["ray-cluster-name"] == "multitask-sweeps"
            assert tags["ray-user-node-type"] == node_type
            assert not machine.get("PublicIpAddress")


def refuse(provider, when):
    """Answer RunInstances as AWS does where it has no such machine; `when` says of which requests."""
    from botocore.awsrequest import AWSResponse

    body = (
        b'<?xml version="1.0"?><Response><Errors><Error><Code>InsufficientInstanceCapacity</Code><Message>There is no '
        b"Spot capacity available that matches your request.</Message></Error></Errors></Response>"
    )

    class Raw:
        def stream(self):
            yield body

    def answer(request, **_):
        asked = request.body.decode() if isinstance(request.body, bytes) else str(request.body)
        return AWSResponse(request.url, 500, {"content-type": "text/xml"}, Raw()) if when(asked) else None

    provider.ec2_fail_fast.meta.client.meta.events.register("before-send.ec2.RunInstances", answer)


def test_where_aws_has_no_spot_machine_the_other_type_is_rented(bootstrapped, provider, launcher):
    """AWS refuses spot: Ray notes it, the scorer turns to on demand, and those machines are rented."""
    from ray.autoscaler._private.resource_demand_scheduler import ResourceDemandScheduler

    refuse(provider, lambda asked: "MarketType=spot" in asked)
    rent_head(provider, bootstrapped)
    scheduler = ResourceDemandScheduler(
        provider, bootstrapped["available_node_types"], bootstrapped["max_workers"], "head", 1000.0
    )
    seen = []
    for _ in range(2):
        wanted, _ = scheduler.get_nodes_to_launch(
            provider.non_terminated_nodes({}),
            {},
            [{"CPU": 4, "GPU": 1}],
            {},
            [],
            {},
            [],
            launcher.tracker.summary(),
        )
        seen.append(dict(wanted))
        for node_type, count in wanted.items():
            launcher(node_type, count)
        print(f"asked for {seen[-1]}; runs: {sorted(_types(provider))}")

    assert seen == [{"gpu_spot": 1}, {"gpu_on_demand": 1}]
    assert sorted(_types(provider)) == ["gpu_on_demand", "head"]


def _types(provider):
    return [provider.node_tags(node)["ray-user-node-type"] for node in provider.non_terminated_nodes({})]


def test_a_misspelt_field_is_what_aws_would_refuse_too(bootstrapped, provider):
    """What the doctor calls no field of RunInstances is refused at the first machine, after minutes of set-up."""
    from botocore.exceptions import ParamValidationError

    from orchestrator.aws_fields import unknown_fields

    config = copy.deepcopy(bootstrapped["available_node_types"]["gpu_spot"]["node_config"])
    assert unknown_fields(config) == []
    config["MetadataOptions"]["HttpToken"] = config["MetadataOptions"].pop("HttpTokens")
    assert unknown_fields(config) == [
        "MetadataOptions.HttpToken: no such field of RunInstances (did you mean 'HttpTokens'?)"
    ]
    with pytest.raises(ParamValidationError, match="HttpToken"):
        provider.create_node(config, {"ray-node-kind": "worker", "ray-launch-config": "hash"}, 1)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "no AWS credentials are found here, and `ray up` would end at once with that; aws configure sso"),
        (
            {"AWS_PROFILE": "nobody"},
            "AWS credentials: The config profile (nobody) could not be found; aws configure sso",
        ),
        ({"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}, None),
    ],
)
def test_credentials_that_are_not_there_are_a_line(edited, monkeypatch, tmp_path, environment, said):
    """The doctor says so before `ray up` does; credentials that are there are not tried."""
    from orchestrator.aws_fields import unknown_fields
    from orchestrator.cloud_access import cloud_access

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    nowhere = {name: str(tmp_path / "none") for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")}
    for name, value in {**nowhere, "AWS_EC2_METADATA_DISABLED": "true", **environment}.items():
        monkeypatch.setenv(name, value)

    lines = cloud_access(edited)

    assert unknown_fields({"ImageIdd": ""}) != []  # whatever is wrong with them, the other checks go on
    assert len(lines) == (said is not None)
    assert all(line.startswith(said) for line in lines)


def test_the_bundled_list_of_fields_is_botocores():
    """What the doctor knows without botocore is what botocore 1.44.8 knows; a newer one may know more."""
    from orchestrator.aws_fields import KNOWN, fields_of_botocore

    assert fields_of_botocore() == KNOWN


# The volume.


@pytest.fixture(scope="module")
def aws_volume():
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location("aws_volume", ROOT / "cluster/aws_volume.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_down_and_up_find_the_volume_and_the_bucket_again(bootstrapped, provider, ec2, account, volume, aws_volume):
    """`ray down` ends every machine; the volume stays, encrypted, and the next head gets the same one."""
    first = rent_head(provider, bootstrapped)
    zone = zone_of(ec2, first)
    found = aws_volume.find(ec2, "multitask-sweeps", zone)
    assert found["Encrypted"] is True
    assert aws_volume.attach(ec2, found, first, pause_s=0) == volume
    assert aws_volume.attach(ec2, found, first, pause_s=0) == volume
    boto3.client("s3").put_object(Bucket=account["Bucket"], Key="sweeps/exp4/state", Body=b"weights")

    provider.terminate_nodes(provider.non_terminated_nodes({}))
    assert instance(ec2, first)["State"]["Name"] == "terminated"
    second = rent_head(provider, bootstrapped)
    found = aws_volume.attach(ec2, aws_volume.find(ec2, "multitask-sweeps", zone), second, pause_s=0)

    assert found == volume
    assert second != first
    print(f"head {first} with {found}, ended; head {second} with {found}")
    held = boto3.client("s3").get_object(Bucket=account["Bucket"], Key="sweeps/exp4/state")["Body"].read()
    assert held == b"weights"


def test_a_volume_that_another_machine_holds_is_not_taken(bootstrapped, provider, ec2, volume, aws_volume):
    """It is waited for, then told who has it."""
    first, second = rent_head(provider, bootstrapped), rent_head(provider, bootstrapped)
    found = aws_volume.find(ec2, "multitask-sweeps", zone_of(ec2, first))
    aws_volume.attach(ec2, found, first, pause_s=0)

    with pytest.raises(aws_volume.VolumeError, match=rf"{volume} is in-use, held by {first}, after 0 s"):
        aws_volume.attach(ec2, found, second, wait_s=0.1, pause_s=0.05)


@pytest.mark.usefixtures("volume")
def test_a_volume_that_is_missing_or_doubled_is_told(ec2, aws_volume):
    """No volume in the zone names where there is one; none at all names what makes one; two are not chosen from."""
    with pytest.raises(
        aws_volume.VolumeError, match=r"no volume in us-west-2z .*; there is vol-\w+ in us-west-2\w: give"
    ):
        aws_volume.find(ec2, "multitask-sweeps", "us-west-2z")
    with pytest.raises(aws_volume.VolumeError, match=r"cluster/aws_account\.yaml makes one"):
        aws_volume.find(ec2, "another", "us-west-2a")
    tags = [{"ResourceType": "volume", "Tags": [{"Key": "multitask-sweeps", "Value": "twice"}]}]
    for _ in range(2):
        ec2.create_volume(AvailabilityZone="us-west-2a", Size=1, TagSpecifications=tags)
    with pytest.raises(aws_volume.VolumeError, match=r"2 volumes in us-west-2a have the tag"):
        aws_volume.find(ec2, "twice", "us-west-2a")


# The backup.


def test_a_backup_comes_back_from_the_bucket(account, head):
    """Dumped to S3 by the aws CLI, fetched from there, restored: the rows are the same."""
    if shutil.which("aws") is None:
        pytest.skip("needs the aws CLI")
    head.sql("create table of_bucket(trial int); insert into of_bucket select generate_series(1, 500)")
    place = {"SWEEP_SETTINGS": str(head.settings), "SWEEP_BACKUPS": f"s3://{account['Bucket']}/backups"}

    said = sh("backup.sh", **place)
    head.sql("drop table of_bucket")
    sh("restore.sh", said.removeprefix("backup: "), **place)

    print(f"{said}")
    assert head.sql("select count(*) from of_bucket") == "500"
    keys = [
        item["Key"]
        for item in boto3.client("s3").list_objects_v2(Bucket=account["Bucket"], Prefix="backups/")["Contents"]
    ]
    assert sorted(Path(key).name for key in keys) == ["mlflow.dump", "mlflow_users.dump", "sha256", "study.dump"]
