"""Verification of the OpenID Connect tokens of pushes.

https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions
"""

import asyncio
import logging
import math
import time
import urllib.request
from typing import Any, Final

import jwt
import msgspec

_log = logging.getLogger(__name__)

GOOGLE: Final = "https://accounts.google.com"

_SKEW_SECONDS: Final = 10
_REFRESH_SECONDS: Final = 3600.0
_EXPIRE_SECONDS: Final = 24 * 3600.0
"""How long keys are used while the issuer does not respond. Google announces new ones days before."""
# An unknown key id may be a new key; invented ones must not cause a fetch each. After failures, longer.
_MIN_FETCH_INTERVAL_SECONDS: Final = 10.0
_MAX_FETCH_INTERVAL_SECONDS: Final = 60.0
_FETCH_SECONDS: Final = 5
_DOCUMENT_BYTES: Final = 1_000_000
# Pub/Sub sends the same token for up to an hour.
_MAX_VERIFIED_TOKENS: Final = 64


class InvalidTokenError(Exception):
    """A token does not prove the identity of the sender; the message says why."""


class IssuerError(Exception):
    """The keys of the issuer are unavailable."""


class Verifier:
    """Verifies that tokens are issued to one service account for one audience."""

    def __init__(self, issuer: str, audience: str, account: str) -> None:
        self._issuer = issuer
        self._audience = audience
        self._account = account
        self._keys: dict[str, Any] = {}
        self._expire = math.inf  # when the keys are used no more, on `time.monotonic`
        self._refresh_at = -math.inf  # when the keys are fetched again
        self._fetch_at = -math.inf  # when a token with an unknown key may have them fetched
        self._failures = 0
        self._fault = ""  # of the last fetch
        self._fetching: asyncio.Task[None] | None = None
        self._verified: dict[str, float] = {}  # verified tokens and their expiry

    async def verify(self, token: str) -> None:
        """Verify signature, issuer, audience, time and account.

        Raises:
            InvalidTokenError: the token is invalid.
            IssuerError: the issuer does not respond.
        """
        if self._verified.get(token, 0.0) > time.time():
            return
        try:
            header = jwt.get_unverified_header(token)
            claims = jwt.decode(
                token,
                await self._key(str(header.get("kid"))),
                algorithms=["RS256"],
                audience=self._audience,
                issuer=self._issuer,
                leeway=_SKEW_SECONDS,
                options={"require": ["exp", "iat", "iss", "aud"]},
            )
        except jwt.InvalidTokenError as error:
            raise InvalidTokenError(f"{type(error).__name__}: {error}") from None
        if claims.get("email") != self._account or claims.get("email_verified") is not True:
            raise InvalidTokenError(f"the token is not issued to {self._account}")
        if len(self._verified) >= _MAX_VERIFIED_TOKENS:
            self._verified.clear()
        self._verified[token] = float(claims["exp"])

    async def _key(self, key_id: str) -> Any:
        """The key of an id. Known keys are refreshed in the background."""
        now = time.monotonic()
        if now > self._expire:
            self._keys = {}
        known = key_id in self._keys
        if self._fetching is None and now > (self._refresh_at if known else self._fetch_at):
            self._fetching = asyncio.create_task(self._refresh())
        if not known and self._fetching is not None:
            await asyncio.shield(self._fetching)
        if key_id in self._keys:
            return self._keys[key_id]
        if self._fault:
            raise IssuerError(self._fault)
        raise InvalidTokenError(f"{self._issuer} has no key {key_id!r}")

    async def _refresh(self) -> None:
        """Fetch the keys. If that fails, those at hand stay."""
        try:
            self._keys = await asyncio.to_thread(self._fetch)
        except (OSError, ValueError, msgspec.MsgspecError, jwt.PyJWTError, LookupError) as error:
            self._fault = f"no keys from {self._issuer}: {error}"
            _log.warning("%s", self._fault)
            wait = min(_MAX_FETCH_INTERVAL_SECONDS, _MIN_FETCH_INTERVAL_SECONDS * 2**self._failures)
            self._failures += 1
            self._refresh_at = self._fetch_at = time.monotonic() + wait
        else:
            self._fault, self._failures = "", 0
            now = time.monotonic()
            self._fetch_at, self._refresh_at = now + _MIN_FETCH_INTERVAL_SECONDS, now + _REFRESH_SECONDS
            self._expire = now + _EXPIRE_SECONDS
        finally:
            self._fetching = None

    def _fetch(self) -> dict[str, Any]:
        discovery = _get(f"{self._issuer}/.well-known/openid-configuration")
        keys = jwt.PyJWKSet.from_dict(_get(discovery["jwks_uri"])).keys
        return {str(key.key_id): key.key for key in keys}


def _get(url: str) -> dict[str, Any]:
    # The operator configures the issuer and its scheme; a simulated cloud uses http.
    with urllib.request.urlopen(url, timeout=_FETCH_SECONDS) as answer:  # noqa: S310
        return msgspec.json.decode(answer.read(_DOCUMENT_BYTES), type=dict[str, Any])
