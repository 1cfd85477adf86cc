"""Settings of the services. A Deployment declares them as environment variables, the service reads them back.

A field `model_bucket` is the variable `MODEL_BUCKET`.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from services.contracts.model import HORIZON_DAYS

Seconds = Annotated[float, Meta(gt=0)]
TableName = Annotated[str, Meta(pattern=r"^[^.]+\.[^.]+\.[^.]+$")]
Topic = Annotated[str, Meta(pattern="^projects/[^/,]+/topics/[^/,]+$")]


class SettingsError(Exception):
    """An environment variable is missing or has a value that does not fit."""


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What every HTTP server is told."""

    # A pod's address is not known before it runs.
    host: Annotated[str, Meta(min_length=1, description="Address to listen on.")] = "0.0.0.0"  # noqa: S104
    port: Annotated[int, Meta(ge=1, le=65535)] = 8080
    drain_seconds: Annotated[
        float, Meta(ge=0, description="From SIGTERM (not ready) until it closes; load balancers notice.")
    ] = 5


class HttpSettings(ServerSettings, frozen=True, kw_only=True):
    """An HTTP service without settings of its own."""

    route: Annotated[str, Meta(pattern="^/", description="Path that it answers.")]


class ForecastSettings(ServerSettings, frozen=True, kw_only=True):
    """What both services that answer with forecasts are told."""

    model_bucket: Annotated[
        str, Meta(min_length=1, description="Bucket of the model registry, without gs://.")
    ]
    max_range: Annotated[int, Meta(ge=1, description="Most days a request may ask for.")] = HORIZON_DAYS
    model_poll_seconds: Annotated[Seconds, Meta(description="Between looks at the model pointer.")] = 10
    trace_project: Annotated[
        str | None, Meta(description="Google Cloud project of the traces that logs name; none on a laptop.")
    ] = None


class PredictionSettings(ForecastSettings, frozen=True, kw_only=True):
    """The prediction service."""

    image: Annotated[str, Meta(description="What runs, told as build information.")] = "none"


class StreamingSettings(ForecastSettings, frozen=True, kw_only=True):
    """The streaming service.

    Topics and subscriptions are full resource names, the table is `project.dataset.table`.
    """

    subscription: Annotated[str, Meta(pattern="^projects/[^/]+/subscriptions/[^/]+$")]
    reply_topic: Annotated[Topic, Meta(description="Where replies go that name no other topic.")]
    dead_letter_topic: Topic
    predictions_table: TableName
    reply_topics: Annotated[
        tuple[Topic, ...], Meta(description="Other topics that `reply_to` of a request may name.")
    ] = ()
    delivery: Annotated[
        Literal["pull", "push"],
        Meta(description="Whether the service asks the subscription for messages, or is sent them."),
    ] = "pull"
    push_audience: Annotated[
        str | None, Meta(description="Audience of the tokens that come with pushed messages.")
    ] = None
    push_account: Annotated[
        str | None, Meta(description="Mail address of the service account those tokens are for.")
    ] = None
    max_messages: Annotated[int, Meta(ge=1, le=1000, description="Messages asked for in one pull.")] = 1000

    def __post_init__(self) -> None:
        if self.delivery == "push" and not (self.push_audience and self.push_account):
            raise ValueError("DELIVERY is push: PUSH_AUDIENCE and PUSH_ACCOUNT must be set")


class TrainingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What trains a model is told. Tables are `project.dataset.table`, buckets without gs://."""

    model_bucket: Annotated[str, Meta(min_length=1, description="Bucket of the model registry.")]
    sales_table: Annotated[TableName, Meta(description="Daily sales.")]
    group_series: (
        Annotated[
            int, Meta(ge=1, description="Most series learned from together, whole stores of them; or all.")
        ]
        | None
    ) = None

    @property
    def project(self) -> str:
        """Where the tables and buckets are, and jobs run."""
        return self.sales_table.split(".")[0]


class BatchSettings(TrainingSettings, frozen=True, kw_only=True):
    """The batch commands."""

    staging_bucket: Annotated[str, Meta(min_length=1, description="Bucket of files between two steps.")]
    scores_table: Annotated[TableName, Meta(description="Forecasts of the daily scoring.")]
    transient_scores_table: Annotated[TableName, Meta(description="Forecasts of models that are not kept.")]
    staging_dataset: Annotated[
        str, Meta(pattern=r"^[^.]+\.[^.]+$", description="project.dataset of rows on their way to a table.")
    ]


class DagSettings(BatchSettings, frozen=True, kw_only=True):
    """The DAGs: the batch commands' settings, where the commands run, and who is told.

    What belongs to one place to run alone is absent in the other.
    """

    platform_environment: Annotated[str, Meta(min_length=1, description="Of the platform: dev, prod ...")]
    runbook_url: Annotated[str, Meta(min_length=1, description="What to do, a section per event.")]
    alert_channels: Annotated[
        tuple[Literal["mail", "pagerduty"], ...], Meta(description="Ways by which people are told.")
    ] = ()
    alert_email: Annotated[str | None, Meta(description="Where mail goes.")] = None
    steps_run_on: Literal["processes", "google"]
    # processes
    steps_python: Annotated[str | None, Meta(description="Python with the packages of batch.")] = None
    steps_folder: Annotated[str | None, Meta(description="Folder that has the package `services`.")] = None
    # google
    steps_project: Annotated[str | None, Meta(description="Project of the cluster and of Dataflow.")] = None
    steps_region: str | None = None
    steps_cluster: str | None = None
    steps_namespace: str | None = None
    steps_account: Annotated[str | None, Meta(description="Kubernetes service account of the pods.")] = None
    steps_starter: Annotated[str | None, Meta(description="Account that starts the pods.")] = None
    steps_image: Annotated[str | None, Meta(description="Batch image, by digest.")] = None
    steps_runner: Annotated[str | None, Meta(description="Beam's runner of the scoring.")] = None
    steps_job_endpoint: Annotated[str | None, Meta(description="Of a Flink or Spark job server.")] = None
    dataflow_template: Annotated[str | None, Meta(description="gs:// object: the Flex Template.")] = None
    dataflow_account: Annotated[str | None, Meta(description="Mail address of the workers' account.")] = None
    dataflow_subnetwork: Annotated[str | None, Meta(description="URL of the subnet.")] = None
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
    names = kind.__struct_fields__
    values: dict[str, str | list[str]] = {
        name: environment[name.upper()] for name in names if name.upper() in environment
    }
    for field in msgspec.structs.fields(kind):
        if field.default == () and field.name in values:
            values[field.name] = [item for item in environment[field.name.upper()].split(",") if item]
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        message = str(error)
        for name in names:
            message = message.replace(f"`$.{name}`", name.upper()).replace(f"field `{name}`", name.upper())
        raise SettingsError(f"environment: {message}") from None
