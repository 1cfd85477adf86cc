"""Delivers the messages of a BigQuery or push subscription: one process per subscription.

    python -m infra.simulator.bridge <subscription> table <project.dataset.table>
    python -m infra.simulator.bridge <subscription> push <endpoint> <account> <audience>

The Pub/Sub emulator cannot write to BigQuery, and pushes without tokens to names that a laptop cannot
resolve. Rows have the form that Pub/Sub writes without a schema and with metadata
(https://cloud.google.com/pubsub/docs/bigquery#write_message_metadata). A message is acknowledged after its
row is written or its push has succeeded: delivery is at least once.
"""

import argparse
import json
import logging
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final, TypeVar
from urllib.parse import quote

from infra.simulator import emulators, issuer, processes, push, rest
from infra.simulator.home import VENVS, home
from infra.simulator.processes import ProcessError
from infra.simulator.push import PushTarget

KIND: Final = "bridge"
_GRACE_SECONDS: Final = 5.0
_BATCH: Final = 500  # number of rows that BigQuery recommends for one insert request
_IDLE_SECONDS: Final = 0.5
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 5.0
_COLUMNS: Final = frozenset({"attributes", "data", "message_id", "publish_time", "subscription_name"})
_log: Final = logging.getLogger(__name__)


Result = TypeVar("Result")
Message = dict[str, Any]
"""A received message in Pub/Sub's JSON: `ackId` and `message`."""


class BridgeError(Exception):
    """Messages of a subscription cannot be delivered; the message says why."""


_UNAVAILABLE: Final = (rest.RestError, BridgeError, emulators.EmulatorError, push.PushError)


@dataclass(frozen=True)
class TableTarget:
    """Where a BigQuery subscription writes.

    Attributes:
        table: `project.dataset.table`.
    """

    table: str

    @property
    def path(self) -> str:
        """Path of the table in BigQuery's REST interface.

        Raises:
            BridgeError: `table` does not have this form.
        """
        try:
            project, dataset, table = self.table.split(".")
        except ValueError:
            raise BridgeError(f"table {self.table!r} is not of the form project.dataset.table") from None
        return f"/bigquery/v2/projects/{project}/datasets/{dataset}/tables/{table}"

    @property
    def arguments(self) -> list[str]:
        """Command line of the bridge."""
        return ["table", self.table]

    def deliver(self, received: list[Message], subscription: str) -> tuple[list[str], list[str]]:
        """Write messages to the table; returns their acknowledgement ids, and no refused ones.

        Raises:
            BridgeError: the table does not accept the rows.
            rest.RestError: BigQuery does not answer.
        """
        check(self)
        rows = [_row(each["message"], subscription) for each in received]
        address, path = emulators.endpoints().bigquery, f"{self.path}/insertAll"
        if errors := rest.call("POST", address, path, {"rows": rows}).get("insertErrors"):
            raise BridgeError(f"{self.table} refuses rows: {errors[0]}")
        _log.info("%d rows to %s", len(rows), self.table)
        return [each["ackId"] for each in received], []


Target = TableTarget | PushTarget


def check(target: TableTarget) -> None:
    """Check that the table accepts the rows of messages.

    Raises:
        BridgeError: the table does not exist, or a column is missing or has an unsuitable type.
    """
    try:
        table = rest.call("GET", emulators.endpoints().bigquery, target.path)
    except rest.RestError as error:
        if error.status == 404:
            raise BridgeError(
                f"table {target.table} does not exist: create it first, and let the subscription depend on it"
            ) from error
        raise BridgeError(str(error)) from error
    columns = {field["name"]: field["type"] for field in table.get("schema", {}).get("fields", [])}
    if missing := sorted(_COLUMNS - columns.keys()):
        raise BridgeError(f"table {target.table} lacks the columns {', '.join(missing)}")
    if columns["data"] != "BYTES":
        raise BridgeError(f"table {target.table}: on a laptop, column data must be BYTES")


