"""Providers of a stack: their settings, and the simulated ones for this machine."""

from collections.abc import Mapping

from infra.cdk import TerraformStack, google, kubernetes


def configure_google(
    stack: TerraformStack, *, project: str, region: str, labels: Mapping[str, str], simulated: bool
) -> None:
    """Give a stack the google provider, with default labels of all its resources."""
    google.provider.GoogleProvider(stack, "google", project=project, region=region, default_labels=labels)
    _simulate(stack, "google", simulated)


def configure_kubernetes(stack: TerraformStack, *, host: str, simulated: bool) -> None:
    """Give a stack the kubernetes provider, for the cluster with this DNS name.

    Google's plugin signs in whoever runs Terraform, so no credential is written to a state.
    """
    kubernetes.provider.KubernetesProvider(
        stack,
        "kubernetes",
        host=f"https://{host}",
        exec=[
            kubernetes.provider.KubernetesProviderExec(
                api_version="client.authentication.k8s.io/v1beta1", command="gke-gcloud-auth-plugin"
            )
        ],
        # GKE's controllers annotate Services; if an apply removed these, backends would be detached.
        ignore_annotations=[r"^cloud\.google\.com/neg"],
    )
    _simulate(stack, "kubernetes", simulated)


def _simulate(stack: TerraformStack, provider: str, simulated: bool) -> None:
    if simulated:
        stack.add_override(
            f"terraform.required_providers.{provider}.source", f"localhost/simulated/{provider}"
        )
