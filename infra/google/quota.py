"""Caps on what a project uses of a Google service.

Google deletes no cap: a destruction leaves it, and `scripts/bootstrap.sh` imports it before a new deployment.
It waits for two APIs: that of quotas, and the one that it caps.
"""

from collections.abc import Sequence
from typing import Any

from infra.cdk import Construct, TerraformResource, google
from infra.cdk.stack import place_of


def cap_queries(scope: Construct, *, gigabytes: int, email: str, after: Sequence[TerraformResource]) -> None:
    """Cap what each person and account may query in BigQuery on a day; a query beyond it fails.

    By default there is no cap for one user: https://cloud.google.com/bigquery/docs/custom-quotas.
    """
    _cap(
        scope,
        "queries-per-user",
        name="bigquery-queries-per-user",
        service="bigquery.googleapis.com",
        quota_id="QueryUsagePerUserPerDay",
        quota_config={"preferred_value": str(gigabytes * 1024)},  # in MiB
        contact_email=email,
        depends_on=after,
    )


def cap_cpus(
    scope: Construct, metric: str, *, most: int, email: str, after: Sequence[TerraformResource]
) -> None:
    """Cap the CPUs of machines in the region; one beyond it is not made.

    Google refuses a cap below what is in use. `gcloud compute regions describe` names the metrics: `N2_CPUS`.
    """
    family = metric.replace("_", "-")
    _cap(
        scope,
        f"{family.lower()}-of-region",
        name=f"compute-{family.lower()}",
        service="compute.googleapis.com",
        quota_id=f"{family}-per-project-region",
        quota_config={"preferred_value": str(most)},
        contact_email=email,
        depends_on=after,
        dimensions={"region": place_of(scope).region},
    )


def _cap(scope: Construct, id_: str, **arguments: Any) -> None:
    google.cloud_quotas_quota_preference.CloudQuotasQuotaPreference(
        scope,
        id_,
        parent=f"projects/{place_of(scope).project_id}",
        # The first cap is a decrease, from no limit or Google's; a higher one later is a request, which names
        # a person.
        ignore_safety_checks="QUOTA_DECREASE_PERCENTAGE_TOO_HIGH",
        **arguments,
    )
