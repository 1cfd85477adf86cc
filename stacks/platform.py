"""All stacks of one environment, and how they are connected."""

from functools import cached_property
from typing import cast

from infra.cdk import App
from infra.cdk.stack import PlatformStack
from infra.environment import UPSTREAM, Environment
from infra.environment.project import ExistingCluster
from infra.google.cluster import Cluster
from stacks.cluster import ClusterStack
from stacks.data import DataStack
from stacks.foundation import FoundationStack
from stacks.messaging import MessagingStack
from stacks.observability import ObservabilityStack
from stacks.orchestration import OrchestrationStack
from stacks.registry import RegistryStack
from stacks.services import ServicesStack


def build(app: App, environment: Environment) -> None:
    """Create the stacks that an environment lists, and declare their order of deployment."""
    platform = _Platform(app, environment)
    stacks: dict[str, PlatformStack] = {name: getattr(platform, name) for name in environment.stacks}
    for name in environment.stacks:
        for upstream in UPSTREAM[name]:
            if upstream in stacks:
                stacks[name].add_dependency(stacks[upstream])


class _Platform:
    """The stacks of an environment. Each is created on first use, so after the stacks it builds on."""

    def __init__(self, app: App, environment: Environment):
        self._app = app
        self._environment = environment

    @cached_property
    def foundation(self) -> FoundationStack:
        return FoundationStack(self._app, self._environment)

    @cached_property
    def registry(self) -> RegistryStack | None:
        return None if self._environment.existing.repository else RegistryStack(self._app, self.foundation)

    @cached_property
    def cluster(self) -> ClusterStack | None:
        settings = self._environment.cluster
        return ClusterStack(self._app, settings, self.foundation, self.registry) if settings else None

    @property
    def _kubernetes(self) -> Cluster | ExistingCluster:
        # An environment has one or the other.
        existing = self._environment.existing.cluster
        return self.cluster.cluster if self.cluster else cast("ExistingCluster", existing)

    @cached_property
    def data(self) -> DataStack:
        return DataStack(self._app, self._environment)

    @cached_property
    def messaging(self) -> MessagingStack:
        return MessagingStack(self._app, self.data)

    @cached_property
    def orchestration(self) -> OrchestrationStack:
        return OrchestrationStack(self._app, self.foundation, self.registry, self._kubernetes, self.data)

    @cached_property
    def services(self) -> ServicesStack:
        return ServicesStack(self._app, self.foundation, self._kubernetes, self.data, self.messaging)

    @cached_property
    def observability(self) -> ObservabilityStack:
        return ObservabilityStack(self._app, self.messaging)
