"""Settings of the services. A Deployment declares them as environment variables, the service reads them back.

A field `model_bucket` is the variable `MODEL_BUCKET`.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from services.contracts.model import HORIZON_DAYS

Text = Annotated[str, Meta(min_length=1)]
Positive = Annotated[int, Meta(ge=1)]
TableName = Annotated[str, Meta(pattern=r"^[^.]+\.[^.]+\.[^.]+$")]
Topic = Annotated[str, Meta(pattern="^projects/[^/,]+/topics/[^/,]+$")]


class SettingsError(Exception):
    """An environment variable is missing or has a value that does not fit."""


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What every HTTP server is told."""

    host: Text = "0.0.0.0"  # noqa: S104 -- a pod's address is not known before it runs
    port: Annotated[int, Meta(ge=1, le=65535)] = 8080
    drain_seconds: Annotated[float, Meta(ge=0)] = 5  # after SIGTERM, not ready, until load balancers notice


class HttpSettings(ServerSettings, frozen=True, kw_only=True):
    """An HTTP service without settings of its own."""

    route: Annotated[str, Meta(pattern="^/")]  # path that it answers


class ForecastSettings(ServerSettings, frozen=True, kw_only=True):
    """What both services that answer with forecasts are told."""

    model_bucket: Text  # of the model registry, without gs://
    max_range: Positive = HORIZON_DAYS  # most days a request may ask for
    model_poll_seconds: Annotated[float, Meta(gt=0)] = 10  # between looks at the model pointer
    trace_project: str | None = None  # Google Cloud project of the traces that logs name; none on a laptop


class PredictionSettings(ForecastSettings, frozen=True, kw_only=True):
    """The prediction service."""

    image: str = "none"  # what runs, told as build information


class StreamingSettings(ForecastSettings, frozen=True, kw_only=True):
    """The streaming service.

    Topics and subscriptions are full resource names, the table is `project.dataset.table`.
    """

    subscription: Annotated[str, Meta(pattern="^projects/[^/]+/subscriptions/[^/]+$")]
    reply_topic: Topic  # where replies go that name no other topic
    dead_letter_topic: Topic
    predictions_table: TableName
    reply_topics: tuple[Topic, ...] = ()  # other topics that `reply_to` of a request may name
    delivery: Literal["pull", "push"] = "pull"  # whether it asks for messages, or is sent them
    push_audience: str | None = None  # audience of the tokens that come with pushed messages
    push_account: str | None = None  # mail address of the service account those tokens are for
    max_messages: Annotated[int, Meta(ge=1, le=1000)] = 1000  # asked for in one pull

    def __post_init__(self) -> None:
        if self.delivery == "push" and not (self.push_audience and self.push_account):
            raise ValueError("DELIVERY is push: PUSH_AUDIENCE and PUSH_ACCOUNT must be set")


class TrainingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What trains a model is told. Tables are `project.dataset.table`, buckets without gs://."""

    model_bucket: Text  # of the model registry
    sales_table: TableName  # daily sales
    group_series: Positive | None = None  # most series learned from together, whole stores of them; or all

    @property
    def project(self) -> str:
        """Where the tables and buckets are, and jobs run."""
        return self.sales_table.split(".")[0]


class BatchSettings(TrainingSettings, frozen=True, kw_only=True):
    """The batch commands."""

    staging_bucket: Text  # of files between two steps
    scores_table: TableName  # forecasts of the daily scoring
    transient_scores_table: TableName  # forecasts of models that are not kept
    staging_dataset: Annotated[str, Meta(pattern=r"^[^.]+\.[^.]+$")]  # of rows on their way to a table


class DagSettings(BatchSettings, frozen=True, kw_only=True):
    """The DAGs: the batch commands' settings, where the commands run, and who is told.

    What belongs to one place to run alone is absent in the other.
    """

    platform_environment: Text  # of the platform: dev, prod ...
    runbook_url: Text  # what to do, a section per event
    alert_channels: tuple[Literal["mail", "pagerduty"], ...] = ()  # ways by which people are told
    alert_email: str | None = None  # where mail goes
    steps_run_on: Literal["processes", "google"]
    # processes
    steps_python: str | None = None  # Python with the packages of batch
    steps_folder: str | None = None  # folder that has the package `services`
    # google
    steps_project: str | None = None  # of the cluster and of Dataflow
    steps_region: str | None = None
    steps_cluster: str | None = None
    steps_namespace: str | None = None
    steps_account: str | None = None  # Kubernetes service account of the pods
    steps_starter: str | None = None  # account that starts the pods
    steps_image: str | None = None  # batch image, by digest
    steps_runner: str | None = None  # Beam's runner of the scoring
    steps_job_endpoint: str | None = None  # of a Flink or Spark job server
    dataflow_template: str | None = None  # gs:// object: the Flex Template
    dataflow_account: str | None = None  # mail address of the workers' account
    dataflow_subnetwork: str | None = None  # URL of the subnet
    dataflow_machine_type: str | None = None
    dataflow_max_workers: int | None = None


Settings = TypeVar("Settings", bound=msgspec.Struct)


def to_environment(settings: msgspec.Struct) -> dict[str, str]:
    """The environment variables that declare these settings; a list is one, joined by commas."""
    return {
        name.upper(): ",".join(value) if isinstance(value, list | tuple) else str(value)
        for name, value in msgspec.to_builtins(settings).items()
        if value is not None
    }


def from_environment(kind: type[Settings], environment: Mapping[str, str]) -> Settings:
    """Read settings from environment variables; variables of other names are ignored.

    Raises:
        SettingsError: names the variable and what was expected.
    """
    values: dict[str, str | list[str]] = {}
    for field in msgspec.structs.fields(kind):
        value = environment.get(field.name.upper())
        if value is not None:
            values[field.name] = value
            if field.default == ():
                values[field.name] = [item for item in value.split(",") if item]
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        message = str(error)
        for name in kind.__struct_fields__:
            message = message.replace(f"`$.{name}`", name.upper()).replace(f"field `{name}`", name.upper())
        raise SettingsError(f"environment: {message}") from None
