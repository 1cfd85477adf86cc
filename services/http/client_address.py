"""The address of a client, also behind Google's load balancers."""

import ipaddress
from typing import Final

from services.http.messages import Request

MAX_FORWARDED_BYTES: Final = 128
"""Of the end of X-Forwarded-For: two addresses are shorter."""


def of(request: Request) -> str:
    """The address of the client that sent a request."""
    return forwarded(request.client, request.headers.get(b"x-forwarded-for", b"")[-MAX_FORWARDED_BYTES:])


def forwarded(peer: str, header: bytes) -> str:
    """The address of the client.

    Google's load balancers append it and their own to X-Forwarded-For
    (https://cloud.google.com/load-balancing/docs/https#x-forwarded-for_header); what is before, anyone can
    have written. Their proxies have private addresses, and network policies let nobody else reach a pod.
    """
    hops = header.split(b",")
    try:
        if len(hops) > 1 and ipaddress.ip_address(peer).is_private:
            return str(ipaddress.ip_address(hops[-2].strip().decode()))
    except ValueError:
        pass
    return peer
