"""The sections of an environment file, in the order of the stacks that they are for."""

from ipaddress import IPv4Network
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationInfo
from pydantic import field_validator as validator

from infra.value_types import (
    BillingAccount,
    CloudDnsZone,
    ContradictionError,
    Cpu,
    Email,
    Hostname,
    IamMember,
    MachineType,
    Memory,
    PackageName,
    PackagePin,
    Port,
    Replicas,
    Section,
    Share,
    TopicName,
    at_least,
    refuse,
    unique,
)
from services.contracts.metrics import MESSAGE_LATENCY_BUCKETS, REQUEST_DURATION_BUCKETS
from services.contracts.model import HORIZON_DAYS
from services.contracts.names import DEAD_LETTER_TOPIC, SALE_PREDICTIONS_TOPIC, SALE_RANGE_TOPIC

Days = Annotated[int, Field(ge=1, le=3650)]
Weekday = Literal["MO", "TU", "WE", "TH", "FR", "SA", "SU"]


class NodePool(Section):
    """The cluster's node pool."""

    machine_type: MachineType = Field(description="machine type of a node")
    min_nodes: int = Field(ge=0, le=1000, description="fewest nodes in each zone")
    max_nodes: int = Field(ge=1, le=1000, description="most nodes in each zone")

    @validator("max_nodes")
    @classmethod
    def _ordered(cls, most: int, info: ValidationInfo) -> int:
        return at_least("min_nodes", most, info)


class DataSettings(Section):
    """Tables and buckets."""

    keep_predictions_days: Days = Field(default=400, description="days after which predictions are deleted")
    keep_requests_days: Days = Field(
        default=90, description="days after which requests, as published, are deleted"
    )
    keep_versions: int = Field(
        default=10,
        ge=1,
        le=1000,
        description="replaced or deleted models and data files that are kept, of each",
    )
    soft_delete_days: int = Field(
        default=7,
        ge=0,
        le=90,
        description="days in which a bucket's deleted objects can be restored: 0, or 7 to 90",
    )
    readers: tuple[IamMember, ...] = Field(
        default=(), description="who may read sales and predictions in BigQuery, as IAM calls them"
    )

    @validator("soft_delete_days")
    @classmethod
    def _none_or_a_week(cls, days: int) -> int:
        # https://cloud.google.com/storage/docs/soft-delete#retention-duration
        if 0 < days < 7:
            raise ContradictionError(((), f"Cloud Storage takes 0 or 7 to 90, found {days}"))
        return days

    @validator("readers")
    @classmethod
    def _once(cls, readers: tuple[str, ...]) -> tuple[str, ...]:
        unique(readers)
        return readers


class MessagingSettings(Section):
    """Subscriptions. Limits are those of https://cloud.google.com/pubsub/quotas#resource_limits."""

    retention_days: int = Field(
        default=7,
        ge=1,
        le=31,
        description="days for which a subscription keeps messages that nobody acknowledged",
    )
    replay_days: int = Field(
        default=7,
        ge=1,
        le=31,
        description="days for which published requests can be delivered once more, by a seek",
    )
    ack_deadline_seconds: int = Field(
        default=60,
        ge=10,
        le=600,
        description="seconds after which an unacknowledged message is delivered again",
    )
    max_delivery_attempts: int = Field(
        default=5, ge=5, le=100, description="deliveries after which a request goes to the dead letters"
    )
    min_backoff_seconds: int = Field(
        default=10, ge=0, le=600, description="seconds before a request is delivered for the second time"
    )
    max_backoff_seconds: int = Field(
        default=600, ge=0, le=600, description="most seconds between two deliveries of a request"
    )
    ordering: bool = Field(
        default=False, description="whether requests with the same ordering key are delivered in their order"
    )
    exactly_once: bool = Field(
        default=False,
        description="whether an acknowledged request is never delivered again; pull delivery only",
    )

    @validator("max_backoff_seconds")
    @classmethod
    def _ordered(cls, most: int, info: ValidationInfo) -> int:
        return at_least("min_backoff_seconds", most, info)


AIRFLOW_VERSION: Final = "3.3.1"
"""Version of Airflow in the cloud; `requirements/airflow.lock` has the same."""


class AirflowProcess(Section):
    """What one process of Airflow gets; prices and limits go by these."""

    cpu: float = Field(default=0.5, ge=0.5, le=32, description="CPUs")
    memory_gb: float = Field(default=2, ge=0.5, le=128, description="memory, in GB")
    storage_gb: float = Field(default=1, ge=0, le=100, description="disk, in GB")


class AirflowProcesses(AirflowProcess):
    """The same of several processes."""

    count: int = Field(default=1, ge=1, le=3, description="how many there are")


class AirflowTriggerers(Section):
    """Triggerers, which wait for things on behalf of tasks that gave up their worker."""

    cpu: float = Field(default=0.5, ge=0.5, le=1, description="CPUs")
    memory_gb: float = Field(default=1, ge=0.5, le=6.5, description="memory, in GB")
    count: int = Field(default=1, ge=0, le=10, description="how many there are; 0 if no task is deferrable")


