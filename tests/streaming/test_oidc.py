"""Tokens of pushes while their issuer is down, slow, or has new keys."""

import asyncio
import base64
import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from services.streaming import oidc
from services.streaming.oidc import InvalidTokenError, IssuerError, Verifier

ACCOUNT, AUDIENCE = "push@p.iam.gserviceaccount.com", "https://forecast.example.com/push"


def number(value: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8)).rstrip(b"=").decode()


class Issuer:
    """An issuer with keys by id, which counts how often they are fetched, and can be down."""

    def __init__(self) -> None:
        self.keys = {"first": rsa.generate_private_key(65537, 2048)}
        self.fetches = 0
        self.down = False
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if issuer.down:
                    issuer.fetches += 1
                    self.send_error(503)
                    return
                document: dict[str, Any] = {"jwks_uri": f"{issuer.url}/certs"}
                if self.path == "/certs":
                    issuer.fetches += 1
                    document = {"keys": [issuer.public(each) for each in issuer.keys]}
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(document).encode())

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Stay silent."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def public(self, key_id: str) -> dict[str, str]:
        """The public key as a JSON Web Key."""
        numbers = self.keys[key_id].public_key().public_numbers()
        return {"kty": "RSA", "kid": key_id, "n": number(numbers.n), "e": number(numbers.e)}

    def token(self, key_id: str = "first", **claims: Any) -> str:
        """A token, valid if no claim says otherwise."""
        now = time.time()
        valid = {"iss": self.url, "aud": AUDIENCE, "email": ACCOUNT, "email_verified": True}
        times = {"iat": int(now), "exp": int(now) + 3600}
        return jwt.encode(valid | times | claims, self.keys[key_id], "RS256", {"kid": key_id})


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    thread = threading.Thread(target=issuer.server.serve_forever)
    thread.start()
    yield issuer
    issuer.server.shutdown()
    thread.join()
    issuer.server.server_close()


def test_known_keys_serve_while_the_issuer_is_down(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc, "_REFRESH_SECONDS", 0.0)

    async def run() -> None:
        verifier = Verifier(issuer.url, AUDIENCE, ACCOUNT)
        await verifier.verify(issuer.token(jti="1"))
        issuer.down = True
        for each in range(2, 20):
            await verifier.verify(issuer.token(jti=str(each)))
            await asyncio.sleep(0.01)
        assert issuer.fetches == 2  # the second failed, and the next waits for its back-off

    asyncio.run(run())


def test_an_issuer_that_is_down_is_asked_once_for_many_tokens(issuer: Issuer) -> None:
    issuer.down = True

    async def run() -> None:
        verifier = Verifier(issuer.url, AUDIENCE, ACCOUNT)
        tokens = [issuer.token(jti=str(each)) for each in range(20)]
        results = await asyncio.gather(*map(verifier.verify, tokens), return_exceptions=True)
        assert {type(each) for each in results} == {IssuerError}
        with pytest.raises(IssuerError):
            await verifier.verify(tokens[0])
        assert issuer.fetches == 1

    asyncio.run(run())


def test_new_keys_are_fetched_and_invented_ones_refused(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        verifier = Verifier(issuer.url, AUDIENCE, ACCOUNT)
        await verifier.verify(issuer.token())
        issuer.keys["second"] = rsa.generate_private_key(65537, 2048)
        for _ in range(5):
            with pytest.raises(InvalidTokenError, match="no key 'second'"):
                await verifier.verify(issuer.token("second"))
        assert issuer.fetches == 1
        monkeypatch.setattr(verifier, "_fetch_at", 0.0)  # the interval is over
        await verifier.verify(issuer.token("second"))
        assert issuer.fetches == 2

    asyncio.run(run())


def test_keys_expire(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc, "_EXPIRE_SECONDS", 0.0)
    monkeypatch.setattr(oidc, "_MIN_FETCH_INTERVAL_SECONDS", 0.0)

    async def run() -> None:
        verifier = Verifier(issuer.url, AUDIENCE, ACCOUNT)
        await verifier.verify(issuer.token(jti="1"))
        issuer.down = True
        with pytest.raises(IssuerError, match="no keys from"):
            await verifier.verify(issuer.token(jti="2"))

    asyncio.run(run())
