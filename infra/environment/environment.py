"""The typed environment: the content of an environment file, validated as a whole."""

from collections import Counter
from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationInfo
from pydantic import field_validator as validator

from infra.environment.addresses import AddressPlan
from infra.environment.cluster import ClusterSettings
from infra.environment.data import CONTINENTS, DataSettings
from infra.environment.existing import ExistingSettings
from infra.environment.foundation import CiSettings
from infra.environment.messaging import MessagingSettings
from infra.environment.observability import AlertingSettings, BudgetSettings
from infra.environment.orchestration import BatchSection, ComposerSettings
from infra.environment.registry import RegistrySettings
from infra.environment.services import (
    SERVICES,
    GatewaySettings,
    HttpWorkload,
    ImageName,
    StreamingWorkload,
    WorkloadSettings,
)
from infra.environment.tfvars import Key
from infra.environment.value_types import (
    UNIQUE,
    ContradictionError,
    CpuQuota,
    Digest,
    Network,
    ProjectId,
    Region,
    Section,
    Zone,
    cpu_quota,
    machine_cpus,
    refuse,
)
from infra.paths import simulator_home

Cloud = Literal["google", "simulated"]
StackName = Literal[
    "foundation", "registry", "cluster", "data", "messaging", "orchestration", "services", "observability"
]

PLATFORM: Final = "sales-forecast"
"""Name of everything that exists once per environment: the network, the cluster, the image repository."""

UPSTREAM: Final[Mapping[StackName, tuple[StackName, ...]]] = {
    "foundation": (),
    "registry": ("foundation",),
    "cluster": ("foundation", "registry"),
    "data": ("foundation",),
    "messaging": ("foundation", "data"),
    "orchestration": ("foundation", "registry", "cluster", "data"),
    "services": ("registry", "cluster", "data", "messaging"),
    "observability": ("foundation", "messaging"),
}
"""The stacks each stack builds on, in an order in which all can be deployed."""

_NO_GATEWAY: Final = "traffic is counted at the Gateway: add gateway = { hostname = ... }, or take cpu"


