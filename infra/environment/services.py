"""Settings of the stack `services`."""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from infra.environment.value_types import Contradictions, Hostname, IamMember, Section, UniqueList, matching
from services.contracts.names import DEAD_LETTER_TOPIC, SALE_PREDICTIONS_TOPIC, SALE_RANGE_TOPIC

_FOLDER: Final = Path(__file__).resolve().parents[2] / "services"

IMAGES: Final = tuple(sorted(file.parent.name for file in _FOLDER.glob("*/requirements.in")))
"""What has an image: every folder of services/ that declares its packages."""

SERVICES: Final = tuple(name for name in IMAGES if (_FOLDER / name / "__main__.py").is_file())
"""Images that are servers, which `python -m services.<name>` starts. The others hold commands."""

ImageName = Annotated[str, matching("|".join(IMAGES), f"one of {', '.join(IMAGES)}")]
HttpPath = Annotated[str, matching(r"(/[A-Za-z0-9._~-]+)+", "a path, such as /echo")]
Cpu = Annotated[str, matching(r"[1-9]\d*m?", 'CPUs as Kubernetes writes them: "2" or "500m"')]
Memory = Annotated[str, matching(r"[1-9]\d*(Mi|Gi)", 'memory as Kubernetes writes it: "512Mi" or "2Gi"')]
Replicas = Annotated[int, Field(ge=1, le=100)]
# https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names
TopicName = Annotated[
    str,
    matching(
        r"(?!goog)[A-Za-z][\w.~+%-]{2,254}",
        "a topic's name: 3 to 255 letters, digits and -._~+%, from a letter, not starting with goog",
    ),
]


class Autoscaling(Section):
    """The metric that the number of a service's pods follows."""

    by: Literal["cpu", "traffic"] = Field(
        default="cpu", description="CPU use, or traffic through the Gateway"
    )
    requests_per_second: int = Field(
        default=200, ge=1, description="requests per second of a pod; it gets more only if all have that many"
    )


class WorkloadSettings(Section):
    """A service on the cluster."""

    # Below 1024 only root may listen, which no container is.
    port: int = Field(ge=1024, le=65535, description="port it listens on")
    min_replicas: Replicas = Field(2, description="fewest pods")
    max_replicas: Replicas = Field(5, description="most pods")
    cpu: Cpu = Field(description="CPU that a pod requests")
    memory: Memory = Field(description="memory that a pod requests, which is its limit, too")
    drain_seconds: int = Field(
        15, ge=0, le=300, description="seconds that a stopping pod still answers, until load balancers notice"
    )
    autoscaling: Autoscaling = Field(Autoscaling(), description="the metric that the number of pods follows")

    def _contradictions(self) -> Contradictions:
        yield from self._ordered("min_replicas", "max_replicas")


class HttpWorkload(WorkloadSettings):
    """An HTTP service without settings of its own; its name is a folder of services/."""

    route: HttpPath = Field(description="path that it answers, with those below it")


class StreamingWorkload(WorkloadSettings):
    """The streaming service."""

    delivery: Literal["pull", "push"] = Field(
        "pull", description="whether it pulls messages, or Pub/Sub pushes them through the Gateway"
    )
    reply_topics: UniqueList[TopicName] = Field(
        (), description="topics besides sale-predictions that a request's reply_to may name"
    )

    def _contradictions(self) -> Contradictions:
        yield from super()._contradictions()
        for index, topic in enumerate(self.reply_topics):
            if topic in (SALE_RANGE_TOPIC, SALE_PREDICTIONS_TOPIC, DEAD_LETTER_TOPIC):
                message = f"{topic} is a topic of the platform; give replies one of their own"
                yield ("reply_topics", index), message


class GatewaySettings(Section):
    """The entry point from the internet."""

    hostname: Hostname = Field(description="host name that clients use, such as forecast.example.com")
    iap_members: UniqueList[IamMember] = Field(
        (), description="who may call the services, after a login with Identity-Aware Proxy"
    )
    public: bool = Field(False, description="let everybody call the services, instead of members")

    # Forecasts and sales are nobody's business by default: that they are public is said, never forgotten.
    def _contradictions(self) -> Contradictions:
        if self.public == bool(self.iap_members):
            yield ("public",), "say who may call: either list iap_members, or set public = true"
