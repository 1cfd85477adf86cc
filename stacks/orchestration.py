"""Managed Airflow, in a stack of its own: it takes half an hour to create and has failures of its own."""

from pathlib import Path

from infra.bucket import Bucket
from infra.composer import Composer
from infra.environment import Environment
from infra.identity import Account
from infra.network import Network
from infra.providers import App
from infra.stack import PLATFORM, PlatformStack


class OrchestrationStack(PlatformStack):
    """An Airflow environment whose account reads data files and writes models."""

    def __init__(
        self,
        scope: App,
        environment: Environment,
        simulator_home: Path,
        *,
        network: Network,
        models: Bucket,
        files: Bucket,
        staging: Bucket,
    ):
        super().__init__(scope, "orchestration", environment=environment, simulator_home=simulator_home)
        airflow = Account(
            self,
            "airflow",
            name=f"{PLATFORM}-airflow",
            project=environment.project_id,
            description="Workers of the Airflow environment",
        )
        files.grant_read(airflow)
        models.grant_write(airflow)
        staging.grant_write(airflow)
        Composer(self, "composer", name=PLATFORM, region=environment.region, network=network, account=airflow)