class Environment(Section):
    """One environment.

    `name` is the stem of its file. `images` are digests of pushed images, from `<name>.images.json`.
    """

    name: str
    images: dict[ImageName, Digest]
    cloud: Cloud = Field(description="google, or simulated: emulators and processes on this machine")
    project_id: ProjectId = Field(description="Google Cloud project that holds this environment alone")
    project_number: int = Field(
        ge=1, description="number of that project; the addresses of Google's service agents contain it"
    )
    region: Region = Field(description="region of everything that is not global")
    zones: Annotated[tuple[Zone, ...], UNIQUE] = Field(
        min_length=1, description="zones of the region that nodes run in"
    )
    existing: ExistingSettings = Field(
        ExistingSettings(), description="what the environment uses instead of making it"
    )
    stacks: Annotated[tuple[StackName, ...], UNIQUE] = Field(
        min_length=1, description="stacks that this environment has"
    )
    deletion_protection: bool = Field(description="whether Terraform refuses to destroy data and clusters")
    alerting: AlertingSettings = Field(description="who is alerted, and when")
    ci: CiSettings | None = Field(None, description="who may plan and apply from CI; without it, nobody")
    encryption: bool = Field(
        False, description="encrypt images, cluster Secrets and backups with a key of the project's own"
    )
    registry: RegistrySettings = Field(RegistrySettings(), description="retention and scanning of images")
    cluster: ClusterSettings | None = Field(
        None, description="the Kubernetes cluster, unless existing has one"
    )
    network: Network | None = Field(
        None,
        description="block that all ranges are cut from, such as 10.0.0.0/16, unless existing has a network",
    )
    data: DataSettings = Field(DataSettings(), description="tables and buckets")
    composer: ComposerSettings = Field(ComposerSettings(), description="managed Airflow")
    batch: BatchSection = Field(BatchSection(), description="the batch pipeline")
    gateway: GatewaySettings | None = Field(
        None, description="the way in from the internet; without it nobody outside the cluster gets in"
    )
    prediction: WorkloadSettings = Field(description="the prediction service")
    streaming: StreamingWorkload = Field(description="the streaming service")
    services: dict[str, HttpWorkload] = Field({}, description="other services, by name")
    messaging: MessagingSettings = Field(MessagingSettings(), description="subscriptions")
    budget: BudgetSettings | None = Field(None, description="monthly budget")
    cpu_caps: dict[CpuQuota, int] = Field(
        {},
        description="most CPUs of machines in the region, by name of Google's quota; others have no cap",
    )

    @property
    def simulated(self) -> bool:
        """Whether it runs on this machine."""
        return self.cloud == "simulated"

    @property
    def workloads(self) -> dict[str, WorkloadSettings]:
        """All services that this environment has on its cluster, by name."""
        return {"prediction": self.prediction, "streaming": self.streaming, **self.services}

    @property
    def state_bucket(self) -> str:
        """Bucket of Terraform states. scripts/bootstrap.sh creates it before any stack."""
        return f"{self.project_id}-tfstate"

    @property
    def runbook(self) -> str:
        """URL of the runbook, to which every alert links; a path if nothing says where it is read."""
        if self.alerting.runbook or not self.ci:
            return self.alerting.runbook or "docs/runbook.md"
        tree = "-/blob" if self.ci.issuer == "gitlab" else "blob"
        return f"https://{self.ci.issuer}.com/{self.ci.repository}/{tree}/main/docs/runbook.md"

    def local_state(self, stack: StackName) -> Path:
        """File of a stack's Terraform state in a simulated cloud."""
        return simulator_home() / "terraform" / f"{self.name}-{stack}.tfstate"

    @property
    def image_repository(self) -> str:
        """Prefix of every image name."""
        if at := self.existing.repository:
            return f"{at.location}-docker.pkg.dev/{at.project_id}/{at.name}"
        return f"{self.region}-docker.pkg.dev/{self.project_id}/{PLATFORM}"

    @property
    def cluster_name(self) -> str:
        """Name of the Kubernetes cluster."""
        return self.existing.cluster.name if self.existing.cluster else PLATFORM

    @property
    def encrypted(self) -> bool:
        """Whether a key of the project's own or an existing one encrypts."""
        return self.encryption or self.existing.key is not None

    @property
    def trains_by_job(self) -> bool:
        """Whether a Job in the cluster trains the first model, since there is no Airflow."""
        return "services" in self.stacks and "orchestration" not in self.stacks

    @property
    def signs_images(self) -> bool:
        """Whether its cluster admits signed images only."""
        return bool(self.cluster and self.cluster.binary_authorization and "cluster" in self.stacks)

    @property
    def attestor(self) -> str:
        """Full name of the attestor whose signatures the cluster asks of images."""
        return f"projects/{self.project_id}/attestors/{PLATFORM}"

    @property
    def signing_key(self) -> str:
        """Full name of the key that signs images."""
        ring = f"projects/{self.project_id}/locations/{self.region}/keyRings/{PLATFORM}-images"
        return f"{ring}/cryptoKeys/signing"

    @property
    def addresses(self) -> AddressPlan:
        """The ranges of its own network.

        Raises:
            ValueError: it has none.
        """
        if self.network is None:
            raise ValueError(f"{self.name} uses an existing network")
        return AddressPlan.carve(self.network)

    @validator("zones")
    @classmethod
    def _in_region(cls, zones: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        region = info.data.get("region")
        refuse(
            ((index,), f"expected a zone of {region}, found {zone}")
            for index, zone in enumerate(zones)
            if region and zone.rpartition("-")[0] != region
        )
        return zones

    @validator("stacks")
    @classmethod
    def _with_upstream(cls, stacks: tuple[StackName, ...], info: ValidationInfo) -> tuple[StackName, ...]:
        replaced: dict[str, str] = info.data["existing"].stacks if "existing" in info.data else {}
        refuse(
            ((index,), f"{stack} needs the stack {upstream}, which is not listed")
            for index, stack in enumerate(stacks)
            for upstream in UPSTREAM[stack]
            if upstream not in stacks and upstream not in replaced
        )
        refuse(
            ((index,), f"{replaced[stack]} takes the place of the stack {stack}: remove one of them")
            for index, stack in enumerate(stacks)
            if stack in replaced
        )
        return stacks

    @validator("cluster", "network")
    @classmethod
    def _made_or_existing(cls, value: Any, info: ValidationInfo) -> Any:
        if "existing" in info.data:
            name = str(info.field_name)
            existing = getattr(info.data["existing"], name)
            if (value is None) is (existing is None):
                both = "both are given" if existing else "neither is given"
                raise ContradictionError(((), f"expected either {name} or existing.{name}; {both}"))
        return value

    @validator("network")
    @classmethod
    def _roomy(cls, network: IPv4Network | None, info: ValidationInfo) -> IPv4Network | None:
        if network is None:
            return None
        room = AddressPlan.carve(network).most_nodes
        if info.data.get("cluster") and "zones" in info.data:
            nodes = info.data["cluster"].most_nodes(len(info.data["zones"]))
            if nodes > room:
                message = f"{network} has room for {room} nodes and their pods; the cluster may reach {nodes}"
                remedy = "Take a larger block or lower limits of the node pools"
                raise ContradictionError(((), f"{message}, upgrades included. {remedy}"))
        return network

    @validator("data")
    @classmethod
    def _on_the_continent(cls, data: DataSettings, info: ValidationInfo) -> DataSettings:
        first, second = info.data.get("region"), data.second_region
        if first and second:
            here, there = (each.partition("-")[0] for each in (first, second))
            if first == second or here != there or here not in CONTINENTS:
                expected = f"expected another region of {first}'s continent, found {second}"
                raise ContradictionError((("second_region",), expected))
        return data

    @validator("cpu_caps")
    @classmethod
    def _enough(cls, caps: dict[str, int], info: ValidationInfo) -> dict[str, int]:
        needed: Counter[str] = Counter()
        zones, cluster, batch = (info.data.get(name) for name in ("zones", "cluster", "batch"))
        if cluster and zones:
            for pool in cluster.pools.values():
                nodes = pool.max_nodes + pool.surge(len(zones))
                needed[cpu_quota(pool.machine_type)] += nodes * machine_cpus(pool.machine_type)
        if batch and batch.runner == "DataflowRunner" and "orchestration" in info.data.get("stacks", ()):
            needed[cpu_quota(batch.machine_type)] += batch.max_workers * machine_cpus(batch.machine_type)
        refuse(
            (
                (metric,),
                f"node pools, upgrades included, and a Dataflow job may reach {needed[metric]}, found {cap}",
            )
            for metric, cap in caps.items()
            if cap < needed[metric]
        )
        return caps

    @validator("prediction")
    @classmethod
    def _counted(cls, prediction: WorkloadSettings, info: ValidationInfo) -> WorkloadSettings:
        if prediction.autoscaling.by == "traffic" and info.data.get("gateway") is None:
            raise ContradictionError((("autoscaling", "by"), _NO_GATEWAY))
        return prediction

    @validator("streaming")
    @classmethod
    def _reachable(cls, streaming: StreamingWorkload, info: ValidationInfo) -> StreamingWorkload:
        faults: list[tuple[Key, str]] = []
        prediction = info.data.get("prediction")
        # Simulated pods are processes of one machine.
        if prediction and info.data.get("cloud") == "simulated" and prediction.port == streaming.port:
            message = f"{streaming.port} is the prediction service's port; simulated services share a machine"
            faults.append((("port",), message))
        push = streaming.delivery == "push"
        if push and info.data.get("gateway") is None:
            message = "Pub/Sub pushes through the Gateway: add gateway = { hostname = ... }, or take pull"
            faults.append((("delivery",), message))
        if push and "services" not in info.data.get("stacks", ("services",)):
            faults.append(
                (("delivery",), "there is nobody to push to: list the stack services, or take pull")
            )
        if not push and streaming.autoscaling.by == "traffic":
            message = 'no traffic reaches it through the Gateway: take cpu, or delivery = "push"'
            faults.append((("autoscaling", "by"), message))
        refuse(faults)
        return streaming

    @validator("services")
    @classmethod
    def _runnable(cls, services: dict[str, HttpWorkload], info: ValidationInfo) -> dict[str, HttpWorkload]:
        faults: list[tuple[Key, str]] = []
        own = {name: info.data[name] for name in ("prediction", "streaming") if name in info.data}
        ports = {workload.port: name for name, workload in own.items()}
        routes: dict[str, str] = {}
        for name, service in services.items():
            if name in own:
                faults.append(((name,), f"{name} has a section of its own"))
            elif name not in SERVICES:
                faults.append(((name,), f"there is no folder services/{name} with a __main__.py"))
            # Simulated pods are processes of one machine.
            if info.data.get("cloud") == "simulated" and service.port in ports:
                other = ports[service.port]
                message = f"{service.port} is the port of {other}; simulated services share a machine"
                faults.append(((name, "port"), message))
            if service.route in routes:
                faults.append(((name, "route"), f"{service.route} is the route of {routes[service.route]}"))
            if service.autoscaling.by == "traffic" and info.data.get("gateway") is None:
                faults.append(((name, "autoscaling", "by"), _NO_GATEWAY))
            ports.setdefault(service.port, name)
            routes.setdefault(service.route, name)
        refuse(faults)
        return services
