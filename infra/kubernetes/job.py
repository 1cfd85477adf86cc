"""A command that runs once, as pods of its own."""

from collections.abc import Sequence
from typing import Final

import msgspec

from infra.cdk import Construct, TerraformResource, kubernetes
from infra.kubernetes.namespace import Namespace
from infra.kubernetes.network_policy import AllowGoogleApis
from infra.kubernetes.pod import CONTAINER_SECURITY, NO_BUCKET_LOOKUP, POD_SECURITY
from services.contracts.settings import to_environment

batch = kubernetes.job_v1

_DEADLINE_SECONDS: Final = 1800
_TRIES_AGAIN: Final = 6
"""Some five minutes, with growing pauses: grants take two to be in effect."""


class Job(Construct):
    """A module of the repository that runs to its end, with an identity of its own.

    Terraform waits for the end: a failure is one of the deployment, and the next one runs it again. So does
    another image.

    Attributes:
        name: of the Job and of its service account.
        identity: of its pods.
    """

    def __init__(self, scope: Construct, id_: str, *, namespace: Namespace):
        super().__init__(scope, id_)
        self.name: Final = id_
        self._namespace = namespace
        self._labels = {**namespace.labels, "app.kubernetes.io/name": id_}
        self._account, self.identity = namespace.service_account(self, name=id_, labels=self._labels)
        AllowGoogleApis(
            self,
            f"{id_}-google-apis",
            namespace=namespace,
            selector={"app.kubernetes.io/name": id_},
        )

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
        batch.JobV1(
            self,
            "Default",
            metadata=batch.JobV1Metadata(name=self.name, namespace=self._namespace.name, labels=self._labels),
            timeouts=batch.JobV1Timeouts(create=f"{_DEADLINE_SECONDS + 300}s"),
            spec=batch.JobV1Spec(
                active_deadline_seconds=_DEADLINE_SECONDS,
                backoff_limit=_TRIES_AGAIN,
                template=batch.JobV1SpecTemplate(
                    metadata=batch.JobV1SpecTemplateMetadata(labels=self._labels),
                    spec=batch.JobV1SpecTemplateSpec(
                        service_account_name=self.name,
                        automount_service_account_token=False,
                        enable_service_links=False,
                        restart_policy="Never",  # another pod tries again, and the logs of the first stay
                        security_context=batch.JobV1SpecTemplateSpecSecurityContext(**POD_SECURITY),
                        container=[_container(self.name, module, image, settings, cpu, memory)],
                        volume=[
                            batch.JobV1SpecTemplateSpecVolume(
                                name="tmp",
                                empty_dir=batch.JobV1SpecTemplateSpecVolumeEmptyDir(size_limit="1Gi"),
                            )
                        ],
                    ),
                ),
            ),
            depends_on=[self._account, *after],
        )


def _container(
    name: str, module: str, image: str, settings: msgspec.Struct, cpu: str, memory: str
) -> batch.JobV1SpecTemplateSpecContainer:
    return batch.JobV1SpecTemplateSpecContainer(
        name=name,
        image=image,
        command=["python", "-m", module],
        env=[
            batch.JobV1SpecTemplateSpecContainerEnv(name=variable, value=value)
            for variable, value in (to_environment(settings) | NO_BUCKET_LOOKUP).items()
        ],
        resources=batch.JobV1SpecTemplateSpecContainerResources(
            requests={"cpu": cpu, "memory": memory},
            limits={"memory": memory},
        ),
        security_context=batch.JobV1SpecTemplateSpecContainerSecurityContext(**CONTAINER_SECURITY),
        volume_mount=[
            batch.JobV1SpecTemplateSpecContainerVolumeMount(name="tmp", mount_path="/tmp")  # noqa: S108
        ],
    )
