"""The resources of an environment, read from its synthesized stacks, and the permissions on them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from infra.environment import Environment

BACKENDS: Final = ("backends", "behind Identity-Aware Proxy")
"""Kind and name of what Identity-Aware Proxy guards."""


@dataclass(frozen=True, order=True)
class Permission:
    """A role of a member on one resource.

    Attributes:
        member: as in IAM.
        role: what the member may do.
        kind: of the resource.
        name: of the resource.
    """

    member: str
    role: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.member}: {self.role} on {self.kind} {self.name}"


class UnknownEdgeError(Exception):
    """Something refers to a resource, or grants something, and no rule covers it."""


@dataclass(frozen=True)
class Graph:
    """The resources of all stacks of one environment: type, address and arguments of each."""

    environment: Environment
    resources: tuple[tuple[str, str, Mapping[str, Any]], ...]

    @classmethod
    def read(cls, target: Environment, folder: Path) -> "Graph":
        """Read the stacks in the folder that cdktf's app wrote."""
        found: list[tuple[str, str, Mapping[str, Any]]] = []
        for stack in target.stacks:
            text = (folder / "stacks" / f"{target.name}-{stack}" / "cdk.tf.json").read_text(encoding="utf-8")
            for kind, named in json.loads(text)["resource"].items():
                if kind != "terraform_data":  # it waits, and has no counterpart in the cloud
                    found += [(kind, f"{stack}: {kind}.{name}", each) for name, each in named.items()]
        return cls(target, tuple(found))

    def all(self, kind: str) -> Iterator[Mapping[str, Any]]:
        """The arguments of the resources of a type."""
        return (each for type_, _, each in self.resources if type_ == kind)

    def values(self, kind: str, path: str) -> Iterator[str]:
        """The argument at a path such as `config.key`, of the resources of a type that set it."""
        for each in self.all(kind):
            value: Any = each
            for name in path.split("."):
                value = value.get(name) if value else None
            if value:
                yield value

    def agent(self, service: str) -> str:
        """The service agent of one of Google's services."""
        return f"serviceAccount:service-{self.environment.project_number}@{service}.iam.gserviceaccount.com"

    def pod(self, namespace: str, account: str) -> str:
        """The principal of pods that run as a Kubernetes service account."""
        return f"principal://iam.googleapis.com/{self.pool('{}.svc.id.goog')}/subject/ns/{namespace}/sa/{account}"

    def pool(self, name: str) -> str:
        """A workload identity pool; `{}` in its name stands for the project's id."""
        pools = f"projects/{self.environment.project_number}/locations/global/workloadIdentityPools"
        return f"{pools}/{name.format(self.environment.project_id)}"

    def on_project(self, member: str, role: str) -> Permission:
        """A role on the project."""
        return Permission(member, role, "project", self.environment.project_id)

    def repositories(self, image: str) -> Iterator[str]:
        """Names of the image repositories that an image is from: one, or none."""
        for name in self.values("google_artifact_registry_repository", "repository_id"):
            if f"/{self.environment.project_id}/{name}/" in image:
                yield name
