"""Providers of a stack: their versions and settings, and the simulated ones for this machine."""

from collections.abc import Mapping
from typing import Final

from infra.cdk import TerraformStack, google, kubernetes

VERSIONS: Final = {"google": "~> 8.0", "kubernetes": "~> 3.2"}
"""Providers that are maintained. The last bindings of cdktf ask for google 6.50 and kubernetes 2.38, which
get no mends any more; what they synthesize is valid for these as well."""


def configure_google(
    stack: TerraformStack, *, project: str, region: str, labels: Mapping[str, str], simulated: bool
) -> None:
    """Give a stack the google provider, with default labels of all its resources."""
    google.provider.GoogleProvider(stack, "google", project=project, region=region, default_labels=labels)
    _require(stack, "google", simulated)


def configure_kubernetes(stack: TerraformStack, *, host: str, simulated: bool) -> None:
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
    _require(stack, "kubernetes", simulated)


def _require(stack: TerraformStack, provider: str, simulated: bool) -> None:
    required = f"terraform.required_providers.{provider}"
    stack.add_override(f"{required}.version", VERSIONS[provider])
    if simulated:
        stack.add_override(f"{required}.source", f"localhost/simulated/{provider}")
