"""What an environment uses instead of making it: networks, clusters, repositories, keys of somebody else."""

from typing import Annotated

from pydantic import Field

from infra.environment.value_types import Hostname, Network, ProjectId, Region, Section, matching

ResourceName = Annotated[
    str, matching("[a-z]([a-z0-9-]{0,61}[a-z0-9])?", "a name: lower-case letters, digits and hyphens")
]
KeyName = Annotated[
    str,
    matching(
        r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+",
        "a key's full name: projects/P/locations/REGION/keyRings/R/cryptoKeys/K",
    ),
]


class ExistingNetwork(Section):
    """A network with all that the platform needs of it, such as that of a Shared VPC's host project."""

    project_id: ProjectId = Field(description="project that has it: the host project of a Shared VPC")
    name: ResourceName = Field(description="its name")
    subnet: ResourceName = Field(description="its subnet in the environment's region, for nodes and Airflow")
    pods: ResourceName = Field(description="secondary range of that subnet for pods, by name")
    services: ResourceName = Field(description="secondary range of that subnet for Kubernetes' Services")
    proxy_only: Network = Field(
        description="range of the region's proxy-only subnet, from which load balancers call pods"
    )


class ExistingCluster(Section):
    """A regional GKE cluster in the environment's project and region, with Workload Identity."""

    name: ResourceName = Field(description="its name")
    dns_name: Hostname = Field(description="DNS name of its control plane, as gke-....gke.goog")


class ExistingRepository(Section):
    """A Docker repository of Artifact Registry."""

    project_id: ProjectId = Field(description="project that has it")
    location: Region = Field(description="its region")
    name: ResourceName = Field(description="its name")


class ExistingSettings(Section):
    """What somebody else owns. The stacks change nothing of it, not even who may use it."""

    network: ExistingNetwork | None = Field(default=None, description="instead of the key network")
    cluster: ExistingCluster | None = Field(
        default=None, description="instead of the stack and section cluster"
    )
    repository: ExistingRepository | None = Field(default=None, description="instead of the stack registry")
    key: KeyName | None = Field(
        default=None, description="key in the environment's region; implies encryption"
    )

    @property
    def stacks(self) -> dict[str, str]:
        """Stacks that the environment therefore does not have, each with the key that replaces it."""
        replaced = {"cluster": (self.cluster, "cluster"), "registry": (self.repository, "repository")}
        return {stack: f"existing.{key}" for stack, (value, key) in replaced.items() if value}
