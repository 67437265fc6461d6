"""The fields of EC2's RunInstances, to which Ray hands a `node_config` as it stands: a misspelt one costs a start.

botocore knows them where it is installed (pip install -e '.[aws]'); else the list below, as of botocore 1.44.8.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

Fields = Mapping[str, "Fields"]
"""The names that a structure may have; without any for what is no structure."""
OF_RAY = {"SubnetIds"}
"""Ray takes one of them for each machine."""


def _fields(names: str, **inner: Fields) -> Fields:
    return {name: {} for name in names.split()} | inner


KNOWN = _fields(
    "AdditionalInfo ClientToken DisableApiStop DisableApiTermination DryRun EbsOptimized EnablePrimaryIpv6 ImageId "
    "InstanceInitiatedShutdownBehavior InstanceType Ipv6AddressCount KernelId KeyName MaxCount MinCount "
    "PrivateIpAddress RamdiskId SecurityGroupIds SecurityGroups SubnetId UserData",
    BlockDeviceMappings=_fields(
        "DeviceName NoDevice VirtualName",
        Ebs=_fields(
            "AvailabilityZone AvailabilityZoneId DeleteOnTermination EbsCardIndex Encrypted Iops KmsKeyId OutpostArn "
            "SnapshotId Throughput VolumeInitializationRate VolumeSize VolumeType"
        ),
    ),
    CapacityReservationSpecification=_fields(
        "CapacityReservationPreference",
        CapacityReservationTarget=_fields("CapacityReservationId CapacityReservationResourceGroupArn"),
    ),
    CpuOptions=_fields("AmdSevSnp CoreCount NestedVirtualization ThreadsPerCore"),
    CreditSpecification=_fields("CpuCredits"),
    ElasticGpuSpecification=_fields("Type"),
    ElasticInferenceAccelerators=_fields("Count Type"),
    EnclaveOptions=_fields("Enabled"),
    HibernationOptions=_fields("Configured"),
    IamInstanceProfile=_fields("Arn Name"),
    InstanceMarketOptions=_fields(
        "MarketType",
        SpotOptions=_fields("BlockDurationMinutes InstanceInterruptionBehavior MaxPrice SpotInstanceType ValidUntil"),
    ),
    Ipv6Addresses=_fields("Ipv6Address IsPrimaryIpv6"),
    LaunchTemplate=_fields("LaunchTemplateId LaunchTemplateName Version"),
    LicenseSpecifications=_fields("LicenseConfigurationArn"),
    MaintenanceOptions=_fields("AutoRecovery"),
    MetadataOptions=_fields("HttpEndpoint HttpProtocolIpv6 HttpPutResponseHopLimit HttpTokens InstanceMetadataTags"),
    Monitoring=_fields("Enabled MetricCategoryIds"),
    NetworkInterfaces=_fields(
        "AssociateCarrierIpAddress AssociatePublicIpAddress DeleteOnTermination Description DeviceIndex EnaQueueCount "
        "Groups InterfaceType Ipv4PrefixCount Ipv6AddressCount Ipv6PrefixCount NetworkCardIndex NetworkInterfaceId "
        "PrimaryIpv6 PrivateIpAddress SecondaryPrivateIpAddressCount SubnetId",
        ConnectionTrackingSpecification=_fields("TcpEstablishedTimeout UdpStreamTimeout UdpTimeout"),
        EnaSrdSpecification=_fields("EnaSrdEnabled", EnaSrdUdpSpecification=_fields("EnaSrdUdpEnabled")),
        Ipv4Prefixes=_fields("Ipv4Prefix"),
        Ipv6Addresses=_fields("Ipv6Address IsPrimaryIpv6"),
        Ipv6Prefixes=_fields("Ipv6Prefix"),
        PrivateIpAddresses=_fields("Primary PrivateIpAddress"),
    ),
    NetworkPerformanceOptions=_fields("BandwidthWeighting"),
    Operator=_fields("Principal"),
    Placement=_fields(
        "Affinity AvailabilityZone AvailabilityZoneId GroupId GroupName HostId HostResourceGroupArn PartitionNumber "
        "SpreadDomain Tenancy"
    ),
    PrivateDnsNameOptions=_fields("EnableResourceNameDnsAAAARecord EnableResourceNameDnsARecord HostnameType"),
    SecondaryInterfaces=_fields(
        "DeleteOnTermination DeviceIndex InterfaceType NetworkCardIndex PrivateIpAddressCount SecondarySubnetId",
        PrivateIpAddresses=_fields("PrivateIpAddress"),
    ),
    TagSpecifications=_fields("ResourceType", Tags=_fields("Key Value")),
)


def unknown_fields(node_config: Mapping[str, Any]) -> list[str]:
    """Return a line for each field that RunInstances does not have: its place, and the one that may be meant."""
    given = {name: value for name, value in node_config.items() if name not in OF_RAY}
    return list(_unknown(given, fields_of_botocore() or KNOWN, ""))


def _unknown(given: Any, known: Fields, path: str) -> Iterator[str]:
    if isinstance(given, list):
        for inner in given:
            yield from _unknown(inner, known, path)
    elif isinstance(given, Mapping) and known:
        for name, value in given.items():
            if name in known:
                yield from _unknown(value, known[name], f"{path}{name}.")
            else:
                near = get_close_matches(str(name), [*known, *(OF_RAY if not path else ())], n=1)
                yield f"{path}{name}: no such field of RunInstances" + (f" (did you mean {near[0]!r}?)" if near else "")


def fields_of_botocore() -> Fields | None:
    """Return what the installed botocore knows, or None where there is none, or it is set up wrong here."""
    try:
        from botocore.exceptions import BotoCoreError
        from botocore.session import get_session
    except ImportError:
        return None
    try:
        model = get_session().get_service_model("ec2")
    except BotoCoreError:  # a profile that is not there: cloud_access.py tells it
        return None
    return _of_shape(model.operation_model("RunInstances").input_shape)


def _of_shape(shape: Any) -> Fields:
    if shape.type_name == "list":
        return _of_shape(shape.member)
    if shape.type_name == "structure":
        return {name: _of_shape(member) for name, member in shape.members.items()}
    return {}
