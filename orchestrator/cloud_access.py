"""Whether `ray up` would get as far as its cloud from here: the cloud's client, and credentials for it."""

from collections.abc import Mapping
from typing import Any

HELP = "aws configure sso, AWS_PROFILE=NAME, or an instance profile"


def cloud_access(cluster: Mapping[str, Any]) -> list[str]:
    """Return what this machine lacks to rent the file's machines, a line each; of AWS alone, nothing elsewhere.

    The credentials themselves are not tried. Where nothing else has any, the machine's own metadata service is asked
    for a second.
    """
    provider = cluster.get("provider")
    if not isinstance(provider, Mapping) or provider.get("type") != "aws":
        return []
    try:
        from botocore.exceptions import BotoCoreError
        from botocore.session import get_session
    except ModuleNotFoundError:
        return ["boto3 is not installed here, and `ray up` needs it for AWS; pip install -e '.[cluster]'"]
    try:
        found = get_session().get_credentials()
    except BotoCoreError as error:  # a profile that is not there, a file that cannot be read
        return [f"AWS credentials: {' '.join(str(error).split())}; {HELP}"]
    if found is None:
        return [f"no AWS credentials are found here, and `ray up` would end at once with that; {HELP}"]
    return []
