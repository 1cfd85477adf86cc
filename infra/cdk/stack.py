"""What every stack has: an id, a state backend, the google provider and labels."""

from pathlib import Path

from infra.cdk import App, GcsBackend, LocalBackend, TerraformStack
from infra.cdk.providers import configure_google
from infra.environment import Environment, StackName


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
            GcsBackend(self, bucket=environment.state_bucket, prefix=name)
        configure_google(
            self,
            project=environment.project_id,
            region=environment.region,
            labels=self.labels,
            simulated=environment.simulated,
        )
