"""Enabled APIs of a project."""

from collections.abc import Iterable

from infra.cdk import Construct, google


class Apis(Construct):
    """Enabled APIs. Destroying this leaves them enabled: disabling an API deletes what was made with it.

    Attributes:
        resources: enabled APIs by name, without `.googleapis.com`.
    """

    def __init__(self, scope: Construct, id_: str, *, names: Iterable[str]):
        super().__init__(scope, id_)
        self.resources = {
            name: google.project_service.ProjectService(
                self, name, service=f"{name}.googleapis.com", disable_on_destroy=False
            )
            for name in names
        }
