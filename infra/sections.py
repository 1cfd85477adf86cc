"""The sections of an environment file, in the order of the stacks that they are for."""

import math
from datetime import date, timedelta
from ipaddress import IPv4Network
from typing import Annotated, Final, Literal, get_args

from pydantic import Field, ValidationInfo
from pydantic import field_validator as validator

from infra.value_types import (
    SMALLEST_CPUS,
    BillingAccount,
    CloudDnsZone,
    ContradictionError,
    Cpu,
    Cron,
    Email,
    GitBranch,
    GitHubRepository,
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
    machine_size,
    refuse,
    unique,
)
from services.contracts.metrics import MESSAGE_LATENCY_BUCKETS, REQUEST_DURATION_BUCKETS
from services.contracts.model import HORIZON_DAYS
from services.contracts.names import DEAD_LETTER_TOPIC, SALE_PREDICTIONS_TOPIC, SALE_RANGE_TOPIC

Days = Annotated[int, Field(ge=1, le=3650)]
Weekday = Literal["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
WEEK: Final[tuple[Weekday, ...]] = get_args(Weekday)
"""The days of the week, as calendars (RFC 5545) and here, Monday first."""

# https://cloud.google.com/kubernetes-engine/docs/how-to/maintenance-windows-and-exclusions
_MAINTENANCE_HOURS: Final = 48
"""Hours of maintenance that GKE insists on in any 32 days, in windows of four hours at least."""
SOME_MONDAY: Final = date(2024, 1, 1)
"""The first day of a week that has been."""
_FULL_DAYS: Final = 31
"""Days that any 32 days have of which the window is whole, whenever in a day they begin."""


class CiSettings(Section):
    """Who may plan and apply from GitHub Actions."""

    repository: GitHubRepository = Field(description="repository whose workflows may, as owner/name")
    repository_id: int = Field(
        ge=1,
        description="number of that repository, which nobody can take over with its name: `id` of "
        "https://api.github.com/repos/OWNER/NAME",
    )
    branch: GitBranch = Field(default="main", description="branch that is applied")


class EncryptionSettings(Section):
    """A key of the project's own, instead of Google's, for images, cluster secrets and backups."""

    rotation_days: int = Field(
        default=90, ge=1, le=365, description="days after which a new version encrypts"
    )


class RegistrySettings(Section):
    """How long images stay."""

    keep_versions: int = Field(
        default=20, ge=1, le=1000, description="versions of each image that stay in any case, to roll back to"
    )
    untagged_days: int = Field(
        default=14, ge=1, le=365, description="days after which others without a tag go"
    )
    dry_run: bool = Field(default=False, description="only log what the cleanup would delete")
    scan: bool = Field(default=True, description="scan images for vulnerabilities, which is billed for each")


class NodePool(Section):
    """Nodes of one kind."""

    machine_type: MachineType = Field(description="machine type of a node")
    min_nodes: int = Field(ge=0, le=1000, description="fewest nodes, in all zones together")
    max_nodes: int = Field(ge=1, le=1000, description="most nodes, in all zones together")
    disk_gb: int = Field(default=50, ge=20, le=2000, description="boot disk of a node, in GB")
    upgrade: Literal["SURGE", "BLUE_GREEN"] = Field(
        default="SURGE", description="replace node by node, or build a second set of nodes and then move"
    )

    @validator("max_nodes")
    @classmethod
    def _ordered(cls, most: int, info: ValidationInfo) -> int:
        return at_least("min_nodes", most, info)

    def surge(self, zones: int) -> int:
        """Nodes that an upgrade adds to `max_nodes` for a while."""
        return self.max_nodes if self.upgrade == "BLUE_GREEN" else zones


class AutoProvisioning(Section):
    """Node pools that GKE makes by itself for pods that fit no other; limits hold for the whole cluster."""

    max_cpus: int = Field(ge=2, le=10_000, description="most CPUs of all nodes together")
    max_memory_gb: int = Field(ge=4, le=100_000, description="most memory of all nodes together, in GB")


class ClusterMaintenanceExclusion(Section):
    """Days on which GKE leaves the cluster alone."""

    name: str = Field(min_length=1, max_length=63, description="what the days are, such as peak-season")
    start: date = Field(description="first day, in UTC")
    end: date = Field(description="first day after it, in UTC")
    scope: Literal["NO_UPGRADES", "NO_MINOR_UPGRADES", "NO_MINOR_OR_NODE_UPGRADES"] = Field(
        default="NO_UPGRADES", description="what must not happen"
    )

    @validator("end")
    @classmethod
    def _ordered(cls, end: date, info: ValidationInfo) -> date:
        start = info.data.get("start")
        if start is not None and end <= start:
            raise ContradictionError(((), f"expected a day after start, which is {start}, found {end}"))
        return end

    @validator("scope")
    @classmethod
    def _not_too_long(cls, scope: str, info: ValidationInfo) -> str:
        # https://cloud.google.com/kubernetes-engine/docs/concepts/maintenance-windows-and-exclusions#limitations-maint-exclusions
        most = 30 if scope == "NO_UPGRADES" else 180
        if "start" in info.data and "end" in info.data:
            days = (info.data["end"] - info.data["start"]).days
            if days > most:
                raise ContradictionError(((), f"{scope} may last {most} days, not {days}"))
        return scope


class ClusterMaintenance(Section):
    """When GKE may upgrade control plane and nodes by itself."""

    days: tuple[Weekday, ...] = Field(default=("SA", "SU"), min_length=1, description="days of the week")
    start_hour: int = Field(default=1, ge=0, le=23, description="hour at which it may begin, in UTC")
    hours: int = Field(default=6, ge=4, le=24, description="hours it may take")
    exclusions: tuple[ClusterMaintenanceExclusion, ...] = Field(default=(), description="when it may not")

    @validator("days")
    @classmethod
    def _once(cls, days: tuple[str, ...]) -> tuple[str, ...]:
        unique(days)
        return days

    @validator("exclusions")
    @classmethod
    def _enough(
        cls, exclusions: tuple[ClusterMaintenanceExclusion, ...], info: ValidationInfo
    ) -> tuple[ClusterMaintenanceExclusion, ...]:
        days, start_hour, hours = (info.data.get(name) for name in ("days", "start_hour", "hours"))
        if days is None or start_hour is None or hours is None:
            return exclusions
        blocked = [each for each in exclusions if each.scope == "NO_UPGRADES"]

        def open_on(day: date) -> bool:
            last = day + timedelta(days=(start_hour + hours - 1) // 24)
            return WEEK[day.weekday()] in days and all(
                last < each.start or day >= each.end for each in blocked
            )

        first = min((each.start for each in blocked), default=SOME_MONDAY) - timedelta(days=_FULL_DAYS)
        last = max((each.end for each in blocked), default=SOME_MONDAY)
        least, since = min(
            (hours * sum(open_on(day + timedelta(days=offset)) for offset in range(_FULL_DAYS)), day)
            for day in (first + timedelta(days=offset) for offset in range((last - first).days + 1))
        )
        if least < _MAINTENANCE_HOURS:
            found = f"{least} in those from {since}" if blocked else f"{least}"
            message = f"GKE wants {_MAINTENANCE_HOURS} hours of maintenance in any 32 days; there are {found}"
            remedy = "Give more days or hours, or shorter exclusions"
            raise ContradictionError(((), f"{message}. {remedy}"))
        return exclusions


class BackupSettings(Section):
    """Copies of what is in the cluster: its objects and the data of its volumes."""

    schedule: Cron = Field(default="0 4 * * *", description="when, in UTC")
    retain_days: int = Field(default=30, ge=1, le=365, description="days that a backup is kept")
    lock_days: int = Field(default=0, ge=0, le=90, description="days during which nobody can delete a backup")

    @validator("lock_days")
    @classmethod
    def _within_retention(cls, lock: int, info: ValidationInfo) -> int:
        retain = info.data.get("retain_days")
        if retain is not None and lock > retain:
            raise ContradictionError(((), f"expected at most retain_days, which is {retain}, found {lock}"))
        return lock


class ClusterSettings(Section):
    """The Kubernetes cluster."""

    release_channel: Literal["RAPID", "REGULAR", "STABLE"] = Field(
        default="REGULAR", description="how soon new versions of Kubernetes come"
    )
    general: NodePool = Field(description="nodes that run anything")
    spot: NodePool | None = Field(
        default=None,
        description="nodes at a fraction of the price that may vanish: for streaming, which redelivers",
    )
    auto_provisioning: AutoProvisioning | None = Field(
        default=None, description="limits of node pools that GKE makes by itself; without it, it makes none"
    )
    autoscaling_profile: Literal["BALANCED", "OPTIMIZE_UTILIZATION"] = Field(
        default="BALANCED", description="whether spare nodes are kept for a while or removed soon"
    )
    maintenance: ClusterMaintenance = Field(
        default=ClusterMaintenance(), description="when GKE may upgrade by itself"
    )
    control_plane_telemetry: bool = Field(
        default=False,
        description="logs and metrics of API server, scheduler and controllers too, billed by volume",
    )
    binary_authorization: bool = Field(
        default=False, description="admit only images of this environment's repository, and Google's"
    )
    backup: BackupSettings | None = Field(
        default=None, description="backups of the cluster; without it, there are none"
    )

    @property
    def pools(self) -> dict[str, NodePool]:
        """Its own node pools, by key."""
        return {"general": self.general} | ({"spot": self.spot} if self.spot else {})

    @validator("auto_provisioning")
    @classmethod
    def _above_the_pools(
        cls, limits: AutoProvisioning | None, info: ValidationInfo
    ) -> AutoProvisioning | None:
        if limits is None or "general" not in info.data or "spot" not in info.data:
            return limits
        pools: list[NodePool] = [pool for pool in (info.data["general"], info.data["spot"]) if pool]
        cpus = sum(pool.max_nodes * machine_size(pool.machine_type).cpus for pool in pools)
        memory = sum(pool.max_nodes * machine_size(pool.machine_type).memory_gb for pool in pools)
        refuse(
            (
                (key,),
                f"expected at least {math.ceil(most)}, which the node pools alone may reach, found {found}",
            )
            for key, found, most in (
                ("max_cpus", limits.max_cpus, cpus),
                ("max_memory_gb", limits.max_memory_gb, memory),
            )
            if found < most
        )
        return limits

    def most_nodes(self, zones: int) -> int:
        """Nodes there may be at once, with those that upgrades add.

        Args:
            zones: in how many zones the nodes run.
        """
        pools = self.pools.values()
        nodes = sum(pool.max_nodes for pool in pools)
        surge = sum(pool.surge(zones) for pool in pools)
        if self.auto_provisioning:
            # Most nodes fit below the limit if all but the fewest of the pools are of the smallest size.
            cpus = sum(pool.min_nodes * machine_size(pool.machine_type).cpus for pool in pools)
            smallest = (self.auto_provisioning.max_cpus - cpus) // SMALLEST_CPUS
            nodes = max(nodes, sum(pool.min_nodes for pool in pools) + smallest)
            surge += zones  # GKE upgrades its pools one after the other
        return nodes + surge


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
    # What cannot be answered the service sends there itself, at once. The rest is for what outlasts an outage
    # under push delivery (20 with these back-offs are more than two hours), and what ends the service.
    max_delivery_attempts: int = Field(
        default=20, ge=5, le=100, description="deliveries after which a request goes to the dead letters"
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
        default=HORIZON_DAYS,
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


class BatchSection(Section):
    """The batch pipeline's jobs on Dataflow."""

    machine_type: MachineType = Field(default="n2-standard-2", description="machine type of a worker")
    max_workers: int = Field(default=2, ge=1, le=1000, description="most workers of a job")


class AlertingSettings(Section):
    """Who is told when something needs a person, and when."""

    email: Email = Field(description="address that alerts are mailed to")
    pagerduty: bool = Field(
        False,
        description="whether urgent alerts page somebody; the key is the variable pagerduty_service_key",
    )
    runbook: str = Field(
        default="docs/runbook.md",
        min_length=1,
        description="where the runbook is read: its URL, or the file of this repository",
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
