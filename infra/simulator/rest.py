"""A client for the emulators' REST interfaces.

It uses the standard library: every Terraform command starts two providers, and each import of httpx would
take 0.25 s of CPU, against 0.03 s.
"""

import http.client
import json
from collections.abc import Container, Mapping
from typing import Any

from infra.simulator import SimulatorError


class RestError(SimulatorError):
    """A request failed; its HTTP status is 0 if there was no answer."""

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
    timeout: float = 120.0,
) -> Any:
    """Send one request to an address (`host:port`) and a path with query, percent-encoded.

    A body is bytes, with their media type in the headers, or a value to send as JSON. The timeout in seconds
    is that of a connection, and between bytes. The result is the JSON answer; the bytes if it is no JSON;
    None if it is empty or, with `missing_ok`, if there is nothing at the path.

    Raises:
        RestError: no answer, or a status that is no success.
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
        message = f"status {response.status} from {method} {path}"
        match decoded:
            case {"error": {"message": str(text)}} | {"error": str(text)}:  # Google's format, or another
                message = text or message
            case bytes():
                message = answer.decode(errors="replace").strip() or message
            case _:
                pass
        raise RestError(response.status, message)
    return decoded


def succeeds(address: str, path: str, *, success: Container[int] = range(200, 300), timeout: float) -> bool:
    """Whether a GET has success."""
    try:
        call("GET", address, path, success=success, timeout=timeout)
    except RestError:
        return False
    return True
