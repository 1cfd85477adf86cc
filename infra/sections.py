"""The sections of an environment file, in the order of the stacks that they are for."""

from pydantic import Field, ValidationInfo
from pydantic import field_validator as validator

from infra.value_types import Cpu, MachineType, Memory, Port, Replicas, Section, at_least
from services.contracts.model import HORIZON_DAYS


class NodePool(Section):
    """The cluster's node pool."""

    machine_type: MachineType = Field(description="machine type of a node")
    min_nodes: int = Field(ge=0, le=1000, description="fewest nodes in each zone")
    max_nodes: int = Field(ge=1, le=1000, description="most nodes in each zone")

    @validator("max_nodes")
    @classmethod
    def _ordered(cls, most: int, info: ValidationInfo) -> int:
        return at_least("min_nodes", most, info)


class WorkloadSettings(Section):
    """A service on the cluster."""

    port: Port = Field(description="port it listens on")
    max_range: int = Field(
        HORIZON_DAYS,
        ge=1,
        le=HORIZON_DAYS,
        description="most days a request may ask for, of the model's horizon",
    )
    min_replicas: Replicas = Field(description="fewest pods")
    max_replicas: Replicas = Field(description="most pods")
    cpu: Cpu = Field(description="CPU that a pod asks for")
    memory: Memory = Field(description="memory that a pod asks for and may use")

    @validator("max_replicas")
    @classmethod
    def _ordered(cls, most: int, info: ValidationInfo) -> int:
        return at_least("min_replicas", most, info)
