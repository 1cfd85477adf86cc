"""Sends the messages of a push subscription to a container, with a token, as Pub/Sub does.

https://cloud.google.com/pubsub/docs/push. A laptop has no Gateway and no name server. A message goes to the
port of the container that has the subscription's endpoint in one of its environment variables.
"""

import contextlib
import urllib.parse
from dataclasses import dataclass
from typing import Any, Final

import psutil

from infra.simulator import SimulatorError, issuer, processes, rest
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
            "Authorization": f"Bearer {issuer.token(self.account, self.audience)}",
        }
        address, path = f"{HOST}:{self._port()}", urllib.parse.urlsplit(self.endpoint).path or "/"
        accepted: set[str] = set()
        for each in received:
            push: dict[str, Any] = {"message": each["message"], "subscription": subscription}
            if attempt := each.get("deliveryAttempt"):
                push["deliveryAttempt"] = attempt
            with contextlib.suppress(rest.RestError):
                rest.call(
                    "POST",
                    address,
                    path,
                    push,
                    headers=headers,
                    success=_ACKNOWLEDGED,
                    timeout=_ANSWER_SECONDS,
                )
                accepted.add(each["ackId"])
        return accepted

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
