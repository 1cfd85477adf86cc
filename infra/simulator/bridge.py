"""Delivers BigQuery and push subscriptions: one small process for each.

    python -m infra.simulator.bridge <subscription> table <project.dataset.table> [--write-metadata]
    python -m infra.simulator.bridge <subscription> push <endpoint> <account> <audience> [--unwrapped]

The Pub/Sub emulator knows no BigQuery, and pushes without tokens to names that a laptop cannot resolve.
Rows are those that Pub/Sub writes when no schema is used
(https://cloud.google.com/pubsub/docs/bigquery#write_message_metadata). A message is acknowledged after its
row is written, or the push of it was answered with success: at least once, and never lost.
"""

import argparse
import base64
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
_BATCH: Final = 500  # rows that BigQuery recommends for one insert request
_IDLE_SECONDS: Final = 0.5
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 5.0
_METADATA_COLUMNS: Final = frozenset({"subscription_name", "message_id", "publish_time", "attributes"})
_DATA_TYPES: Final = ("BYTES", "STRING", "JSON")
_log: Final = logging.getLogger(__name__)


Result = TypeVar("Result")
Message = dict[str, Any]
"""A received message in Pub/Sub's JSON: `ackId` and `message`."""


class BridgeError(Exception):
    """A subscription cannot be delivered to a table; the message says why."""


_AWAY: Final = (rest.RestError, BridgeError, emulators.EmulatorError, push.PushError)


@dataclass(frozen=True)
class TableTarget:
    """Where a BigQuery subscription writes.

    Attributes:
        table: `project.dataset.table`.
        write_metadata: Also write the columns about the message.
    """

    table: str
    write_metadata: bool

    @property
    def path(self) -> str:
        """Path of the table in BigQuery's REST interface.

        Raises:
            BridgeError: `table` has another form.
        """
        try:
            project, dataset, table = self.table.split(".")
        except ValueError:
            raise BridgeError(f"table {self.table!r} is not of the form project.dataset.table") from None
        return f"/bigquery/v2/projects/{project}/datasets/{dataset}/tables/{table}"

    @property
    def arguments(self) -> list[str]:
        """Of the bridge's command line."""
        return ["table", self.table, *(["--write-metadata"] if self.write_metadata else [])]

    def deliver(self, received: list[Message], subscription: str) -> tuple[list[str], list[str]]:
        """Write messages to the table; returns the acknowledgement ids of those written and those unfit.

        Raises:
            BridgeError: the table does not take them.
            rest.RestError: BigQuery does not answer.
        """
        columns = check(self)
        rows: list[dict[str, Any]] = []
        written: list[str] = []
        unfit: list[str] = []
        for each in received:
            try:
                rows.append(row(each["message"], subscription, columns, self))
                written.append(each["ackId"])
            except UnicodeDecodeError as error:
                _log.warning("message %s is no text: %s", each["message"]["messageId"], error)
                unfit.append(each["ackId"])
        if rows:
            path = f"{self.path}/insertAll"
            answer = rest.call("POST", emulators.endpoints().bigquery, path, {"rows": rows})
            if errors := answer.get("insertErrors"):
                raise BridgeError(f"{self.table} refuses rows: {errors[0]}")
            _log.info("%d rows to %s", len(rows), self.table)
        return written, unfit


Target = TableTarget | PushTarget


def check(target: TableTarget) -> dict[str, str]:
    """Check that the table takes the rows; returns the type of each column.

    Raises:
        BridgeError: it does not exist, or a column is missing.
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
    needed = {"data"} | (_METADATA_COLUMNS if target.write_metadata else frozenset[str]())
    if missing := sorted(needed - columns.keys()):
        raise BridgeError(f"table {target.table} lacks the columns {', '.join(missing)}")
    if columns["data"] not in _DATA_TYPES:
        raise BridgeError(f"table {target.table}: column data is not one of {', '.join(_DATA_TYPES)}")
    return columns


def start(subscription: str, target: Target) -> None:
    """Start the bridge of a subscription, instead of the one it may have, and the issuer of its tokens.

    Raises:
        BridgeError: it cannot be run.
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
    """Whether the bridge of a subscription runs and writes there."""
    process = processes.find(_process_name(subscription))
    runs = process is not None and process.alive and process.labels == _labels(target)
    return runs and (isinstance(target, TableTarget) or issuer.address() is not None)


