"""Sends the messages of a push subscription to a container, with a token, as Pub/Sub does.

https://cloud.google.com/pubsub/docs/push. A laptop has no Gateway and no name server. A message goes to the
port of the container that has the subscription's endpoint in one of its environment variables.
"""

import http.client
import json
import time
import urllib.parse
from dataclasses import dataclass, field
from typing import Any, Final

import psutil

from infra.simulator import issuer, processes
from infra.simulator.emulators import HOST
from infra.simulator.kubelet import KIND as CONTAINER

_ANSWER_SECONDS: Final = 60.0
_ACKNOWLEDGED: Final = (102, 200, 201, 202, 204)
_RENEW_SECONDS: Final = issuer.TOKEN_SECONDS / 2


class PushError(Exception):
    """No container accepts messages for the endpoint."""


@dataclass(frozen=True)
class PushTarget:
    """Where a push subscription sends its messages.

    Attributes:
        endpoint: URL; only its path is used.
        account: Mail address of the service account in the tokens.
        audience: Audience of the tokens.
    """

    endpoint: str
    account: str
    audience: str
    # Token to the time when it is renewed.
    _tokens: dict[str, float] = field(default_factory=dict[str, float], compare=False, repr=False)

    @property
    def arguments(self) -> list[str]:
        """Command line of the bridge."""
        return ["push", self.endpoint, self.account, self.audience]

    def deliver(self, received: list[dict[str, Any]], subscription: str) -> tuple[list[str], list[str]]:
        """Push messages; returns the acknowledgement ids of accepted and of refused messages.

        Raises:
            PushError: no container has this endpoint.
            rest.RestError: the issuer gives no token.
        """
        connection = http.client.HTTPConnection(HOST, self._port(), timeout=_ANSWER_SECONDS)
        done: list[str] = []
        refused: list[str] = []
        try:
            for each in received:
                accepted = self._push(connection, each, subscription)
                (done if accepted else refused).append(each["ackId"])
        finally:
            connection.close()
        return done, refused

    def _push(
        self, connection: http.client.HTTPConnection, received: dict[str, Any], subscription: str
    ) -> bool:
        headers = {
            "User-Agent": "CloudPubSub-Google",
            "Content-Type": "application/json",
            "Authorization": f"Bearer {self._token()}",
        }
        push: dict[str, Any] = {"message": received["message"], "subscription": subscription}
        if attempt := received.get("deliveryAttempt"):
            push["deliveryAttempt"] = attempt
        path = urllib.parse.urlsplit(self.endpoint).path or "/"
        try:
            connection.request("POST", path, json.dumps(push).encode(), headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return False
        if answer.status == http.client.UNAUTHORIZED:
            self._tokens.clear()  # the issuer may have restarted with a new key
        return answer.status in _ACKNOWLEDGED

    def _token(self) -> str:
        current = next((token for token, renew in self._tokens.items() if renew > time.monotonic()), None)
        if current is None:
            current = issuer.token(self.account, self.audience)
            self._tokens.clear()
            self._tokens[current] = time.monotonic() + _RENEW_SECONDS
        return current

    def _port(self) -> int:
        for process in processes.recorded():
            if process.name.startswith(f"{CONTAINER}.") and process.alive:
                try:
                    environment = psutil.Process(process.pid).environ()
                except psutil.NoSuchProcess:
                    continue
                if self.endpoint in environment.values() and "PORT" in environment:
                    return int(environment["PORT"])
        raise PushError(f"no container has {self.endpoint} in its environment")
