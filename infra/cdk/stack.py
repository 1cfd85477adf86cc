"""Base class of stacks: where their resources are, state, providers and labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

from infra.cdk import App, Construct, TerraformResource, TerraformStack, cdktf, google, kubernetes
from infra.environment import PLATFORM, Environment, StackName

_VERSIONS: Final = {"google": "~> 8.0", "kubernetes": "~> 3.2"}
"""Providers that are maintained. The last bindings of cdktf ask for google 6.50 and kubernetes 2.38, which
get no mends any more; what they synthesize is valid for these as well."""


@dataclass(frozen=True)
class Place:
    """Where a stack's resources are: all that constructs ask their stack for."""

    platform: str  # name of what there is once: the network, the cluster, the image repository
    name: str  # of the environment
    project_id: str
    project_number: int
    region: str  # of everything that is not global
    protected: bool  # whether Terraform refuses to destroy data and clusters
    simulated: bool  # whether resources are on this machine


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
            cdktf.LocalBackend(self, path=str(environment.local_state(name)))
        else:
            cdktf.GcsBackend(self, bucket=environment.state_bucket, prefix=name)
        configure_google(self, labels=self.labels)
        self.pagerduty_key = self._pagerduty_key() if environment.alerting.pagerduty else None

    def _pagerduty_key(self) -> cdktf.TerraformVariable:
        """The key that `observability` needs: Terraform plans and applies no stack without it.

        So `npx cdktf deploy` of all stacks ends before the first one, not before the last.
        """
        remedy = "Set TF_VAR_pagerduty_service_key, the integration key of PagerDuty."
        return cdktf.TerraformVariable(
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


def configure_google(stack: TerraformStack, *, labels: Mapping[str, str]) -> None:
    """Give a stack the google provider, with default labels of all its resources."""
    place = place_of(stack)
    google.provider.GoogleProvider(
        stack, "google", project=place.project_id, region=place.region, default_labels=labels
    )
    _require(stack, "google")


def configure_kubernetes(stack: TerraformStack, *, host: str) -> None:
    """Give a stack the kubernetes provider, for the cluster with this DNS name.

    Google's plugin signs in whoever runs Terraform, so no credential is written to a state.
    """
    kubernetes.provider.KubernetesProvider(
        stack,
        "kubernetes",
        host=f"https://{host}",
        exec=[{"api_version": "client.authentication.k8s.io/v1beta1", "command": "gke-gcloud-auth-plugin"}],
        # GKE's controllers annotate Services; if an apply removed these, backends would be detached.
        ignore_annotations=[r"^cloud\.google\.com/neg"],
    )
    _require(stack, "kubernetes")


def _require(stack: TerraformStack, provider: str) -> None:
    required = f"terraform.required_providers.{provider}"
    stack.add_override(f"{required}.version", _VERSIONS[provider])
    if place_of(stack).simulated:
        stack.add_override(f"{required}.source", f"localhost/simulated/{provider}")


def place_of(construct: Construct) -> Place:
    """Where the stack of a construct is: its attribute `place`, whatever else it is."""
    return cast("PlatformStack", TerraformStack.of(construct)).place
