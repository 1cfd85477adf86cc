"""The simulated cloud's issuer of OpenID Connect tokens, in place of https://accounts.google.com.

    python -m infra.simulator.issuer <port>

It publishes a discovery document and keys like Google's, and signs a token for every request: on loopback,
identity is simulated. Each start generates a new key, which verifiers fetch as they do when Google rotates
keys. The first push subscription starts it.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import jwt
import jwt.algorithms
from cryptography.hazmat.primitives.asymmetric import rsa

from infra.simulator import SimulatorError, emulators, processes, rest
from infra.simulator.emulators import HOST, Emulator
from infra.simulator.home import locked

_TOKEN_SECONDS: Final = 3600
_DISCOVERY: Final = "/.well-known/openid-configuration"
_KEYS: Final = "/certs"
_TOKEN: Final = "/token"  # noqa: S105 -- a path

ISSUER: Final = Emulator(
    "issuer",
    ("port",),
    _DISCOVERY,
    lambda ports: processes.module("infra.simulator.issuer", str(ports["port"])),
)


def ensure() -> None:
    """Start the issuer if it does not run; raises SimulatorError if it does not start."""
    with locked("issuer"):
        emulators.ensure_one(ISSUER)


def address() -> str | None:
    """Address of the issuer, as `host:port`; None if it does not run."""
    process = processes.find(ISSUER.process_name)
    return f"{HOST}:{process.labels['port']}" if process and process.alive else None


def environment() -> dict[str, str]:
    """The environment variable that names the issuer to services; empty if it does not run."""
    where = address()
    return {"OIDC_ISSUER": f"http://{where}"} if where else {}


def token(account: str, audience: str) -> str:
    """A token of a service account, as Pub/Sub attaches to pushes; SimulatorError if there is no issuer."""
    where = address()
    if where is None:
        raise SimulatorError("the issuer of tokens does not run")
    return rest.call("POST", where, _TOKEN, {"account": account, "audience": audience})["token"]


class _Server(ThreadingHTTPServer):
    def __init__(self, port: int) -> None:
        super().__init__((HOST, port), _Handler)
        self.issuer = f"http://{HOST}:{port}"
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.key_id = str(time.time_ns())


class _Handler(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        issuer = self.server.issuer
        key = jwt.algorithms.RSAAlgorithm.to_jwk(self.server.key.public_key(), as_dict=True)
        documents: dict[str, Any] = {
            _DISCOVERY: {
                "issuer": issuer,
                "jwks_uri": f"{issuer}{_KEYS}",
                "id_token_signing_alg_values_supported": ["RS256"],
            },
            _KEYS: {"keys": [key | {"kid": self.server.key_id, "use": "sig", "alg": "RS256"}]},
        }
        self._answer(documents.get(self.path))

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != _TOKEN:
            self._answer(None)
            return
        account, now = request["account"], int(time.time())
        claims = {
            "iss": self.server.issuer,
            "aud": request["audience"],
            **dict.fromkeys(("sub", "azp", "email"), account),
            "email_verified": True,
            "iat": now,
            "exp": now + _TOKEN_SECONDS,
        }
        self._answer({"token": jwt.encode(claims, self.server.key, "RS256", {"kid": self.server.key_id})})

    def _answer(self, document: dict[str, Any] | None) -> None:
        body = json.dumps(document or {"error": "no such path"}).encode()
        self.send_response(200 if document else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until SIGTERM."""
    _, port = sys.argv
    _Server(int(port)).serve_forever()


if __name__ == "__main__":
    main()
