"""Managed Airflow: Cloud Composer 3."""

from typing import Final

from infra.identity import Account
from infra.network import Network
from infra.providers import (
    ComposerEnvironment,
    ComposerEnvironmentConfigA,
    ComposerEnvironmentConfigNodeConfig,
    ComposerEnvironmentConfigSoftwareConfig,
    Construct,
)

_IMAGE: Final = "composer-3-airflow-3.3.1-build.0"


class Composer(Construct):
    """An Airflow environment inside the network, with no public address.

    Args:
        scope: where it belongs.
        id_: its id there.
        name: of the environment.
        region: where it runs.
        network: that its workers are in.
        account: as whom its workers run.
    """

    def __init__(
        self, scope: Construct, id_: str, *, name: str, region: str, network: Network, account: Account
    ):
        super().__init__(scope, id_)
        # Creating one takes up to 25 minutes, and it fails after that if the account may not work yet.
        worker = account.grant_project_role("roles/composer.worker")
        ComposerEnvironment(
            self,
            "Default",
            name=name,
            region=region,
            config=ComposerEnvironmentConfigA(
                environment_size="ENVIRONMENT_SIZE_SMALL",
                enable_private_environment=True,
                node_config=ComposerEnvironmentConfigNodeConfig(
                    network=network.path, subnetwork=network.subnet, service_account=account.email
                ),
                software_config=ComposerEnvironmentConfigSoftwareConfig(image_version=_IMAGE),
            ),
            depends_on=[worker],
        )
