"""The typed environment: the content of an environment file, validated as a whole."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from infra.environment import project
from infra.environment.addresses import AddressPlan
from infra.environment.cluster import ClusterSettings
from infra.environment.orchestration import BatchSection, ComposerSettings
from infra.environment.services import (
    SERVICES,
    GatewaySettings,
    HttpWorkload,
    ImageName,
    StreamingWorkload,
    WorkloadSettings,
)
from infra.environment.value_types import (
    Contradictions,
    Network,
    ProjectId,
    Region,
    Section,
    UniqueList,
    cpu_quota,
    machine_cpus,
    matching,
)
from infra.paths import simulator_home

Zone = Annotated[str, matching(r"[a-z]+-[a-z]+\d{1,2}-[a-z]", "a zone, such as europe-west1-b")]
CpuQuota = Annotated[
    str, matching("([A-Z][A-Z0-9]*_)?CPUS", "a quota of CPUs: CPUS (of E2 and N1), N2_CPUS ...")
]
Digest = Annotated[str, matching("sha256:[0-9a-f]{64}", "a digest: sha256: and 64 hexadecimal digits")]
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


class Environment(Section):
    """One environment: `name` is its file's stem, `images` are the digests in `<name>.images.json`."""

    name: str
    images: dict[ImageName, Digest]
    cloud: Cloud = Field(description="google, or simulated: emulators and processes on this machine")
    project_id: ProjectId = Field(description="Google Cloud project that holds this environment alone")
    project_number: int = Field(
        ge=1, description="number of that project; the addresses of Google's service agents contain it"
    )
    region: Region = Field(description="region of everything that is not global")
    zones: UniqueList[Zone] = Field(min_length=1, description="zones of the region that nodes run in")
    existing: project.ExistingSettings = Field(
        project.ExistingSettings(), description="what the environment uses instead of making it"
    )
    stacks: UniqueList[StackName] = Field(min_length=1, description="stacks that this environment has")
    deletion_protection: bool = Field(description="whether Terraform refuses to destroy data and clusters")
    alerting: project.AlertingSettings = Field(description="who is alerted, and when")
    ci: project.CiSettings | None = Field(None, description="who plans and applies in CI; nobody by default")
    encryption: bool = Field(
        False, description="encrypt images, cluster Secrets and backups with a key of the project's own"
    )
    registry: project.RegistrySettings = Field(
        project.RegistrySettings(), description="retention and scanning of images"
    )
    cluster: ClusterSettings | None = Field(None, description="Kubernetes cluster, unless existing has one")
    network: Network | None = Field(
        None, description="block to cut all ranges from, such as 10.0.0.0/16, unless existing has a network"
    )
    data: project.DataSettings = Field(project.DataSettings(), description="tables and buckets")
    composer: ComposerSettings = Field(ComposerSettings(), description="managed Airflow")
    batch: BatchSection = Field(BatchSection(), description="the batch pipeline")
    gateway: GatewaySettings | None = Field(
        None, description="the way in from the internet; without it nobody outside the cluster gets in"
    )
    prediction: WorkloadSettings = Field(description="the prediction service")
    streaming: StreamingWorkload = Field(description="the streaming service")
    services: dict[str, HttpWorkload] = Field({}, description="other services, by name")
    messaging: project.MessagingSettings = Field(project.MessagingSettings(), description="subscriptions")
    budget: project.BudgetSettings | None = Field(None, description="monthly budget")
    cpu_caps: dict[CpuQuota, int] = Field(
        {}, description="most CPUs of machines in the region, by name of Google's quota; others have no cap"
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
    def most_cpus(self) -> Counter[str]:
        """Most CPUs of machines at once, by name of Google's quota: upgraded pools and a Dataflow job."""
        cpus: Counter[str] = Counter()
        for pool in self.cluster.pools.values() if self.cluster else ():
            machine = pool.machine_type
            cpus[cpu_quota(machine)] += pool.most_nodes(len(self.zones)) * machine_cpus(machine)
        if self.batch.runner == "DataflowRunner" and "orchestration" in self.stacks:
            machine = self.batch.machine_type
            cpus[cpu_quota(machine)] += self.batch.max_workers * machine_cpus(machine)
        return cpus

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
        """The ranges of its own network; a ValueError without one."""
        if self.network is None:
            raise ValueError(f"{self.name} uses an existing network")
        return AddressPlan.carve(self.network)

    def _contradictions(self) -> Contradictions:
        for index, zone in enumerate(self.zones):
            if zone.rpartition("-")[0] != self.region:
                yield ("zones", index), f"expected a zone of {self.region}, found {zone}"
        if second := self.data.second_region:
            here, there = (each.partition("-")[0] for each in (self.region, second))
            if self.region == second or here != there or here not in project.CONTINENTS:
                expected = f"expected another region of {self.region}'s continent, found {second}"
                yield ("data", "second_region"), expected
        yield from self._made_or_existing()
        yield from self._low_limits()
        yield from self._unreachable()
        yield from self._services_that_clash()

    def _made_or_existing(self) -> Contradictions:
        replacing = {"cluster": "cluster", "registry": "repository"}
        replaced = {stack: key for stack, key in replacing.items() if getattr(self.existing, key)}
        for index, stack in enumerate(self.stacks):
            for upstream in UPSTREAM[stack]:
                if upstream not in self.stacks and upstream not in replaced:
                    yield ("stacks", index), f"{stack} needs the stack {upstream}, which is not listed"
            if stack in replaced:
                message = (
                    f"existing.{replaced[stack]} takes the place of the stack {stack}: remove one of them"
                )
                yield ("stacks", index), message
        for name in ("cluster", "network"):
            existing = getattr(self.existing, name)
            if (getattr(self, name) is None) is (existing is None):
                both = "both are given" if existing else "neither is given"
                yield (name,), f"expected either {name} or existing.{name}; {both}"

    def _low_limits(self) -> Contradictions:
        needed = self.most_cpus
        for metric, cap in self.cpu_caps.items():
            if cap < needed[metric]:
                reached = f"may reach {needed[metric]}, found {cap}"
                yield ("cpu_caps", metric), f"node pools, upgrades included, and a Dataflow job {reached}"
        if self.network is None:
            return
        try:
            room = self.addresses.most_nodes
        except ValueError as error:
            yield ("network",), str(error)
            return
        if self.cluster and (nodes := self.cluster.most_nodes(len(self.zones))) > room:
            reached = f"{room} nodes and their pods; the cluster may reach {nodes}, upgrades included"
            remedy = "Take a larger block or lower limits of the node pools"
            yield ("network",), f"{self.network} has room for {reached}. {remedy}"

    def _unreachable(self) -> Contradictions:
        counted = {("prediction",): self.prediction}
        counted |= {("services", name): service for name, service in self.services.items()}
        for key, service in counted.items():
            if service.autoscaling.by == "traffic" and self.gateway is None:
                message = "traffic is counted at the Gateway: add gateway = { hostname = ... }, or take cpu"
                yield (*key, "autoscaling", "by"), message
        push = self.streaming.delivery == "push"
        if push and self.gateway is None:
            message = "Pub/Sub pushes through the Gateway: add gateway = { hostname = ... }, or take pull"
            yield ("streaming", "delivery"), message
        if push and "services" not in self.stacks:
            message = "there is nobody to push to: list the stack services, or take pull"
            yield ("streaming", "delivery"), message
        if not push and self.streaming.autoscaling.by == "traffic":
            message = 'no traffic reaches it through the Gateway: take cpu, or delivery = "push"'
            yield ("streaming", "autoscaling", "by"), message

    def _services_that_clash(self) -> Contradictions:
        # Simulated pods are processes of one machine.
        machine = "simulated services share a machine"
        if self.simulated and self.prediction.port == self.streaming.port:
            yield ("streaming", "port"), f"{self.streaming.port} is the prediction service's port; {machine}"
        ports = {self.prediction.port: "prediction", self.streaming.port: "streaming"}
        routes: dict[str, str] = {}
        for name, service in self.services.items():
            if name in ("prediction", "streaming"):
                yield ("services", name), f"{name} has a section of its own"
            elif name not in SERVICES:
                yield ("services", name), f"there is no folder services/{name} with a __main__.py"
            port, route = ports.setdefault(service.port, name), routes.setdefault(service.route, name)
            if self.simulated and port != name:
                yield ("services", name, "port"), f"{service.port} is the port of {port}; {machine}"
            if route != name:
                yield ("services", name, "route"), f"{service.route} is the route of {route}"
