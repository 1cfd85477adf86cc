"""Copies of BigQuery datasets in another region, for the day on which their own is down."""

from collections.abc import Sequence
from typing import Final

from infra.cdk import Construct, TerraformResource, google
from infra.cdk.stack import place_of
from infra.google.dataset import Dataset
from infra.google.identity import Account
from infra.google.project import custom_role_name

_STARTER: Final = "copyStarter"
_REPLACER: Final = "copyReplacer"


def grant_copies(scope: Construct, account: Account, *, after: Sequence[TerraformResource]) -> None:
    """Make the roles that copies need, and let an account start copies in the project.

    Their permissions are Google's own list, which asks for `bigquery.admin` on the project where no custom
    role is made. https://cloud.google.com/bigquery/docs/managing-datasets#required-roles
    """
    of_tables = ("create", "delete", "get", "getData", "list", "update", "updateData")
    google.project_iam_custom_role.ProjectIamCustomRole(
        scope,
        "copy-replacer",
        role_id=_REPLACER,
        title="Copy replacer",
        description="Replaces the tables of a dataset's copy",
        permissions=[
            "bigquery.datasets.get",
            "bigquery.datasets.update",
            *(f"bigquery.tables.{each}" for each in of_tables),
        ],
        depends_on=after,
    )
    starter = google.project_iam_custom_role.ProjectIamCustomRole(
        scope,
        "copy-starter",
        role_id=_STARTER,
        title="Copy starter",
        description="Starts copies of datasets",
        permissions=["bigquery.jobs.create", "bigquery.transfers.update"],
        depends_on=after,
    )
    account.grant_project_role(custom_role_name(scope, _STARTER), after=[starter])


class DatasetCopy(Construct):
    """A dataset in another region that has the tables of the day.

    BigQuery Data Transfer Service replaces a table that has changed as a whole, and leaves out views.
    https://cloud.google.com/bigquery/docs/managing-datasets#copy-datasets

    Args:
        account: as which the copies run; `grant_copies` has granted it what they need.
        schedule: when they begin, at least 12 hours apart, such as `every day 08:00`, in UTC.
    """

    def __init__(
        self, scope: Construct, id_: str, *, source: Dataset, region: str, account: Account, schedule: str
    ):
        super().__init__(scope, id_)
        copy = Dataset(
            self,
            "dataset",
            dataset_id=f"{source.dataset_id}_{region.replace('-', '_')}",
            description=f"Copy of {source.dataset_id}",
            region=region,
        )
        google.bigquery_data_transfer_config.BigqueryDataTransferConfig(
            self,
            "Default",
            display_name=f"Copy of {source.dataset_id}",
            data_source_id="cross_region_copy",
            location=region,  # the destination's; the default is the United States
            destination_dataset_id=copy.dataset_id,
            schedule=schedule,
            params={
                "source_project_id": place_of(self).project_id,
                "source_dataset_id": source.dataset_id,
                "overwrite_destination_table": "true",  # otherwise the first copy stays for ever
            },
            # Somebody's own login would be asked for again, and the copies end with its owner's rights.
            service_account_name=account.email,
            depends_on=[
                source.resource,
                copy.resource,
                source.grant_read(account),
                copy.grant(account, "replace", custom_role_name(self, _REPLACER)),
            ],
        )
