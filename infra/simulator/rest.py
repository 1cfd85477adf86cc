"""A client for the emulators' REST interfaces.

It uses the standard library: every Terraform command starts two providers, and each import of httpx would
take 0.25 s of CPU, against 0.03 s.
"""

import http.client
import json
from collections.abc import Container, Mapping
from typing import Any, Final

from infra.simulator import SimulatorError

_TIMEOUT_SECONDS: Final = 120.0


class RestError(SimulatorError):
    """A request failed.

    Attributes:
        status: HTTP status; 0 if there was no answer.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def call(
    method: str,
    address: str,
    path: str,
    body: object = None,
    *,
    headers: Mapping[str, str] | None = None,
    success: Container[int] = range(200, 300),
    missing_ok: bool = False,
    timeout: float = _TIMEOUT_SECONDS,
) -> Any:
    """Send one request.

    Args:
        method: HTTP method.
        address: `host:port`.
        path: Path and query, percent-encoded.
        body: Bytes, or a value to send as JSON.
        headers: Headers besides; the media type of bytes is one.
        success: Statuses that are no error.
        missing_ok: Return None if there is nothing at the path.
        timeout: Seconds to wait for a connection, and between bytes.

    Returns:
        The JSON answer; the bytes if it is not JSON; None if it is empty.

    Raises:
        RestError: no answer, or one that is no success.
    """
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        answer = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise RestError(0, f"no answer from {address}: {error or type(error).__name__}") from error
    finally:
        connection.close()
    try:
        decoded: Any = json.loads(answer) if answer else None
    except ValueError:
        decoded = answer
    if response.status == 404 and missing_ok:
        return None
    if response.status not in success:
        raise RestError(
            response.status, _message(decoded) or f"status {response.status} from {method} {path}"
        )
    return decoded


def _message(answer: Any) -> str | None:
    """The text of an error, in Google's or another format."""
    match answer:
        case {"error": {"message": str(message)}} | {"error": str(message)}:
            return message
        case bytes():
            return answer.decode(errors="replace").strip()
        case _:
            return None
