"""Run an image as the cluster would, against emulators, and use it."""

import contextlib
import datetime
import tempfile
import time
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import Final

import httpx
import msgspec
import numpy as np
from google.cloud import pubsub_v1, storage

from infra.environment.services import SERVICES
from infra.simulator import emulators
from scripts.command import CommandError
from scripts.images.container_engine import Container, Engine
from scripts.messages import publish
from scripts.messages.subscriptions import temporary
from scripts.own_emulators import own_emulators
from services.contracts import names
from services.contracts.messages import PredictionResponse, SaleRangeRequest
from services.contracts.names import PREDICT_PATH, READINESS_PATH
from services.contracts.settings import HttpSettings, PredictionSettings, StreamingSettings, to_environment
from services.forecasting import training
from services.forecasting.model_registry import ModelRegistry
from services.forecasting.panel import Panel

DAYS: Final = 7
GRACE_SECONDS: Final = 30
"""Between SIGTERM and SIGKILL, as for a pod of Kubernetes."""

_PROJECT: Final = "smoke-test"
_BUCKET: Final = "smoke-models"
_TOPICS: Final = f"projects/{_PROJECT}/topics"
_READY_SECONDS: Final = 60.0
_ANSWER_SECONDS: Final = 30.0
# Imports everything that the other commands of the image import.
_BATCH_COMMAND: Final = ("python", "-m", "services.batch.train", "--help")


class SmokeError(CommandError):
    """The image does not work; the message says what it did instead, with the end of its log."""


@contextlib.contextmanager
def surroundings() -> Generator[None]:
    """Emulators of its own, and in them a model that was trained on made-up sales."""
    with own_emulators():
        _publish_model()
        _make_topics()
        yield


def check(engine: Engine, reference: str, service: str) -> str:
    """Start an image, use it, stop it, inside `surroundings`.

    Args:
        engine: that has the image.
        reference: of the image.
        service: that the image is of.

    Returns:
        What it did, in a line.

    Raises:
        SmokeError: it does not work.
    """
    with tempfile.NamedTemporaryFile(prefix=f"{service}-", suffix=".log") as file:
        log = Path(file.name)
        try:
            if service in SERVICES:
                # A subscription of its own: no other container takes its request.
                with temporary(
                    pubsub_v1.SubscriberClient(), _PROJECT, names.SALE_RANGE_TOPIC, "smoke"
                ) as subscription:
                    return _check_service(engine, reference, service, subscription, log)
            return _check_command(engine, reference, log)
        except SmokeError as error:
            tail = "\n    ".join(log.read_text(errors="replace").splitlines()[-15:])
            raise SmokeError(f"{error}\n    {tail}") from None


def _check_command(engine: Engine, reference: str, log: Path) -> str:
    with engine.running(reference, _BATCH_COMMAND, {}, log) as container:
        deadline = time.monotonic() + _READY_SECONDS
        while container.status is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if container.status != 0:
            raise SmokeError(f"`{' '.join(_BATCH_COMMAND)}` ended with {container.status}, not with 0")
    return "starts read-only, its commands load"


def _check_service(engine: Engine, reference: str, service: str, subscription: str, log: Path) -> str:
    port = emulators.free_port()
    match service:
        case "prediction":
            settings = PredictionSettings(model_bucket=_BUCKET, host="127.0.0.1", port=port, drain_seconds=0)
        case "streaming":
            settings = StreamingSettings(
                model_bucket=_BUCKET,
                subscription=subscription,
                reply_topic=f"{_TOPICS}/{names.SALE_PREDICTIONS_TOPIC}",
                dead_letter_topic=f"{_TOPICS}/{names.DEAD_LETTER_TOPIC}",
                predictions_table=f"{_PROJECT}.predictions.predictions",
                host="127.0.0.1",
                port=port,
            )
        case _:
            settings = HttpSettings(host="127.0.0.1", port=port, route="/smoke", drain_seconds=0)
    variables = {**to_environment(settings), **emulators.endpoints().environment}
    started = time.monotonic()
    command = ("python", "-m", f"services.{service}")
    with engine.running(reference, command, variables, log) as container:
        _wait_ready(container, port)
        ready = time.monotonic() - started
        match settings:
            case PredictionSettings():
                answer = _predict(port)
            case StreamingSettings():
                answer = _reply()
            case HttpSettings():
                _get(port, settings.route)
                answer = f"answers {settings.route}"
        stopping = time.monotonic()
        if (status := container.stop(GRACE_SECONDS)) != 0:
            outcome = f"ended with {status}" if status is not None else f"still runs after {GRACE_SECONDS} s"
            raise SmokeError(f"after SIGTERM it {outcome}")
        stopped = time.monotonic() - stopping
    return f"read-only, ready after {ready:.1f} s, {answer}, stopped {stopped:.1f} s after SIGTERM"


def _make_topics() -> None:
    publisher = pubsub_v1.PublisherClient()
    for topic in (names.SALE_RANGE_TOPIC, names.SALE_PREDICTIONS_TOPIC, names.DEAD_LETTER_TOPIC):
        publisher.create_topic(name=f"{_TOPICS}/{topic}")


def _wait_ready(container: Container, port: int) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    state = "no answer"
    while time.monotonic() < deadline:
        if container.status is not None:
            raise SmokeError(f"it ended with {container.status} before it was ready")
        with contextlib.suppress(httpx.HTTPError):
            response = httpx.get(f"http://127.0.0.1:{port}{READINESS_PATH}", timeout=2)
            if response.is_success:
                return
            state = f"{response.status_code} {response.text[:200]}"
        time.sleep(0.05)
    raise SmokeError(f"it is not ready after {_READY_SECONDS:.0f} s: {state}")


def _get(port: int, path: str) -> bytes:
    response = httpx.get(f"http://127.0.0.1:{port}{path}", timeout=_ANSWER_SECONDS)
    if not response.is_success:
        raise SmokeError(f"GET {path}: {response.status_code} {response.text[:200]}")
    return response.content


def _predict(port: int) -> str:
    path = f"{PREDICT_PATH}?range={DAYS}"
    rows = msgspec.json.decode(_get(port, path), type=PredictionResponse).prediction
    if len(rows) != DAYS:
        raise SmokeError(f"GET {path}: {len(rows)} rows for one series")
    return f"answers {path}"


def _reply() -> str:
    request = SaleRangeRequest(request_id=str(uuid.uuid4()), range=DAYS, mode="active")
    answer = publish.ask(_PROJECT, [request], _ANSWER_SECONDS).get(request.request_id)
    if answer is None:
        raise SmokeError(f"no reply to an active request within {_ANSWER_SECONDS:.0f} s")
    if answer.rows != DAYS:
        raise SmokeError(f"its reply does not fit the request: {answer}")
    return "replies to an active request"


def _publish_model() -> None:
    """One series of two years with a weekly season."""
    days = 730
    generator = np.random.default_rng(0)
    season = 20 + 10 * np.sin(np.arange(days) * 2 * np.pi / 7)
    panel = Panel(
        first_date=datetime.date(2024, 1, 1),
        store_nbr=("1",),
        family=("A",),
        sales=generator.poisson(season).astype(np.float64)[np.newaxis],
        onpromotion=None,
    )
    storage.Client(project=_PROJECT).create_bucket(_BUCKET)
    registry = ModelRegistry(_BUCKET, project=_PROJECT)
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        training.train(panel, Path(folder))
        registry.publish(registry.upload(Path(folder)).version)
