"""The program of test containers: it serves its environment over HTTP, and misbehaves on request."""

# ruff: noqa: T201 -- its output is its log

import http.server
import json
import os
import signal
import subprocess
import sys
import time
from types import FrameType

STARTED = time.monotonic()


class Handler(http.server.BaseHTTPRequestHandler):
    """`/environment`, and `/ready` once it is."""

    def do_GET(self) -> None:
        ready = time.monotonic() - STARTED > float(os.environ.get("READY_AFTER", "0"))
        self.send_response(200 if ready or self.path == "/environment" else 503)
        self.end_headers()
        self.wfile.write(json.dumps({"cwd": os.getcwd(), "environment": dict(os.environ)}).encode())  # noqa: PTH109


def on_terminate(number: int, frame: FrameType | None) -> None:
    print("told to stop", flush=True)
    if "STUBBORN" not in os.environ:
        sys.exit(0)


if "FAIL" in os.environ:
    print("line before the end\n" * 30 + "no such model", flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, on_terminate)
child = subprocess.Popen(["sleep", "1000"])
print(f"child {child.pid}", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
