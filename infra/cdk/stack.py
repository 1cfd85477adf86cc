"""Base class of stacks: id, state backend, google provider and labels."""

from dataclasses import dataclass
from typing import cast

from infra.cdk import (
    App,
    Construct,
    GcsBackend,
    LocalBackend,
    TerraformResource,
    TerraformStack,
    TerraformVariable,
)
from infra.cdk.providers import configure_google
from infra.environment import PLATFORM, Environment, StackName


@dataclass(frozen=True)
class Place:
    """Where a stack's resources are: all that constructs ask their stack for.

    Attributes:
        platform: name of what there is once: the network, the cluster, the image repository.
        name: of the environment.
        region: of everything that is not global.
        protected: whether Terraform refuses to destroy data and clusters.
        simulated: whether resources are on this machine.
    """

    platform: str
    name: str
    project_id: str
    project_number: int
    region: str
    protected: bool
    simulated: bool


class PlatformStack(TerraformStack):
    """A layer of the platform in one environment. Its id is `<environment>-<name>`."""

    def __init__(self, scope: App, name: StackName, *, environment: Environment):
        super().__init__(scope, f"{environment.name}-{name}")
        self.environment = environment
        self.place = Place(
            platform=PLATFORM,
            name=environment.name,
            project_id=environment.project_id,
            project_number=environment.project_number,
            region=environment.region,
            protected=environment.deletion_protection,
            simulated=environment.simulated,
        )
        self.labels = {"environment": environment.name, "stack": name, "managed_by": "terraform"}
        self.add_override("terraform.required_version", ">= 1.6")
        if environment.simulated:
            LocalBackend(self, path=str(environment.local_state(name)))
        else:
            GcsBackend(self, bucket=environment.state_bucket, prefix=name)
        configure_google(
            self,
            project=environment.project_id,
            region=environment.region,
            labels=self.labels,
            simulated=environment.simulated,
        )
        self.pagerduty_key = self._pagerduty_key() if environment.alerting.pagerduty else None

    def _pagerduty_key(self) -> TerraformVariable:
        """The key that `observability` needs: Terraform plans and applies no stack without it.

        So `npx cdktf deploy` of all stacks ends before the first one, not before the last.
        """
        remedy = "Set TF_VAR_pagerduty_service_key, the integration key of PagerDuty."
        return TerraformVariable(
            self,
            "pagerduty_service_key",
            type="string",
            sensitive=True,
            nullable=False,
            # Without a default Terraform asks for it on standard input, in CI until the job is killed.
            # A simulated environment pages nobody.
            default="simulated" if self.environment.simulated else "",
            description="Integration key of the PagerDuty service: TF_VAR_pagerduty_service_key.",
            validation=[{"condition": '${var.pagerduty_service_key != ""}', "error_message": remedy}],
        )

    def prepare_stack(self) -> None:
        """Called by cdktf before it synthesizes: say of each resource in whose project it is."""
        for each in self.node.find_all():
            if isinstance(each, TerraformResource) and getattr(each, "project_input", "") is None:
                each.project = self.environment.project_id  # pyright: ignore[reportAttributeAccessIssue]
        super().prepare_stack()


def place_of(construct: Construct) -> Place:
    """Where the stack of a construct is: its attribute `place`, whatever else it is."""
    return cast("PlatformStack", TerraformStack.of(construct)).place
