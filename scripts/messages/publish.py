"""Ask for forecasts over Pub/Sub.

    scripts/publish 7                          # passive: rows in BigQuery
    scripts/publish 7 14 --active              # wait for the replies, show how long they took
    scripts/publish 7 --store-nbr France --active
    scripts/publish --csv requests.csv         # range[, store_nbr, family, mode, request_id]

Replies arrive on a temporary subscription, so that other subscribers still receive theirs.
"""

import csv
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from google import pubsub_v1
from rich.console import Console
from rich.table import Table

from infra.environment import Environment
from scripts.command import MESSAGES_TARGET, CommandError, argument, command, use_environment
from scripts.messages.subscriptions import PER_CALL, RETRY, take, temporary
from services.contracts import names
from services.contracts.messages import SalePrediction, SaleRangeRequest

_SHOWN: Final = 20
_ANSWER_SECONDS: Final = 30


class Answer(msgspec.Struct, frozen=True):
    """A reply, and the seconds until it arrived."""

    seconds: float
    status: str
    rows: int
    reason: str


def request(where: str, values: Mapping[str, Any]) -> SaleRangeRequest:
    """A request of these values, with an id unless they have one; CommandError begins with `where`."""
    try:
        return msgspec.convert({"request_id": uuid.uuid4().hex, **values}, SaleRangeRequest, strict=False)
    except (msgspec.ValidationError, TypeError) as error:
        raise CommandError(f"{where}: {error}") from None


def from_csv(path: Path) -> Iterator[SaleRangeRequest]:
    """Requests from a file, one per line; empty cells are ignored."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for line in csv.DictReader(file):
                values = {name: value for name, value in line.items() if value}
                yield request(f"{path}: {line}", values)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CommandError(f"{path}: {error}") from None


def publish(topic: str, requests: Sequence[SaleRangeRequest]) -> None:
    """Publish requests and wait until Pub/Sub has confirmed them."""
    publisher = pubsub_v1.PublisherClient()
    for begin in range(0, len(requests), PER_CALL):
        messages = [
            pubsub_v1.PubsubMessage(data=msgspec.json.encode(request))
            for request in requests[begin : begin + PER_CALL]
        ]
        publisher.publish(topic=topic, messages=messages, retry=RETRY)


def ask(project: str, requests: Sequence[SaleRangeRequest], seconds: float) -> dict[str, Answer]:
    """Publish requests; returns the replies to the active ones that arrive in time, by request id."""
    topic = f"projects/{project}/topics/{names.SALE_RANGE_TOPIC}"
    ids = {request.request_id for request in requests if request.mode == "active"}
    answers: dict[str, Answer] = {}
    if not ids:
        publish(topic, requests)
        return answers
    subscriber = pubsub_v1.SubscriberClient()
    with temporary(subscriber, project, names.SALE_PREDICTIONS_TOPIC, "publish") as replies:
        publish(topic, requests)
        begun = time.monotonic()
        while len(answers) < len(ids) and (left := begun + seconds - time.monotonic()) > 0:
            messages = take(subscriber, replies, min(left, 5))
            taken = time.monotonic() - begun
            for message in messages:
                given = message.attributes
                request_id = given.get(names.REQUEST_ID_ATTRIBUTE, "")
                if request_id in ids and request_id not in answers:
                    rows = len(msgspec.json.decode(message.data, type=SalePrediction).prediction)
                    status = given.get(names.STATUS_ATTRIBUTE, "")
                    answers[request_id] = Answer(taken, status, rows, given.get(names.REASON_ATTRIBUTE, ""))
    return answers


def show(requests: Sequence[SaleRangeRequest], answers: dict[str, Answer]) -> None:
    """Print the replies."""
    table = Table("request", "days", "store", "family", "answer", "rows", "ms")
    for request in requests[:_SHOWN]:
        asked = (str(request.range), request.store_nbr or "all", request.family or "all")
        answer = answers.get(request.request_id)
        if request.mode == "passive":
            came = ("to BigQuery", "", "")
        elif answer is None:
            came = (f"none within {_ANSWER_SECONDS} s", "", "")
        else:
            came = (answer.reason or answer.status, str(answer.rows), f"{answer.seconds * 1000:.0f}")
        table.add_row(request.request_id, *asked, *came)
    console = Console()
    console.print(table)
    if len(requests) > _SHOWN:
        console.print(f"and {len(requests) - _SHOWN} more")
    if answers:
        times = sorted(answer.seconds * 1000 for answer in answers.values())
        middle, high = times[len(times) // 2], times[min(len(times) - 1, int(0.99 * len(times)))]
        latencies = f"median {middle:.0f} ms, 99 % {high:.0f} ms, last {times[-1]:.0f} ms"
        console.print(f"{len(times)} replies; {latencies}")


@command(
    "publish",
    MESSAGES_TARGET,
    argument("ranges", metavar="range", type=int, nargs="*", help="days to forecast"),
    argument("--store-nbr", help="only this store"),
    argument("--family", help="only this family"),
    argument("--active", action="store_true", help="wait for replies"),
    argument("--csv", dest="file", type=Path, help="file of requests, one per line"),
)
def main(target: Environment, ranges: list[int], file: Path | None, *, active: bool, **of_each: Any) -> int:
    """Returns 1 if a request cannot be sent, or an active one has no reply or is refused."""
    if not ranges and not file:
        raise CommandError("give a range or --csv")
    of_each["mode"] = "active" if active else "passive"
    requests = list(from_csv(file)) if file else []
    requests += [request(str(days), {"range": days, **of_each}) for days in ranges]
    answers = ask(use_environment(target).project_id, requests, _ANSWER_SECONDS)
    show(requests, answers)
    answered = {request_id for request_id, answer in answers.items() if not answer.reason}
    return int(any(each.mode == "active" and each.request_id not in answered for each in requests))
