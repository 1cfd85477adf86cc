"""Settings of the services. A Deployment declares them as environment variables, the service reads them back.

A field `model_bucket` is the variable `MODEL_BUCKET`.
"""

from collections.abc import Mapping
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from services.contracts.model import HORIZON_DAYS

Port = Annotated[int, Meta(ge=1, le=65535)]
Host = Annotated[str, Meta(min_length=1, description="Address to listen on.")]
Seconds = Annotated[float, Meta(gt=0)]


class SettingsError(Exception):
    """An environment variable is missing or has a value that does not fit."""


class PredictionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The prediction service."""

    model_bucket: Annotated[
        str, Meta(min_length=1, description="Bucket of the model registry, without gs://.")
    ]
    host: Host = "0.0.0.0"  # noqa: S104 -- a pod's address is not known before it runs
    port: Annotated[Port, Meta(description="Port for HTTP.")] = 8080
    max_range: Annotated[int, Meta(ge=1, description="Most days a request may ask for.")] = HORIZON_DAYS
    model_poll_seconds: Annotated[Seconds, Meta(description="Between looks at the model pointer.")] = 10
    drain_seconds: Annotated[
        Annotated[float, Meta(ge=0)],
        Meta(
            description="Between SIGTERM (not ready) and closing: longer than load balancers take to notice."
        ),
    ] = 5


class StreamingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The streaming service.

    Topics and subscriptions are full resource names, the table is `project.dataset.table`.
    """

    model_bucket: Annotated[
        str, Meta(min_length=1, description="Bucket of the model registry, without gs://.")
    ]
    subscription: Annotated[str, Meta(pattern="^projects/[^/]+/subscriptions/[^/]+$")]
    reply_topic: Annotated[str, Meta(pattern="^projects/[^/]+/topics/[^/]+$")]
    dead_letter_topic: Annotated[str, Meta(pattern="^projects/[^/]+/topics/[^/]+$")]
    predictions_table: Annotated[str, Meta(pattern=r"^[^.]+\.[^.]+\.[^.]+$")]
    host: Host = "0.0.0.0"  # noqa: S104 -- a pod's address is not known before it runs
    port: Annotated[Port, Meta(description="Port for health and metrics.")] = 8080
    max_range: Annotated[int, Meta(ge=1, description="Most days a request may ask for.")] = HORIZON_DAYS
    model_poll_seconds: Annotated[Seconds, Meta(description="Between looks at the model pointer.")] = 10
    max_messages: Annotated[int, Meta(ge=1, le=1000, description="Messages asked for in one pull.")] = 100


class BatchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The batch commands: ingest, train, publish."""

    model_bucket: Annotated[
        str, Meta(min_length=1, description="Bucket of the model registry, without gs://.")
    ]
    sales_table: Annotated[
        str, Meta(pattern=r"^[^.]+\.[^.]+\.[^.]+$", description="project.dataset.table of daily sales.")
    ]


Settings = TypeVar("Settings", bound=msgspec.Struct)


def to_environment(settings: msgspec.Struct) -> dict[str, str]:
    """The environment variables that declare these settings."""
    return {name.upper(): str(value) for name, value in msgspec.to_builtins(settings).items()}


def from_environment(kind: type[Settings], environment: Mapping[str, str]) -> Settings:
    """Read settings from environment variables; variables of other names are ignored.

    Raises:
        SettingsError: names the variable and what was expected.
    """
    names = kind.__struct_fields__
    values = {name: environment[name.upper()] for name in names if name.upper() in environment}
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        message = str(error)
        for name in names:
            message = message.replace(f"`$.{name}`", name.upper()).replace(f"field `{name}`", name.upper())
        raise SettingsError(f"environment: {message}") from None
