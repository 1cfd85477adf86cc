"""Verification of the tokens that come with pushed messages (OpenID Connect).

https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions
"""

import asyncio
import time
import urllib.request
from typing import Any, Final

import jwt
import msgspec

GOOGLE: Final = "https://accounts.google.com"

_SKEW_SECONDS: Final = 10
_KEYS_SECONDS: Final = 3600
# An unknown key may be a new one; whoever invents keys must not have us ask for each.
_LEAST_SECONDS_BETWEEN_FETCHES: Final = 10
_FETCH_SECONDS: Final = 5
_DOCUMENT_BYTES: Final = 1_000_000
# Pub/Sub sends the same token for up to an hour.
_REMEMBERED: Final = 64


class InvalidTokenError(Exception):
    """A token that does not prove who sends; the message says why, for the log."""


class IssuerError(Exception):
    """The issuer's keys cannot be had."""


class Verifier:
    """Tells whether a token was issued for one service account and one audience.

    Args:
        issuer: Base address of the issuer; its discovery document names its keys.
        audience: What the token must be meant for.
        account: Mail address of the service account that it must be about.
    """

    def __init__(self, issuer: str, audience: str, account: str) -> None:
        self._issuer = issuer
        self._audience = audience
        self._account = account
        self._keys: dict[str, Any] = {}
        self._fetched = float("-inf")
        self._fetching = asyncio.Lock()
        self._known: dict[str, float] = {}  # verified tokens, and when they expire

    async def verify(self, token: str) -> None:
        """Check signature, issuer, audience, time and account.

        Raises:
            InvalidTokenError: it fails one of the checks.
            IssuerError: the issuer does not answer.
        """
        if self._known.get(token, 0.0) > time.time():
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
            raise InvalidTokenError(f"the token is not that of {self._account}")
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[token] = float(claims["exp"])

    async def _key(self, key_id: str) -> Any:
        async with self._fetching:
            age = time.monotonic() - self._fetched
            if age > _KEYS_SECONDS or (key_id not in self._keys and age > _LEAST_SECONDS_BETWEEN_FETCHES):
                try:
                    self._keys = await asyncio.to_thread(self._fetch)
                except (OSError, ValueError, msgspec.MsgspecError, jwt.PyJWTError, LookupError) as error:
                    raise IssuerError(f"no keys of {self._issuer}: {error}") from error
                self._fetched = time.monotonic()
        if key_id not in self._keys:
            raise InvalidTokenError(f"{self._issuer} has no key {key_id!r}")
        return self._keys[key_id]

    def _fetch(self) -> dict[str, Any]:
        discovery = _get(f"{self._issuer}/.well-known/openid-configuration")
        keys = jwt.PyJWKSet.from_dict(_get(discovery["jwks_uri"])).keys
        return {str(key.key_id): key.key for key in keys}


def _get(url: str) -> dict[str, Any]:
    # The issuer is the operator's choice, and so is its scheme: http is that of a simulated cloud.
    with urllib.request.urlopen(url, timeout=_FETCH_SECONDS) as answer:  # noqa: S310
        return msgspec.json.decode(answer.read(_DOCUMENT_BYTES), type=dict[str, Any])
