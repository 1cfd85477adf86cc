"""Sends the messages of a push subscription to a container, with a token, as Pub/Sub does.

https://cloud.google.com/pubsub/docs/push. A laptop has no Gateway and no name server. A message goes to the
port of the container that has the subscription's endpoint in one of its environment variables.
"""

import http.client
import json
import urllib.parse
from dataclasses import dataclass
from typing import Any, Final

import psutil

from infra.simulator import issuer, processes
from infra.simulator.emulators import HOST
from infra.simulator.kubelet import KIND as CONTAINER

_ANSWER_SECONDS: Final = 60.0
_ACKNOWLEDGED: Final = (102, 200, 201, 202, 204)


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
        token = issuer.token(self.account, self.audience)
        connection = http.client.HTTPConnection(HOST, self._port(), timeout=_ANSWER_SECONDS)
        done: list[str] = []
        refused: list[str] = []
        try:
            for each in received:
                accepted = self._push(connection, each, subscription, token)
                (done if accepted else refused).append(each["ackId"])
        finally:
            connection.close()
        return done, refused

    def _push(
        self, connection: http.client.HTTPConnection, received: dict[str, Any], subscription: str, token: str
    ) -> bool:
        headers = {
            "User-Agent": "CloudPubSub-Google",
            "Content-Type": "application/json",
            "Authorization": f"Bearer {token}",
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
        return answer.status in _ACKNOWLEDGED

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
