"""Which machines to rent: spot where there is any, else on demand. Ray's autoscaler (v1) calls `score`.

Ray 2.60 notes which type the cloud refused (RAY_AUTOSCALER_NODE_AVAILABILITY_MAX_STALENESS_S, by default for half an
hour) and hands the note to the scorer, but its own scorer does not look at it: it would ask for the same type again at
every step. Named by RAY_AUTOSCALER_UTILIZATION_SCORER on the head (ray_cluster.yaml).
"""

from typing import Any

from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer


def score(
    node_resources: dict[str, Any], resources: list[dict[str, Any]], node_type: str, *, node_availability_summary: Any
) -> tuple[Any, ...] | None:
    """Return Ray's own score behind whether the cloud has the type; None where nothing that is asked for fits it.

    The highest is rented; of equal ones the type whose name comes last in the alphabet.
    """
    usual = _default_utilization_scorer(
        node_resources, resources, node_type, node_availability_summary=node_availability_summary
    )
    if usual is None:
        return None
    known = node_availability_summary.node_availabilities.get(node_type)
    return (known is None or known.is_available, *usual)