def stop(subscription: str) -> None:
    """Stop the bridge of a subscription; fine if it has none."""
    processes.stop([_process_name(subscription)])


def _process_name(subscription: str) -> str:
    _, project, _, name = subscription.split("/")
    return f"{KIND}.{project}.{name}"


def _labels(target: Target) -> dict[str, str]:
    return {"target": " ".join(target.arguments)}


def row(
    message: dict[str, Any], subscription: str, columns: dict[str, str], target: TableTarget
) -> dict[str, Any]:
    """The row of a message, in the form of BigQuery's `insertAll`."""
    data = message.get("data", "")
    # BYTES are base64 in JSON, as they came.
    values = {"data": data if columns["data"] == "BYTES" else base64.b64decode(data).decode()}
    if target.write_metadata:
        values |= {
            "subscription_name": subscription,
            "message_id": message["messageId"],
            "publish_time": message["publishTime"],
            "attributes": json.dumps(message.get("attributes", {})),
        }
    return {"insertId": message["messageId"], "json": values}


def pull(subscription: str) -> list[Message]:
    """Messages that wait, at most a batch of them.

    Without waiting for some to come: the emulator hands messages to pulls whose caller is long gone.
    """
    answer = rest.call(
        "POST",
        emulators.endpoints().pubsub,
        f"/v1/{quote(subscription)}:pull",
        {"maxMessages": _BATCH, "returnImmediately": True},
    )
    return answer.get("receivedMessages", [])


def settle(subscription: str, written: list[str], unfit: list[str]) -> None:
    """Acknowledge what is written; the rest comes again, or is dead-lettered, as Pub/Sub does."""
    path = f"/v1/{quote(subscription)}"
    address = emulators.endpoints().pubsub
    if written:
        rest.call("POST", address, f"{path}:acknowledge", {"ackIds": written})
    if unfit:
        again = {"ackIds": unfit, "ackDeadlineSeconds": 0}
        rest.call("POST", address, f"{path}:modifyAckDeadline", again)


def run(subscription: str, target: Target) -> None:
    """Deliver for ever. While an emulator is away, or the table, try again after growing pauses."""
    while True:
        received = _persist(lambda: pull(subscription))
        if not received:
            time.sleep(_IDLE_SECONDS)
            continue
        written, unfit = _persist(lambda: target.deliver(received, subscription))  # noqa: B023 -- called at once
        try:
            settle(subscription, written, unfit)
        except _AWAY as error:
            _log.warning("not acknowledged, so delivered again: %s", error)


def _persist(attempt: Callable[[], Result]) -> Result:
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            return attempt()
        except _AWAY as error:
            _log.warning("%s; again in %.1f s", error, pause)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def main() -> None:
    """Deliver until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m infra.simulator.bridge", description=__doc__)
    parser.add_argument("subscription", help="projects/<project>/subscriptions/<name>")
    kinds = parser.add_subparsers(dest="kind", required=True)
    table = kinds.add_parser("table")
    table.add_argument("table", help="<project>.<dataset>.<table>")
    table.add_argument("--write-metadata", action="store_true")
    pushed = kinds.add_parser("push")
    for name in ("endpoint", "account", "audience"):
        pushed.add_argument(name)
    pushed.add_argument("--unwrapped", action="store_true")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    # At once, also while waiting for messages: what is not acknowledged comes again.
    signal.signal(signal.SIGTERM, _exit)
    if arguments.kind == "table":
        target: Target = TableTarget(arguments.table, arguments.write_metadata)
    else:
        target = PushTarget(
            arguments.endpoint, arguments.account, arguments.audience, not arguments.unwrapped
        )
    run(arguments.subscription, target)


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()
