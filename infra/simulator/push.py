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

from infra.simulator import SimulatorError, issuer, processes
from infra.simulator.emulators import HOST
from infra.simulator.kubelet import KIND as CONTAINER

_ANSWER_SECONDS: Final = 60.0
_ACKNOWLEDGED: Final = (102, 200, 201, 202, 204)


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

    def deliver(self, received: list[dict[str, Any]], subscription: str) -> set[str]:
        """Push messages; returns the acknowledgement ids of those that are accepted.

        Raises:
            SimulatorError: no container has this endpoint, or the issuer gives no token.
        """
        headers = {
            "User-Agent": "CloudPubSub-Google",
            "Content-Type": "application/json",
            "Authorization": f"Bearer {issuer.token(self.account, self.audience)}",
        }
        connection = http.client.HTTPConnection(HOST, self._port(), timeout=_ANSWER_SECONDS)
        accepted: set[str] = set()
        try:
            for each in received:
                push: dict[str, Any] = {"message": each["message"], "subscription": subscription}
                if attempt := each.get("deliveryAttempt"):
                    push["deliveryAttempt"] = attempt
                if self._post(connection, json.dumps(push).encode(), headers) in _ACKNOWLEDGED:
                    accepted.add(each["ackId"])
        finally:
            connection.close()
        return accepted

    def _post(self, connection: http.client.HTTPConnection, body: bytes, headers: dict[str, str]) -> int:
        """The status of the answer; 0 without one."""
        try:
            connection.request("POST", urllib.parse.urlsplit(self.endpoint).path or "/", body, headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return 0
        return answer.status

    def _port(self) -> int:
        for process in processes.recorded():
            if process.name.startswith(f"{CONTAINER}.") and process.alive:
                try:
                    environment = psutil.Process(process.pid).environ()
                except psutil.NoSuchProcess:
                    continue
                if self.endpoint in environment.values() and "PORT" in environment:
                    return int(environment["PORT"])
        raise SimulatorError(f"no container has {self.endpoint} in its environment")