class AirflowWorkers(AirflowProcess):
    """Workers, as many as tasks need."""

    min_count: int = Field(default=1, ge=1, le=100, description="fewest workers")
    max_count: int = Field(default=3, ge=1, le=100, description="most workers")

    @validator("max_count")
    @classmethod
    def _ordered(cls, most: int, info: ValidationInfo) -> int:
        return at_least("min_count", most, info)


class AirflowMaintenance(Section):
    """When Google may upgrade what Airflow runs on; tasks may be interrupted, and start once more."""

    days: tuple[Weekday, ...] = Field(
        default=("FR", "SA", "SU"), min_length=1, description="days of the week"
    )
    start_hour: int = Field(default=0, ge=0, le=23, description="hour at which it may begin, in UTC")
    hours: int = Field(default=4, ge=4, le=24, description="hours it may take")

    @validator("hours")
    @classmethod
    def _enough(cls, hours: int, info: ValidationInfo) -> int:
        # https://cloud.google.com/composer/docs/composer-3/specify-maintenance-windows
        days = info.data.get("days", ())
        if days and hours * len(days) < 12:
            message = f"Composer wants 12 hours a week; {len(days)} x {hours} are {hours * len(days)}"
            raise ContradictionError(((), f"{message}. Give more days or hours"))
        return hours

    @validator("days")
    @classmethod
    def _once(cls, days: tuple[str, ...]) -> tuple[str, ...]:
        unique(days)
        return days


class ComposerSettings(Section):
    """Managed Airflow."""

    size: Literal["small", "medium", "large"] = Field(
        default="small", description="of Airflow's database and what else Google runs for it"
    )
    high_resilience: bool = Field(default=False, description="whether it survives the loss of a zone")
    scheduler: AirflowProcesses = Field(default=AirflowProcesses(), description="schedulers")
    dag_processor: AirflowProcesses = Field(default=AirflowProcesses(), description="readers of DAG files")
    triggerer: AirflowTriggerers = Field(default=AirflowTriggerers(), description="triggerers")
    web_server: AirflowProcess = Field(default=AirflowProcess(), description="Airflow's pages")
    worker: AirflowWorkers = Field(default=AirflowWorkers(), description="workers")
    maintenance: AirflowMaintenance = Field(
        default=AirflowMaintenance(), description="when Google may upgrade it"
    )
    snapshot_hour: int = Field(
        default=5, ge=0, le=23, description="hour, in UTC, at which a snapshot is taken every day"
    )
    keep_snapshots_days: Days = Field(default=14, description="days for which snapshots are kept")
    keep_history_days: int = Field(
        default=60, ge=30, le=730, description="days for which Airflow remembers runs and tasks"
    )
    web_access: tuple[IPv4Network, ...] = Field(
        default=(),
        description="addresses from which Airflow's pages are reached, by whom IAM lets in; all if none",
    )
    packages: dict[PackageName, PackagePin] = Field(
        default={}, description="PyPI packages that DAG files need, each with its version, as in ==1.2.3"
    )

    @validator("worker")
    @classmethod
    def _twice(cls, worker: AirflowWorkers, info: ValidationInfo) -> AirflowWorkers:
        # https://cloud.google.com/composer/docs/composer-3/set-up-highly-resilient-environments
        if info.data.get("high_resilience"):
            counts = {
                ("scheduler", "count"): info.data.get("scheduler"),
                ("dag_processor", "count"): info.data.get("dag_processor"),
                ("triggerer", "count"): info.data.get("triggerer"),
            }
            lonely = [f"{key[0]}.count" for key, each in counts.items() if each and each.count == 1]
            if lonely:
                message = f"high_resilience needs two of each in two zones: raise {', '.join(lonely)}"
                raise ContradictionError(((), message))
        return worker


class Autoscaling(Section):
    """What the number of a service's pods follows."""

    by: Literal["cpu", "traffic", "backlog"] = Field(
        default="cpu",
        description="cpu, traffic through the Gateway, or backlog of the subscription",
    )
    cpu_percent: int = Field(
        default=80,
        ge=10,
        le=100,
        description="percent of the CPU that a pod asks for at which pods are added",
    )
    requests_per_second: int = Field(
        default=200,
        ge=1,
        description="requests that one pod takes; the Gateway fills none beyond it while others have room",
    )
    messages_per_pod: int = Field(default=1000, ge=1, description="waiting messages that are one pod's work")


