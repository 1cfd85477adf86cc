"""Waivers of checkov findings, declared with their reasons beside the resource."""

from collections.abc import Mapping

from infra.cdk import TerraformResource


def waive(resource: TerraformResource, reasons: Mapping[str, str]) -> None:
    """Declare why checks do not apply to a resource. `make checkov` refuses waivers without a finding.

    They are written under the key `//`, which Terraform ignores.
    """
    for check, reason in reasons.items():
        resource.add_override(f"//.waived.{check}", reason)