def start(subscription: str, target: Target) -> None:
    """Start the bridge of a subscription in place of the present one, and the issuer if it pushes.

    Raises:
        BridgeError: the bridge or the issuer does not start.
    """
    stop(subscription)
    if isinstance(target, PushTarget):
        try:
            issuer.ensure()
        except emulators.EmulatorError as error:
            raise BridgeError(str(error)) from error
    command = [
        *(str(VENVS / "simulator" / "bin" / "python"), "-m", "infra.simulator.bridge"),
        *(subscription, *target.arguments),
    ]
    try:
        processes.start(
            _process_name(subscription),
            command,
            processes.base_environment() | {"SIMULATOR_HOME": str(home())},
            grace_seconds=_GRACE_SECONDS,
            labels=_labels(target),
        )
    except ProcessError as error:
        raise BridgeError(str(error)) from error


def runs(subscription: str, target: Target) -> bool:
    """Whether the bridge of a subscription runs and delivers to this target."""
    process = processes.find(_process_name(subscription))
    runs = process is not None and process.alive and process.labels == _labels(target)
    return runs and (isinstance(target, TableTarget) or issuer.address() is not None)


def stop(subscription: str) -> None:
    """Stop the bridge of a subscription, if it has one."""
    processes.stop([_process_name(subscription)])


def _process_name(subscription: str) -> str:
    _, project, _, name = subscription.split("/")
    return f"{KIND}.{project}.{name}"


def _labels(target: Target) -> dict[str, str]:
    return {"target": " ".join(target.arguments)}


def _row(message: dict[str, Any], subscription: str) -> dict[str, Any]:
    """The row of a message, in the form of BigQuery's `insertAll`."""
    values = {
        "subscription_name": subscription,
        "message_id": message["messageId"],
        "publish_time": message["publishTime"],
        "attributes": json.dumps(message.get("attributes", {})),
        "data": message.get("data", ""),  # base64, as BYTES are in BigQuery's JSON
    }
    return {"insertId": message["messageId"], "json": values}


def _pull(subscription: str) -> list[Message]:
    """A batch of the messages that are there now, maybe none.

    A pull that waits would lose messages: the emulator gives them to pulls whose caller has ended.
    """
    answer = rest.call(
        "POST",
        emulators.endpoints().pubsub,
        f"/v1/{quote(subscription)}:pull",
        {"maxMessages": _BATCH, "returnImmediately": True},
    )
    return answer.get("receivedMessages", [])


def _acknowledge(subscription: str, accepted: list[str], refused: list[str]) -> None:
    """Acknowledge accepted messages; Pub/Sub redelivers or dead-letters the refused ones."""
    path = f"/v1/{quote(subscription)}"
    address = emulators.endpoints().pubsub
    if accepted:
        rest.call("POST", address, f"{path}:acknowledge", {"ackIds": accepted})
    if refused:
        body = {"ackIds": refused, "ackDeadlineSeconds": 0}
        rest.call("POST", address, f"{path}:modifyAckDeadline", body)


def run(subscription: str, target: Target) -> None:
    """Deliver until the process ends; retry with growing pauses while an emulator or the target fails."""
    while True:
        received = _retry(lambda: _pull(subscription))
        if not received:
            time.sleep(_IDLE_SECONDS)
            continue
        accepted, refused = _retry(lambda: target.deliver(received, subscription))  # noqa: B023 -- called at once
        try:
            _acknowledge(subscription, accepted, refused)
        except _UNAVAILABLE as error:
            _log.warning("messages are not acknowledged and will be delivered again: %s", error)


def _retry(attempt: Callable[[], Result]) -> Result:
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            return attempt()
        except _UNAVAILABLE as error:
            _log.warning("%s; next attempt in %.1f s", error, pause)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def main() -> None:
    """Deliver until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m infra.simulator.bridge", description=__doc__)
    parser.add_argument("subscription", help="projects/<project>/subscriptions/<name>")
    kinds = parser.add_subparsers(dest="kind", required=True)
    table = kinds.add_parser("table")
    table.add_argument("table", help="<project>.<dataset>.<table>")
    push_parser = kinds.add_parser("push")
    for name in ("endpoint", "account", "audience"):
        push_parser.add_argument(name)
    arguments = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    # Stop at once: messages that are not acknowledged are delivered again.
    signal.signal(signal.SIGTERM, _exit)
    if arguments.kind == "table":
        target: Target = TableTarget(arguments.table)
    else:
        target = PushTarget(arguments.endpoint, arguments.account, arguments.audience)
    run(arguments.subscription, target)


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()
