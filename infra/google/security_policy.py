"""Cloud Armor: what the load balancer refuses before a request reaches a pod."""

from collections.abc import Sequence
from typing import Final

from infra.cdk import Construct, google
from infra.cdk.stack import place_of

_LAST_RULE: Final = 2_147_483_647
"""Priority of the default rule, which every security policy has."""

_REQUESTS_PER_MINUTE: Final = 6000
"""Requests of one client address; more are refused."""


class SecurityPolicy(Construct):
    """Some paths are not public, and each client has a rate limit.

    Args:
        closed: paths that are for the cluster alone.
    """

    def __init__(self, scope: Construct, id_: str, *, name: str, closed: Sequence[str]):
        super().__init__(scope, id_)
        anybody = {"versioned_expr": "SRC_IPS_V1", "config": {"src_ip_ranges": ["*"]}}
        self.resource: Final = google.compute_region_security_policy.ComputeRegionSecurityPolicy(
            self,
            "Default",
            name=name,
            region=place_of(self).region,
            type="CLOUD_ARMOR",
            rules=[
                {
                    "priority": 1000,
                    "description": "For the cluster alone",
                    "action": "deny(404)",
                    "match": {
                        "expr": {"expression": " || ".join(f"request.path == '{path}'" for path in closed)}
                    },
                },
                {
                    "priority": 2000,
                    "description": "Each client address its share",
                    "action": "throttle",
                    "match": anybody,
                    "rate_limit_options": {
                        "rate_limit_threshold": {"count": _REQUESTS_PER_MINUTE, "interval_sec": 60},
                        "enforce_on_key": "IP",
                        "conform_action": "allow",
                        "exceed_action": "deny(429)",
                    },
                },
                {
                    "priority": _LAST_RULE,
                    "description": "Everything else",
                    "action": "allow",
                    "match": anybody,
                },
            ],
        )
