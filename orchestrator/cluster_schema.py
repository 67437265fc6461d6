"""What Ray itself says of a cluster file, before `ray up` speaks to a cloud. One of the doors of Ray."""

import contextlib
import copy
import io
import json
import logging
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

OURS = "cluster_name"
"""Ray's schema wants it, but Ray fills it in before it asks: cluster_checks says what is wrong with that."""


def schema_problems(cluster: Mapping[str, Any]) -> list[str]:
    """Return a line for everything in which the file is not as Ray's schema wants it, by where it stands."""
    import jsonschema
    import ray.autoscaler

    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text(encoding="utf-8"))
    if dict(cluster.get("provider") or {}).get("type") == "local":  # for which Ray takes it away before it asks
        cluster = {name: value for name, value in cluster.items() if name != "min_workers"}
    errors = jsonschema.Draft7Validator(schema).iter_errors(cluster)
    lines = [_line(error) for error in errors if not (error.validator == "required" and f"'{OURS}'" in error.message)]
    return sorted(lines)


def refusal(cluster: Mapping[str, Any]) -> list[str]:
    """Return in one line what Ray raises when it fills in its defaults and checks the whole; [] where it is content."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    logging.disable(logging.WARNING)  # its notes on what it fills in; the same on stdout
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            validate_config(prepare_config(copy.deepcopy(dict(cluster))))
    except Exception as error:  # noqa: BLE001  (Ray raises what it happens to meet, click's errors among them)
        said = getattr(error, "message", None) or str(error) or type(error).__name__
        return [f"Ray refuses it: {' '.join(str(said).split())}"]
    finally:
        logging.disable(logging.NOTSET)
    return []


def _line(error: Any) -> str:
    """Return one error of jsonschema, with the key that may be meant."""
    path = ".".join(map(str, error.absolute_path))
    message = error.message if len(error.message) < 200 else f"not as Ray's schema wants it ({error.validator})"
    advice = ""
    if error.validator == "additionalProperties" and isinstance(error.instance, Mapping):
        allowed = list(error.schema.get("properties", {}))
        extra = sorted(str(key) for key in error.instance if key not in allowed)
        message = f"Ray knows no {', '.join(extra)} here"
        near = [match for key in extra for match in get_close_matches(key, allowed, n=1)]
        advice = f" (did you mean {', '.join(near)}?)" if near else f"; it knows {', '.join(sorted(allowed))}"
    return f"{path + ': ' if path else ''}{message}{advice}"
