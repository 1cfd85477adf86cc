"""Delivers the messages of a BigQuery or push subscription: one process per subscription.

    python -m infra.simulator.bridge <subscription> table <project.dataset.table>
    python -m infra.simulator.bridge <subscription> push <endpoint> <account> <audience>

The Pub/Sub emulator cannot write to BigQuery, and pushes without tokens to names that a laptop cannot
resolve. Delivery is at least once: a message is acknowledged after its row is written or its push accepted.
"""

import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import psutil

from infra.simulator import SimulatorError, emulators, issuer, kubelet, processes, rest

_GRACE_SECONDS: Final = 5.0
_BATCH: Final = 500  # number of rows that BigQuery recommends for one insert request
_IDLE_SECONDS: Final = 0.5
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 5.0
_COLUMNS: Final = frozenset({"attributes", "data", "message_id", "publish_time", "subscription_name"})
_ANSWER_SECONDS: Final = 60.0
_ACCEPTED: Final = (102, 200, 201, 202, 204)
_log: Final = logging.getLogger(__name__)

Result = TypeVar("Result")
Message = dict[str, Any]
"""A received message in Pub/Sub's JSON: `ackId` and `message`."""


@dataclass(frozen=True)
class TableTarget:
    """The table of a BigQuery subscription, as `project.dataset.table`."""

    table: str

    def check(self) -> str:
        """Check that the table accepts rows of messages; returns its path in BigQuery's REST interface.

        Raises:
            SimulatorError: it does not exist, or a column is missing or has an unsuitable type.
        """
        try:
            project, dataset, name = self.table.split(".")
        except ValueError:
            raise SimulatorError(f"table {self.table!r} is not of the form project.dataset.table") from None
        path = f"/bigquery/v2/projects/{project}/datasets/{dataset}/tables/{name}"
        table = rest.call("GET", emulators.endpoints().bigquery, path, missing_ok=True)
        if table is None:
            remedy = "create it first, and let the subscription depend on it"
            raise SimulatorError(f"table {self.table} does not exist: {remedy}")
        columns = {field["name"]: field["type"] for field in table.get("schema", {}).get("fields", [])}
        if missing := sorted(_COLUMNS - columns.keys()):
            raise SimulatorError(f"table {self.table} lacks the columns {', '.join(missing)}")
        if columns["data"] != "BYTES":
            raise SimulatorError(f"table {self.table}: on a laptop, column data must be BYTES")
        return path

    def deliver(self, received: list[Message], subscription: str) -> set[str]:
        """Write messages to the table; returns their acknowledgement ids."""
        path = f"{self.check()}/insertAll"
        rows = [_row(each["message"], subscription) for each in received]
        answer = rest.call("POST", emulators.endpoints().bigquery, path, {"rows": rows})
        if errors := answer.get("insertErrors"):
            raise SimulatorError(f"{self.table} refuses rows: {errors[0]}")
        _log.info("%d rows to %s", len(rows), self.table)
        return {each["ackId"] for each in received}


@dataclass(frozen=True)
class PushTarget:
    """The endpoint of a push subscription, and the service account and audience of the tokens it gets.

    A laptop has no Gateway and no name server: messages go to the port of the container that has the endpoint
    in one of its environment variables.
    """

    endpoint: str
    account: str
    audience: str

    def deliver(self, received: list[Message], subscription: str) -> set[str]:
        """Push messages as Pub/Sub does; returns the acknowledgement ids of those that are accepted."""
        # https://cloud.google.com/pubsub/docs/push
        headers = {
            "User-Agent": "CloudPubSub-Google",
            "Authorization": f"Bearer {issuer.token(self.account, self.audience)}",
        }
        address, path = f"{emulators.HOST}:{self._port()}", urlsplit(self.endpoint).path or "/"
        accepted: set[str] = set()
        for each in received:
            push: dict[str, Any] = {"message": each["message"], "subscription": subscription}
            if attempt := each.get("deliveryAttempt"):
                push["deliveryAttempt"] = attempt
            with contextlib.suppress(rest.RestError):
                rest.call(
                    "POST", address, path, push, headers=headers, success=_ACCEPTED, timeout=_ANSWER_SECONDS
                )
                accepted.add(each["ackId"])
        return accepted

    def _port(self) -> int:
        for process in processes.recorded():
            if process.name.startswith(f"{kubelet.KIND}.") and process.alive:
                try:
                    environment = psutil.Process(process.pid).environ()
                except psutil.NoSuchProcess:
                    continue
                if self.endpoint in environment.values() and "PORT" in environment:
                    return int(environment["PORT"])
        raise SimulatorError(f"no container has {self.endpoint} in its environment")


