"""An HTTP relay in front of an emulator that spoils requests."""

import http.server
import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

import httpx

_OWN: Final = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "content-encoding",
    "content-length",
    "date",
    "server",
}

# One for all: a client reads the system's certificates when it is made.
_client: Final = httpx.Client(timeout=120)

Fault = Callable[["Handler", Callable[[], httpx.Response]], None]
"""Answers a request in place of the server, which it may ask first."""


class Relay(http.server.ThreadingHTTPServer):
    """Passes requests on and answers those from number `spoiled_from` on with `fault`.

    Args:
        target: URL of the server.
        fault: see `Fault`.
        spoiled_from: number of the first such request, counted from 1.

    Attributes:
        requests: "METHOD path", and the status if the server was asked.
    """

    daemon_threads = True

    def __init__(self, target: str, fault: Fault, spoiled_from: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.target = target
        self.fault = fault
        self.spoiled_from = spoiled_from
        self.requests: list[str] = []
        self.ended = threading.Event()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def count(self, request: str) -> int:
        with self._lock:
            self.requests.append(request)
            return len(self.requests)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are no news."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Of one connection."""

    protocol_version = "HTTP/1.1"

    def relay(self) -> None:
        server = self.server
        assert isinstance(server, Relay)
        number = server.count(f"{self.command} {self.path}")
        fault = server.fault if number >= server.spoiled_from else passed_on
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OWN}

        def ask() -> httpx.Response:
            address = server.target + self.path
            response = _client.request(self.command, address, content=body, headers=headers)
            server.requests[number - 1] += f" {response.status_code}"
            return response

        fault(self, ask)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = relay  # noqa: N815

    def answer(self, status: int, headers: dict[str, str], body: bytes, length: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def _headers(response: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name not in _OWN}


def passed_on(handler: Handler, ask: Callable[[], httpx.Response]) -> None:
    """No fault."""
    response = ask()
    handler.answer(response.status_code, _headers(response), response.content)


def swallow(handler: Handler, ask: Callable[[], httpx.Response]) -> None:
    """No answer, ever; the server never sees the request."""
    assert isinstance(handler.server, Relay)
    handler.server.ended.wait()
    handler.close_connection = True


def reset(handler: Handler, ask: Callable[[], httpx.Response]) -> None:
    """The connection is closed before an answer; the server never sees the request."""
    handler.close_connection = True


def cut(handler: Handler, ask: Callable[[], httpx.Response]) -> None:
    """The connection is closed in the middle of the answer."""
    response = ask()
    half = response.content[: len(response.content) // 2]
    handler.answer(response.status_code, _headers(response), half, len(response.content))
    handler.close_connection = True


def altered(handler: Handler, ask: Callable[[], httpx.Response]) -> None:
    """A byte of the answer is another one."""
    response = ask()
    body = bytearray(response.content)
    body[len(body) // 2] ^= 1
    handler.answer(response.status_code, _headers(response), bytes(body))


def refusal(status: int, reason: str) -> Fault:
    """An error of Google's JSON APIs."""
    body = f'{{"error": {{"code": {status}, "message": "{reason}", "errors": [{{"reason": "{reason}"}}]}}}}'

    def refused(handler: Handler, ask: Callable[[], httpx.Response]) -> None:
        handler.answer(status, {"Content-Type": "application/json"}, body.encode())

    return refused


def failed_job(reason: str) -> Fault:
    """Jobs of BigQuery end with an error."""

    def failed(handler: Handler, ask: Callable[[], httpx.Response]) -> None:
        response = ask()
        job = response.json()
        if job.get("kind", "").endswith("#job"):
            error = {"reason": reason, "message": reason}
            job["status"] = {"state": "DONE", "errorResult": error, "errors": [error]}
        handler.answer(response.status_code, {"Content-Type": "application/json"}, json.dumps(job).encode())

    return failed


@contextmanager
def relay(target: str, fault: Fault = passed_on, spoiled_from: int = 1) -> Generator[Relay]:
    """A relay that runs."""
    server = Relay(target, fault, spoiled_from)
    # The argument is how long its shutdown takes.
    threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
