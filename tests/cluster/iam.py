"""What an IAM policy allows, in as much of its language as cluster/aws_account.yaml uses; all else is an error.

moto asks for the action alone: of 5.2.5's moto/iam/access_control.py, Resource and Condition are among what is missing.
The rules are those of AWS's "Policy evaluation logic": no statement, no right; every resource that a request touches is
asked about; a condition's keys hold all together, the values of one key by turns; a key that is not there fails.
"""

from fnmatch import fnmatchcase

OPERATORS = {"StringEquals": lambda value, wanted: value == wanted}


def allows(policy, action, resource, **context):
    """Return whether a policy, a dict, lets an action touch a resource, an ARN; `context`: the keys of the request."""
    return any(_covers(statement, action, resource, context) for statement in policy["Statement"])


def _covers(statement, action, resource, context):
    unknown = set(statement) - {"Effect", "Action", "Resource", "Condition"}
    assert not unknown, f"{unknown} is not looked at here"
    assert statement["Effect"] == "Allow", "a refusal would have to win over what is allowed"
    return (
        any(fnmatchcase(action.lower(), pattern.lower()) for pattern in _list(statement["Action"]))
        and any(fnmatchcase(resource, pattern) for pattern in _list(statement.get("Resource", [])))
        and all(
            any(OPERATORS[operator](context.get(key), wanted) for wanted in _list(values))
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        )
    )


def _list(value):
    return value if isinstance(value, list) else [value]


def touched(operation, params, place, tags_of):
    """Yield action, resource and context of what IAM asks about a request to EC2, as far as Ray sends it.

    `params` are boto's; `place` is (region, account); `tags_of` returns an instance's tags, a dict. The resources that
    RunInstances touches are of AWS's table "Actions, resources, and condition keys for Amazon EC2".
    """
    arn, arn_of_all = f"arn:aws:ec2:{':'.join(place)}:", f"arn:aws:ec2:{place[0]}::"
    if operation.startswith("Describe"):
        yield f"ec2:{operation}", "*", {}
    elif operation == "RunInstances":
        assert "LaunchTemplate" not in params
        (tagged,) = params["TagSpecifications"]
        assert tagged["ResourceType"] == "instance"
        tags = {f"aws:RequestTag/{tag['Key']}": tag["Value"] for tag in tagged["Tags"]}
        yield "ec2:RunInstances", f"{arn}instance/*", tags | {"ec2:InstanceType": params["InstanceType"]}
        yield "ec2:RunInstances", f"{arn_of_all}image/{params['ImageId']}", {}
        yield "ec2:RunInstances", f"{arn}subnet/{params['SubnetId']}", {}
        yield "ec2:RunInstances", f"{arn}key-pair/{params['KeyName']}", {}
        for group in params["SecurityGroupIds"]:
            yield "ec2:RunInstances", f"{arn}security-group/{group}", {}
        for kind in ("network-interface", "volume"):
            yield "ec2:RunInstances", f"{arn}{kind}/*", {}
        yield "ec2:CreateTags", f"{arn}instance/*", tags | {"ec2:CreateAction": "RunInstances"}
    else:
        for identity in params.get("InstanceIds") or params["Resources"]:
            tags = {f"aws:ResourceTag/{key}": value for key, value in tags_of(identity).items()}
            new = {f"aws:RequestTag/{tag['Key']}": tag["Value"] for tag in params.get("Tags", [])}
            yield f"ec2:{operation}", f"{arn}instance/{identity}", tags | new
