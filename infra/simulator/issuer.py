"""The simulated cloud's issuer of OpenID Connect tokens, in place of https://accounts.google.com.

    python -m infra.simulator.issuer --port <port>

It publishes a discovery document and keys like Google's, and signs a token for every request: on loopback,
identity is simulated. Each start generates a new key, which verifiers fetch as they do when Google rotates
keys. The first push subscription starts it.
"""

import argparse
import base64
import json
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from infra.simulator import emulators, processes, rest
from infra.simulator.emulators import HOST, Emulator
from infra.simulator.home import VENVS, locked

_TOKEN_SECONDS: Final = 3600
_DISCOVERY: Final = "/.well-known/openid-configuration"
_KEYS: Final = "/certs"
_TOKEN: Final = "/token"  # noqa: S105 -- a path

ISSUER: Final = Emulator(
    "issuer",
    ("port",),
    _DISCOVERY,
    lambda ports: [
        *(str(VENVS / "simulator" / "bin" / "python"), "-m", "infra.simulator.issuer"),
        *("--port", str(ports["port"])),
    ],
)


def ensure() -> None:
    """Start the issuer if it does not run.

    Raises:
        emulators.EmulatorError: it does not start.
    """
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
    """A token of a service account, such as Pub/Sub attaches to pushes.

    Raises:
        rest.RestError: the issuer does not answer.
    """
    where = address()
    if where is None:
        raise rest.RestError(0, "the issuer of tokens does not run")
    return rest.call("POST", where, _TOKEN, {"account": account, "audience": audience})["token"]


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _encode_number(number: int) -> str:
    return _encode(number.to_bytes((number.bit_length() + 7) // 8))


class _Server(ThreadingHTTPServer):
    """A server with the issuer's key."""

    def __init__(self, port: int) -> None:
        super().__init__((HOST, port), _Handler)
        self.issuer = f"http://{HOST}:{port}"
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._key_id = str(time.time_ns())

    def keys(self) -> dict[str, Any]:
        """The public key as a JSON Web Key Set (RFC 7517)."""
        numbers = self._key.public_key().public_numbers()
        key = {"kid": self._key_id, "kty": "RSA", "use": "sig", "alg": "RS256"}
        return {"keys": [key | {"n": _encode_number(numbers.n), "e": _encode_number(numbers.e)}]}

    def sign(self, account: str, audience: str) -> str:
        """A JSON Web Token with the claims of Google's tokens."""
        now = int(time.time())
        header = {"alg": "RS256", "kid": self._key_id, "typ": "JWT"}
        claims = {
            "iss": self.issuer,
            "aud": audience,
            "sub": account,
            "azp": account,
            "email": account,
            "email_verified": True,
            "iat": now,
            "exp": now + _TOKEN_SECONDS,
        }
        signed = ".".join(_encode(json.dumps(part).encode()) for part in (header, claims))
        return f"{signed}.{_encode(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


class _Handler(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        """Discovery and keys."""
        issuer = self.server.issuer
        documents: dict[str, Any] = {
            _DISCOVERY: {
                "issuer": issuer,
                "jwks_uri": f"{issuer}{_KEYS}",
                "id_token_signing_alg_values_supported": ["RS256"],
            },
            _KEYS: self.server.keys(),
        }
        self._answer(documents.get(self.path))

    def do_POST(self) -> None:
        """A token."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = self.path == _TOKEN
        self._answer({"token": self.server.sign(request["account"], request["audience"])} if known else None)

    def _answer(self, document: dict[str, Any] | None) -> None:
        body = json.dumps(document or {"error": "no such path"}).encode()
        self.send_response(200 if document else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m infra.simulator.issuer", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    signal.signal(signal.SIGTERM, _exit)
    _Server(parser.parse_args().port).serve_forever()


if __name__ == "__main__":
    main()
