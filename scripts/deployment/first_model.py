"""Train the first model in the cluster, once sales are loaded: `scripts/first_model dev`.

Runs the Job `first-model` of the services stack, again if it has run, and makes what it needs. The Job does
nothing where a model is published. Where there is Airflow, there is no such Job: its pipeline trains.
Exit status: 0 done, 1 failed, 2 wrong arguments.
"""

import sys
from typing import Final

from infra.environment import Environment
from scripts.command import TARGET, CommandError, command
from scripts.deployment import access, terraform
from scripts.deployment.terraform import Terraform

_JOB: Final = "kubernetes_job_v1.first-model"


@command("first_model", TARGET)
def main(target: Environment) -> int:
    """Run the Job, and wait for its end."""
    if not target.trains_by_job:
        raise CommandError(f"{target.name} has no such Job: trigger its pipeline in Airflow")
    access.check_access(target)
    synthesis = terraform.synthesize(target.name, terraform.OUT)
    services = Terraform(synthesis, f"{target.name}-services")
    for words in (("init", "-upgrade"), ("apply", "-auto-approve", f"-replace={_JOB}", f"-target={_JOB}")):
        print(services.must(*words, "-input=false", "-no-color"), file=sys.stderr)
    return 0
