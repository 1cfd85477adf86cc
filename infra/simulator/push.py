"""Where a push subscription sends its messages, and how: as Pub/Sub does, with a token.

https://cloud.google.com/pubsub/docs/push. There is no Gateway and no name server on a laptop. A message goes
to the port of the container that was told the subscription's endpoint: one of its environment variables is
that.
"""

import base64
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
    """There is nobody to push to."""


@dataclass(frozen=True)
class PushTarget:
    """Where and how a push subscription sends.

    Attributes:
        endpoint: Its URL; only the path matters here.
        account: Mail address of the service account that tokens are for; without, none is sent.
        audience: Of the tokens.
        wrapped: Whether the message comes in a JSON object, or as it is with its metadata as headers.
    """

    endpoint: str
    account: str
    audience: str
    wrapped: bool
    _tokens: dict[str, float] = field(default_factory=dict, compare=False, repr=False)  # and when to renew

    @property
    def arguments(self) -> list[str]:
        """Of the bridge's command line."""
        command = ["push", self.endpoint, self.account, self.audience]
        return command if self.wrapped else [*command, "--unwrapped"]

    def deliver(self, received: list[dict[str, Any]], subscription: str) -> tuple[list[str], list[str]]:
        """Push messages; returns the acknowledgement ids of those accepted and of those that were not.

        Raises:
            PushError: no container is told this endpoint.
            rest.RestError: there is no token to be had.
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
        message = received["message"]
        headers = {"User-Agent": "CloudPubSub-Google", **self._authorization()}
        if self.wrapped:
            headers["Content-Type"] = "application/json"
            push: dict[str, Any] = {"message": message, "subscription": subscription}
            if attempt := received.get("deliveryAttempt"):
                push["deliveryAttempt"] = attempt
            body = json.dumps(push).encode()
        else:
            prefix = "x-goog-pubsub-"
            headers |= {
                f"{prefix}subscription-name": subscription,
                f"{prefix}message-id": message["messageId"],
                f"{prefix}publish-time": message["publishTime"],
                f"{prefix}ordering-key": message.get("orderingKey", ""),
                **{prefix + name: value for name, value in message.get("attributes", {}).items()},
            }
            body = base64.b64decode(message.get("data", ""))
        try:
            connection.request("POST", urllib.parse.urlsplit(self.endpoint).path or "/", body, headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return False
        if answer.status == http.client.UNAUTHORIZED:
            self._tokens.clear()  # the issuer may have restarted, with another key
        return answer.status in _ACKNOWLEDGED

    def _authorization(self) -> dict[str, str]:
        if not self.account:
            return {}
        current = next((token for token, renew in self._tokens.items() if renew > time.monotonic()), None)
        if current is None:
            current = issuer.token(self.account, self.audience)
            self._tokens.clear()
            self._tokens[current] = time.monotonic() + _RENEW_SECONDS
        return {"Authorization": f"Bearer {current}"}

    def _port(self) -> int:
        for process in processes.recorded():
            if process.name.startswith(f"{CONTAINER}.") and process.alive:
                try:
                    environment = psutil.Process(process.pid).environ()
                except psutil.NoSuchProcess:
                    continue
                if self.endpoint in environment.values() and "PORT" in environment:
                    return int(environment["PORT"])
        raise PushError(f"no container is told that it is {self.endpoint}")
