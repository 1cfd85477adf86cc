"""Run an image as the cluster would, against emulators, and use it."""

import contextlib
import datetime
import functools
import tempfile
import time
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import Final

import httpx
import msgspec
import numpy as np
from google.cloud import pubsub_v1

from infra.environment.services import SERVICES
from infra.simulator import emulators
from scripts.command import CommandError
from scripts.images.container_engine import Container, Engine
from scripts.messages import publish
from scripts.messages.subscriptions import temporary
from scripts.own_emulators import PROJECT, own_emulators, publish_model
from services.contracts import names
from services.contracts.messages import PredictionResponse, SaleRangeRequest
from services.contracts.names import PREDICT_PATH, READINESS_PATH
from services.contracts.settings import HttpSettings, PredictionSettings, StreamingSettings, to_environment
from services.forecasting import training
from services.forecasting.panel import Panel

_DAYS: Final = 7
_GRACE_SECONDS: Final = 30  # between SIGTERM and SIGKILL, as for a pod of Kubernetes
_BUCKET: Final = "smoke-models"
_TOPICS: Final = f"projects/{PROJECT}/topics"
_READY_SECONDS: Final = 60.0
_ANSWER_SECONDS: Final = 30.0
# Imports everything that the other commands of the image import.
_BATCH_COMMAND: Final = ("python", "-m", "services.batch.train", "--help")


@contextlib.contextmanager
def surroundings() -> Generator[None]:
    """Emulators of its own, and in them topics, and a model of one made-up series of two years."""
    days = 730
    season = 20 + 10 * np.sin(np.arange(days) * 2 * np.pi / 7)
    sales = np.random.default_rng(0).poisson(season).astype(np.float64)[np.newaxis]
    with own_emulators(), tempfile.TemporaryDirectory(prefix="model-") as folder:
        training.train(Panel(datetime.date(2024, 1, 1), ("1",), ("A",), sales, None), Path(folder))
        publish_model(Path(folder), _BUCKET)
        publisher = pubsub_v1.PublisherClient()
        for topic in (names.SALE_RANGE_TOPIC, names.SALE_PREDICTIONS_TOPIC, names.DEAD_LETTER_TOPIC):
            publisher.create_topic(name=f"{_TOPICS}/{topic}")
        yield


def check(engine: Engine, reference: str, service: str) -> str:
    """Start an image, use it, stop it, inside `surroundings`; CommandError, with its log, if that fails."""
    checked = _check_service if service in SERVICES else _check_command
    with tempfile.NamedTemporaryFile(prefix=f"{service}-", suffix=".log") as file:
        log = Path(file.name)
        try:
            return checked(engine, reference, service, log)
        except CommandError as error:
            tail = "".join(f"\n    {line}" for line in log.read_text(errors="replace").splitlines()[-15:])
            raise CommandError(f"{error}{tail}") from None


def _check_command(engine: Engine, reference: str, _: str, log: Path) -> str:
    with engine.running(reference, _BATCH_COMMAND, {}, log) as container:
        if (status := container.wait(_READY_SECONDS)) != 0:
            raise CommandError(f"`{' '.join(_BATCH_COMMAND)}` ended with {status}, not with 0")
    return "starts read-only, its commands load"


def _check_service(engine: Engine, reference: str, service: str, log: Path) -> str:
    port = emulators.free_port()
    with contextlib.ExitStack() as stack:
        match service:
            case "prediction":
                settings = PredictionSettings(
                    model_bucket=_BUCKET, host="127.0.0.1", port=port, drain_seconds=0
                )
                use = functools.partial(_get, port, f"{PREDICT_PATH}?range={_DAYS}", _DAYS)
            case "streaming":
                # A subscription of its own: no other container takes its request.
                own = temporary(pubsub_v1.SubscriberClient(), PROJECT, names.SALE_RANGE_TOPIC, "smoke")
                settings = StreamingSettings(
                    model_bucket=_BUCKET,
                    subscription=stack.enter_context(own),
                    reply_topic=f"{_TOPICS}/{names.SALE_PREDICTIONS_TOPIC}",
                    dead_letter_topic=f"{_TOPICS}/{names.DEAD_LETTER_TOPIC}",
                    predictions_table=f"{PROJECT}.predictions.predictions",
                    host="127.0.0.1",
                    port=port,
                )
                use = _reply
            case _:
                settings = HttpSettings(host="127.0.0.1", port=port, route="/smoke", drain_seconds=0)
                use = functools.partial(_get, port, settings.route)
        variables = {**to_environment(settings), **emulators.endpoints().environment}
        started = time.monotonic()
        command = ("python", "-m", f"services.{service}")
        container = stack.enter_context(engine.running(reference, command, variables, log))
        _wait_ready(container, port)
        ready = time.monotonic() - started
        answer = use()
        stopping = time.monotonic()
        container.signal("TERM")
        if (status := container.wait(_GRACE_SECONDS)) != 0:
            outcome = f"ended with {status}" if status is not None else f"still runs after {_GRACE_SECONDS} s"
            raise CommandError(f"after SIGTERM it {outcome}")
        stopped = time.monotonic() - stopping
    return f"read-only, ready after {ready:.1f} s, {answer}, stopped {stopped:.1f} s after SIGTERM"


def _wait_ready(container: Container, port: int) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    state = "no answer"
    while time.monotonic() < deadline:
        if (status := container.wait(0.05)) is not None:
            raise CommandError(f"it ended with {status} before it was ready")
        with contextlib.suppress(httpx.HTTPError):
            response = httpx.get(f"http://127.0.0.1:{port}{READINESS_PATH}", timeout=2)
            if response.is_success:
                return
            state = f"{response.status_code} {response.text[:200]}"
    raise CommandError(f"it is not ready after {_READY_SECONDS:.0f} s: {state}")


def _get(port: int, path: str, days: int | None = None) -> str:
    response = httpx.get(f"http://127.0.0.1:{port}{path}", timeout=_ANSWER_SECONDS)
    if not response.is_success:
        raise CommandError(f"GET {path}: {response.status_code} {response.text[:200]}")
    if days:
        rows = msgspec.json.decode(response.content, type=PredictionResponse).prediction
        if len(rows) != days:
            raise CommandError(f"GET {path}: {len(rows)} rows for one series")
    return f"answers {path}"


def _reply() -> str:
    request = SaleRangeRequest(request_id=str(uuid.uuid4()), range=_DAYS, mode="active")
    answer = publish.ask(PROJECT, [request], _ANSWER_SECONDS).get(request.request_id)
    if answer is None:
        raise CommandError(f"no reply to an active request within {_ANSWER_SECONDS:.0f} s")
    if answer.rows != _DAYS:
        raise CommandError(f"its reply does not fit the request: {answer}")
    return "replies to an active request"
