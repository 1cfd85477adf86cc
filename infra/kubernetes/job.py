"""A command that runs once, as pods of its own."""

from collections.abc import Sequence
from typing import Final

import msgspec

from infra.cdk import Construct, TerraformResource, kubernetes
from infra.kubernetes.namespace import Namespace
from infra.kubernetes.network_policy import AllowGoogleApis
from infra.kubernetes.pod import pod

_DEADLINE_SECONDS: Final = 1800
_TRIES_AGAIN: Final = 6
"""Some five minutes, with growing pauses: grants take two to be in effect."""


class Job(Construct):
    """A module of the repository that runs to its end, with an identity of its own.

    Terraform waits for the end: a failure is one of the deployment, and the next one runs it again. So does
    another image.
    """

    def __init__(self, scope: Construct, id_: str, *, namespace: Namespace):
        super().__init__(scope, id_)
        self._name = id_
        self._namespace = namespace
        selector = {"app.kubernetes.io/name": id_}
        self._labels = {**namespace.labels, **selector}
        self._account, self.identity = namespace.service_account(self, name=id_, labels=self._labels)
        AllowGoogleApis(self, f"{id_}-google-apis", namespace=namespace, selector=selector)

    def run(
        self,
        module: str,
        *,
        image: str,
        settings: msgspec.Struct,
        cpu: str,
        memory: str,
        after: Sequence[TerraformResource],
    ) -> None:
        """Run a module, passed its settings as environment variables, when there is what it needs."""
        spec = pod(
            self._name, image=image, module=module, settings=settings, cpu=cpu, memory=memory, tmp="1Gi"
        )
        # Another pod tries again, and the logs of the first stay.
        spec["restart_policy"] = "Never"
        kubernetes.job_v1.JobV1(
            self,
            "Default",
            metadata={"name": self._name, "namespace": self._namespace.name, "labels": self._labels},
            timeouts={"create": f"{_DEADLINE_SECONDS + 300}s"},
            spec={
                "active_deadline_seconds": _DEADLINE_SECONDS,
                "backoff_limit": _TRIES_AGAIN,
                "template": {"metadata": {"labels": self._labels}, "spec": spec},
            },
            depends_on=[self._account, *after],
        )
