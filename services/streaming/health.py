"""Health, readiness and metrics over HTTP, beside the worker."""

import http
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import msgspec
import prometheus_client

from services.contracts.names import LIVENESS_PATH, METRICS_PATH, READINESS_PATH
from services.runtime import Readiness


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    timeout = 5  # seconds a client may take to send its request

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- named by the base class
        """Probes are not worth a line each."""


def serve(host: str, port: int, readiness: Callable[[], Readiness]) -> None:
    """Answer probes and scrapes from threads of their own, as long as the process lives.

    Raises:
        OSError: the address cannot be listened on.
    """

    def application(environment: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environment["PATH_INFO"]
        status, media_type = http.HTTPStatus.OK, "application/json"
        if path == LIVENESS_PATH:
            body = b'{"alive":true}'
        elif path == READINESS_PATH:
            state = readiness()
            status, body = state.status, msgspec.json.encode(state)
        elif path == METRICS_PATH:
            media_type, body = prometheus_client.CONTENT_TYPE_LATEST, prometheus_client.generate_latest()
        else:
            status, body = http.HTTPStatus.NOT_FOUND, b'{"success":false,"title":"Not Found","status":404}'
        headers = [("Content-Type", media_type), ("Content-Length", str(len(body)))]
        start_response(f"{status.value} {status.phrase}", headers)
        return [body]

    server = make_server(host, port, application, _Server, _QuietHandler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