Target = TableTarget | PushTarget
_TARGETS: Final[dict[str, type[Target]]] = {"table": TableTarget, "push": PushTarget}


def start(subscription: str, target: Target) -> None:
    """Start the bridge of a subscription in place of the present one, and the issuer if it pushes.

    Raises:
        SimulatorError: the bridge or the issuer does not start.
    """
    stop(subscription)
    if isinstance(target, PushTarget):
        issuer.ensure()
    arguments = _arguments(target)
    processes.start(
        _process_name(subscription),
        processes.module("infra.simulator.bridge", subscription, *arguments),
        processes.base_environment(),
        grace_seconds=_GRACE_SECONDS,
        labels={"target": " ".join(arguments)},
    )


def runs(subscription: str, target: Target) -> bool:
    """Whether the bridge of a subscription runs and delivers to this target."""
    process = processes.find(_process_name(subscription))
    if process is None or not process.alive or process.labels["target"] != " ".join(_arguments(target)):
        return False
    return isinstance(target, TableTarget) or issuer.address() is not None


def stop(subscription: str) -> None:
    """Stop the bridge of a subscription, if it has one."""
    processes.stop([_process_name(subscription)])


def _process_name(subscription: str) -> str:
    _, project, _, name = subscription.split("/")
    return f"bridge.{project}.{name}"


def _arguments(target: Target) -> list[str]:
    kind = next(name for name, each in _TARGETS.items() if isinstance(target, each))
    return [kind, *astuple(target)]


def _row(message: dict[str, Any], subscription: str) -> dict[str, Any]:
    """The row of a message for BigQuery's `insertAll`, as Pub/Sub writes it without a schema."""
    # https://cloud.google.com/pubsub/docs/bigquery#write_message_metadata
    values = {
        "subscription_name": subscription,
        "message_id": message["messageId"],
        "publish_time": message["publishTime"],
        "attributes": json.dumps(message.get("attributes", {})),
        "data": message.get("data", ""),  # base64, as BYTES are in BigQuery's JSON
    }
    return {"insertId": message["messageId"], "json": values}


def _call(subscription: str, method: str, body: dict[str, Any]) -> Any:
    return rest.call("POST", emulators.endpoints().pubsub, f"/v1/{quote(subscription)}:{method}", body)


def _pull(subscription: str) -> list[Message]:
    """A batch of the messages that are there now, maybe none.

    A pull that waits would lose messages: the emulator gives them to pulls whose caller has ended.
    """
    answer = _call(subscription, "pull", {"maxMessages": _BATCH, "returnImmediately": True})
    return answer.get("receivedMessages", [])


def _retry(attempt: Callable[[], Result]) -> Result:
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            return attempt()
        except SimulatorError as error:
            _log.warning("%s; next attempt in %.1f s", error, pause)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def main() -> None:
    """Deliver until SIGTERM; retry with growing pauses while an emulator or the target fails."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    _, subscription, kind, *arguments = sys.argv
    target = _TARGETS[kind](*arguments)
    while True:
        received = _retry(lambda: _pull(subscription))
        if not received:
            time.sleep(_IDLE_SECONDS)
            continue
        accepted = _retry(lambda: target.deliver(received, subscription))  # noqa: B023 -- called at once
        refused = [each["ackId"] for each in received if each["ackId"] not in accepted]
        try:
            if accepted:
                _call(subscription, "acknowledge", {"ackIds": sorted(accepted)})
            if refused:  # Pub/Sub delivers them again, or to the dead-letter topic
                _call(subscription, "modifyAckDeadline", {"ackIds": refused, "ackDeadlineSeconds": 0})
        except SimulatorError as error:
            _log.warning("messages are not acknowledged and will be delivered again: %s", error)


if __name__ == "__main__":
    main()
