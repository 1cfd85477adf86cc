"""A step that waits a fraction of the time for a server, and tells how long it would have waited.

The fork server runs it as it runs a step. Its first argument is a file that gets a line of JSON for each
request: its server, and how many seconds the step waits for an answer. Then come the divisors of that time
and of the time in which a call is tried again, the server's port, the number of the first request to it that
is in a hurry, and the step.
"""

import importlib
import itertools
import json
import sys
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import requests
from google.api_core.retry import retry_unary
from requests.adapters import HTTPAdapter

_send: Final = HTTPAdapter.send
_retry_target: Final = retry_unary.retry_target


def hasty_retries(tries: float) -> Callable[..., Any]:
    """What can be `retry_unary.retry_target`: it tries a call again for a fraction of the time."""

    def retry_target(
        target: Any, predicate: Any, sleeps: Any, timeout: float | None = None, **options: Any
    ) -> Any:
        pauses = (each / tries for each in sleeps)
        return _retry_target(target, predicate, pauses, timeout and timeout / tries, **options)

    return retry_target


def main() -> int:
    """Run the step with less time for requests, whoever sends them."""
    _, told, waiting, trying, server, first, step, *arguments = sys.argv
    sys.argv = [step, *arguments]
    file, waits = Path(told), float(waiting)
    numbers = itertools.count(1)

    def send(
        adapter: HTTPAdapter, request: requests.PreparedRequest, timeout: Any = None, **options: Any
    ) -> requests.Response:
        longest = max(timeout) if isinstance(timeout, tuple) else timeout
        if longest is None:
            raise AssertionError(f"{request.method} {request.url} may wait for ever")
        port = urllib.parse.urlsplit(request.url or "").port
        with file.open("a") as lines:
            lines.write(json.dumps([port, longest]) + "\n")
        hurries = port == int(server) and next(numbers) >= int(first)
        return _send(adapter, request, timeout=longest / waits if hurries else longest, **options)

    HTTPAdapter.send = send  # type: ignore[method-assign]
    retry_unary.retry_target = hasty_retries(float(trying))
    return importlib.import_module(step).main()
