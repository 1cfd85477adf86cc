"""What every stack has: an id, a state backend, the google provider and labels."""

from pathlib import Path
from typing import Final

from infra.environment import Environment, StackName
from infra.providers import App, GcsBackend, LocalBackend, TerraformStack, configure_google

PLATFORM: Final = "sales-forecast"
"""Name of what there is one of per environment: the network, the cluster, the image repository ..."""


def state_bucket(environment: Environment) -> str:
    """The bucket of Terraform's states. It is older than all stacks."""
    return f"{environment.project_id}-tfstate"


class PlatformStack(TerraformStack):
    """A layer of the platform in one environment; its id is `<environment>-<name>`.

    Args:
        scope: the app.
        name: the layer.
        environment: where.
        simulator_home: folder that holds the state of simulated environments.
    """

    def __init__(self, scope: App, name: StackName, *, environment: Environment, simulator_home: Path):
        super().__init__(scope, f"{environment.name}-{name}")
        self.environment = environment
        self.labels = {"environment": environment.name, "stack": name, "managed_by": "terraform"}
        self.add_override("terraform.required_version", ">= 1.6")
        if environment.simulated:
            LocalBackend(self, path=str(simulator_home / "terraform" / f"{environment.name}-{name}.tfstate"))
        else:
            GcsBackend(self, bucket=state_bucket(environment), prefix=name)
        configure_google(
            self,
            project=environment.project_id,
            region=environment.region,
            labels=self.labels,
            simulated=environment.simulated,
        )
