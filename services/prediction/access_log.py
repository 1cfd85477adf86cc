"""The access log: one line of JSON for each request."""

import datetime
import functools
import http
import ipaddress
from typing import Final

import msgspec
from msgspec import field

from services import log_output
from services.http import trace_context
from services.http.messages import Request, Response

_MAX_TARGET: Final = 1024
_MAX_USER_AGENT: Final = 256

_encode = msgspec.json.Encoder().encode
_now = datetime.datetime.now
_UTC = datetime.UTC


class _HttpRequest(msgspec.Struct, rename="camel", gc=False):
    """What a request is logged with, besides the latency.

    https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry#HttpRequest
    """

    request_method: str
    request_url: str
    status: int
    response_size: str
    remote_ip: str
    user_agent: str
    protocol: str


class _Own(msgspec.Struct, gc=False):
    """Fields that each line has of its own.

    https://cloud.google.com/logging/docs/structured-logging#special-payload-fields
    """

    time: datetime.datetime
    trace: str = field(name=trace_context.LOG_FIELD)
    span_id: str = field(name="logging.googleapis.com/spanId")
    sampled: bool = field(name="logging.googleapis.com/trace_sampled")


class AccessLog:
    """Logs requests.

    Args:
        trace_project: Google Cloud project of the traces, if any.
    """

    def __init__(self, trace_project: str | None) -> None:
        self._trace_prefix = trace_context.log_prefix(trace_project)

    def add(self, request: Request, response: Response, seconds: float) -> None:
        """Log a request, its response and how long it took."""
        headers, trace = request.headers, request.trace
        shared = _shared(
            request.method,
            request.target[: _MAX_TARGET + 1],
            response.status,
            response.size,
            _client(request.client, headers.get(b"x-forwarded-for", b"")),
            headers.get(b"user-agent", b"")[: _MAX_USER_AGENT + 1],
            request.http_version,
        )
        own = _encode(_Own(_now(_UTC), self._trace_prefix + trace.trace_id, trace.span_id, trace.sampled))
        log_output.stdout.write(b'%b%b%.6fs"}}' % (own[:-1], shared, seconds))


@functools.lru_cache(maxsize=1024)
def _shared(
    method: bytes, target: bytes, status: int, size: int, client: str, user_agent: bytes, version: str
) -> bytes:
    """The middle of a line, up to the latency: it is the same whenever a client repeats a request."""
    verb, url = method.decode(), _text(target, _MAX_TARGET)
    agent = _text(user_agent, _MAX_USER_AGENT)
    fields = {
        "severity": "ERROR" if status == http.HTTPStatus.INTERNAL_SERVER_ERROR else "INFO",
        "message": f"{verb} {url} {status}",
        "httpRequest": _HttpRequest(verb, url, status, str(size), client, agent, f"HTTP/{version}"),
    }
    return b',%b,"latency":"' % _encode(fields).removeprefix(b"{").removesuffix(b"}}")


def _text(value: bytes, limit: int) -> str:
    """What a client sent, as printable ASCII of bounded length."""
    text = value[:limit].decode("ascii", "backslashreplace").replace("\x7f", "\\x7f")
    return f"{text}..." if len(value) > limit else text


@functools.lru_cache(maxsize=1024)
def _client(peer: str, forwarded: bytes) -> str:
    """The client's address.

    Google's load balancers append it and their own to X-Forwarded-For
    (https://cloud.google.com/load-balancing/docs/https#x-forwarded-for_header); what is before, anyone can
    have written. Their proxies have private addresses, and network policies let nobody else reach a pod.

    Args:
        peer: Address of the other end of the connection.
        forwarded: The header.
    """
    hops = forwarded.split(b",")
    try:
        if len(hops) > 1 and ipaddress.ip_address(peer).is_private:
            return str(ipaddress.ip_address(hops[-2].strip().decode()))
    except ValueError:
        pass
    return peer
