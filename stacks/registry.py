"""Where container images are kept."""

from pathlib import Path
from typing import Final

from infra.environment import Environment
from infra.providers import App
from infra.registry import ImageRepository
from infra.stack import PLATFORM, PlatformStack


class RegistryStack(PlatformStack):
    """One repository for the images of all services."""

    def __init__(self, scope: App, environment: Environment, simulator_home: Path):
        super().__init__(scope, "registry", environment=environment, simulator_home=simulator_home)
        self.images: Final = ImageRepository(
            self, "images", project=environment.project_id, region=environment.region, name=PLATFORM
        )