class WorkloadSettings(Section):
    """A service on the cluster."""

    port: Port = Field(description="port it listens on")
    max_range: int = Field(
        HORIZON_DAYS,
        ge=1,
        le=HORIZON_DAYS,
        description="most days a request may ask for, of the model's horizon",
    )
    min_replicas: Replicas = Field(2, description="fewest pods")
    max_replicas: Replicas = Field(5, description="most pods")
    cpu: Cpu = Field(description="CPU that a pod asks for")
    memory: Memory = Field(description="memory that a pod asks for and may use")
    drain_seconds: int = Field(
        15,
        ge=0,
        le=300,
        description="how long a pod that is to stop goes on answering, while load balancers look elsewhere",
    )
    autoscaling: Autoscaling = Field(Autoscaling(), description="what the number of pods follows")
    right_sizing: Literal["off", "recommend", "on"] = Field(
        "recommend", description="whether CPU and memory of the pods follow what they use"
    )

    @validator("max_replicas")
    @classmethod
    def _ordered(cls, most: int, info: ValidationInfo) -> int:
        return at_least("min_replicas", most, info)

    @validator("right_sizing")
    @classmethod
    def _one_at_a_time(cls, right_sizing: str, info: ValidationInfo) -> str:
        autoscaling = info.data.get("autoscaling")
        if right_sizing == "on" and autoscaling and autoscaling.by == "cpu":
            message = "two autoscalers would chase each other on the same CPU; take recommend, or another"
            raise ContradictionError(((), f"{message} autoscaling.by than cpu"))
        return right_sizing


class PredictionWorkload(WorkloadSettings):
    """The prediction service."""

    @validator("autoscaling")
    @classmethod
    def _has_no_queue(cls, autoscaling: Autoscaling) -> Autoscaling:
        if autoscaling.by == "backlog":
            raise ContradictionError((("by",), "prediction reads no subscription; take cpu or traffic"))
        return autoscaling


class StreamingWorkload(WorkloadSettings):
    """The streaming service."""

    delivery: Literal["pull", "push"] = Field(
        "pull", description="whether it asks for messages, or Pub/Sub sends them through the Gateway"
    )
    reply_topics: tuple[TopicName, ...] = Field(
        (), description="topics besides sale-predictions that a request's reply_to may name"
    )

    @validator("reply_topics")
    @classmethod
    def _others(cls, topics: tuple[str, ...]) -> tuple[str, ...]:
        unique(topics)
        own = (SALE_RANGE_TOPIC, SALE_PREDICTIONS_TOPIC, DEAD_LETTER_TOPIC)
        refuse(
            ((index,), f"{topic} is a topic of the platform; give replies one of their own")
            for index, topic in enumerate(topics)
            if topic in own
        )
        return topics


class GatewaySettings(Section):
    """The way in from the internet."""

    hostname: Hostname = Field(description="name that clients use, such as forecast.example.com")
    dns_zone: CloudDnsZone | None = Field(
        None, description="Cloud DNS zone of the project that gets its records; they are outputs without one"
    )
    timeout_seconds: int = Field(30, ge=1, le=3600, description="longest that a request may take")
    requests_per_minute: int = Field(
        6000, ge=1, le=1_000_000, description="requests of one client address beyond which they are refused"
    )
    iap_members: tuple[IamMember, ...] = Field(
        (), description="who may call prediction, by Identity-Aware Proxy; everybody if nobody is named"
    )


class AlertingSettings(Section):
    """Who is told when something needs a person, and when."""

    email: Email = Field(description="address that alerts are mailed to")
    pagerduty: bool = Field(
        False,
        description="whether urgent alerts page somebody; the key is the variable pagerduty_service_key",
    )
    oldest_message_seconds: int = Field(600, ge=60, description="age of a waiting request that is too old")
    backlog_messages: int = Field(10_000, ge=1, description="waiting requests that are too many")
    error_percent: int = Field(
        5,
        ge=1,
        le=100,
        description="percent of requests at the Gateway that are too many to fail",
    )
    latency_seconds: float = Field(
        1.0, gt=0, description="time within which 99 of 100 requests at the Gateway are to be answered"
    )
    model_age_days: int = Field(14, ge=1, description="age of the model served at which it is stale")


class ObjectiveSettings(Section):
    """What the users are promised; shares are of the requests of a rolling period."""

    days: int = Field(
        default=28, ge=1, le=30, description="length of the period; weeks have the same weekdays"
    )
    availability: Share = Field(default=0.999, description="share of HTTP requests without a fault of ours")
    latency: Share = Field(default=0.99, description="share of HTTP requests answered within latency_seconds")
    latency_seconds: float = Field(default=0.1, description="time to answer an HTTP request")
    freshness: Share = Field(
        default=0.99, description="share of Pub/Sub requests answered within freshness_seconds"
    )
    freshness_seconds: float = Field(default=30.0, description="time to answer a Pub/Sub request")

    @validator("latency_seconds")
    @classmethod
    def _measured(cls, seconds: float) -> float:
        return _among(REQUEST_DURATION_BUCKETS, seconds)

    @validator("freshness_seconds")
    @classmethod
    def _measured_too(cls, seconds: float) -> float:
        return _among(MESSAGE_LATENCY_BUCKETS, seconds)


class BudgetSettings(Section):
    """What the environment may cost in a month."""

    billing_account: BillingAccount = Field(
        description="billing account of the project: 012345-6789AB-CDEF01"
    )
    amount: int = Field(ge=1, description="budget of a month, in the currency of the billing account")


def _among(bounds: tuple[float, ...], seconds: float) -> float:
    if seconds not in bounds:
        known = ", ".join(f"{bound:g}" for bound in bounds)
        raise ContradictionError(((), f"expected a bound of the histogram: {known}; found {seconds:g}"))
    return seconds
