"""Settings of the stack `services`."""

from typing import Literal

from pydantic import Field, ValidationInfo
from pydantic import field_validator as validator

from infra.environment.value_types import (
    CloudDnsZone,
    ContradictionError,
    Cpu,
    Hostname,
    IamMember,
    Memory,
    Port,
    Replicas,
    Section,
    TopicName,
    at_least,
    refuse,
    unique,
)
from services.contracts.model import HORIZON_DAYS
from services.contracts.names import DEAD_LETTER_TOPIC, SALE_PREDICTIONS_TOPIC, SALE_RANGE_TOPIC


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
    right_sizing: bool = Field(
        True, description="recommend CPU and memory from what pods use: `kubectl describe vpa`"
    )

    @validator("max_replicas")
    @classmethod
    def _ordered(cls, most: int, info: ValidationInfo) -> int:
        return at_least("min_replicas", most, info)


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
