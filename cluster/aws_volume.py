"""`python aws_volume.py NAME`: attaches this machine's data volume and prints where it lies. Run on the head.

The volume is the one in this zone with the tag `multitask-sweeps: NAME`. None is made here: an empty leaderboard in
place of the real one would be worse than an error. One that another machine holds is waited for, since `ray up` may
come before `ray down` has ended: nobody takes a volume from a machine that writes to it.
"""

import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

METADATA = "169.254.169.254"
TAG = "multitask-sweeps"
WAIT_S = 300.0
DEVICE = "/dev/sdf"
"""What AWS wants to hear; the kernel gives an NVMe disk a name of its own."""


class VolumeError(Exception):
    """What a person reads: what is there, what was expected, what to do."""


def find(ec2: Any, name: str, zone: str) -> dict[str, Any]:
    """Return the one volume of this name in the zone. Raises VolumeError where there is none, or more."""
    found = ec2.describe_volumes(Filters=[{"Name": f"tag:{TAG}", "Values": [name]}])["Volumes"]
    here = [volume for volume in found if volume["AvailabilityZone"] == zone]
    if len(here) == 1:
        return dict(here[0])
    if here:
        ids = ", ".join(sorted(volume["VolumeId"] for volume in here))
        raise VolumeError(f"{len(here)} volumes in {zone} have the tag {TAG}: {name} ({ids}); expected one")
    where = ", ".join(sorted(f"{volume['VolumeId']} in {volume['AvailabilityZone']}" for volume in found))
    raise VolumeError(
        f"no volume in {zone} has the tag {TAG}: {name}"
        + (
            f"; there is {where}: give the head a subnet of that zone"
            if where
            else "; cluster/aws_account.yaml makes one"
        )
    )


def attach(ec2: Any, volume: dict[str, Any], instance: str, *, wait_s: float = WAIT_S, pause_s: float = 5.0) -> str:
    """Attach the volume to this machine, once it is free, and return its id. Raises VolumeError after `wait_s`."""
    end = time.monotonic() + wait_s
    identity = volume["VolumeId"]
    while True:
        volume = ec2.describe_volumes(VolumeIds=[identity])["Volumes"][0]
        holders = {held["InstanceId"]: held["State"] for held in volume["Attachments"]}
        if holders.get(instance) == "attached":
            return str(identity)
        if volume["State"] == "available":
            ec2.attach_volume(VolumeId=identity, InstanceId=instance, Device=DEVICE)
        elif time.monotonic() > end:
            others = ", ".join(holders) or "nobody"
            raise VolumeError(
                f"volume {identity} is {volume['State']}, held by {others}, after {wait_s:.0f} s; end that"
            )
        time.sleep(pause_s)


def path(identity: str) -> Path:
    """Return the name that udev gives an attached volume."""
    return Path("/dev/disk/by-id") / f"nvme-Amazon_Elastic_Block_Store_{identity.replace('-', '')}"


def _ask(place: str, **headers: str) -> str:
    """Return what the machine's metadata service says; IMDSv2 wants a token for it, got by PUT."""
    connection = HTTPConnection(METADATA, timeout=5)
    connection.request("PUT" if place == "api/token" else "GET", f"/latest/{place}", headers=headers)
    return connection.getresponse().read().decode()


def main() -> None:
    """Attach, wait for the disk to show, print its path."""
    import boto3

    token = {"X-aws-ec2-metadata-token": _ask("api/token", **{"X-aws-ec2-metadata-token-ttl-seconds": "60"})}
    instance, zone, region = (
        _ask(f"meta-data/{place}", **token)
        for place in ("instance-id", "placement/availability-zone", "placement/region")
    )
    ec2 = boto3.client("ec2", region_name=region)
    try:
        disk = path(attach(ec2, find(ec2, sys.argv[1], zone), instance))
        wait_for(disk)
    except VolumeError as error:
        sys.exit(f"error: {error}")
    print(disk)


def wait_for(disk: Path, *, wait_s: float = 60) -> None:
    """Wait until the kernel shows the disk. Raises VolumeError where it does not."""
    end = time.monotonic() + wait_s
    while not disk.exists():
        if time.monotonic() > end:
            raise VolumeError(f"{disk} does not show up; is this a machine of the Nitro kind?")
        time.sleep(1)


if __name__ == "__main__":
    main()
