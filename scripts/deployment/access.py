"""What a command looks for before it starts: a login, the right project, secrets that no file has."""

import os
from typing import Final

import google.auth
import google.auth.transport.requests
from google.auth.credentials import Credentials

from infra.environment import Environment
from scripts.command import CommandError
from scripts.deployment import gcloud

SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
_PAGERDUTY_KEY: Final = "TF_VAR_pagerduty_service_key"


def check_access(target: Environment) -> None:
    """Look once for what Terraform needs in each stack: secrets (CommandError), a login (GoogleAuthError)."""
    secrets(target)
    if not target.simulated:
        check_login()


def secrets(target: Environment) -> str:
    """Values that no file has are given, or CommandError: Terraform would wait for somebody to type them."""
    if target.alerting.pagerduty and not os.environ.get(_PAGERDUTY_KEY):
        raise CommandError(f"set {_PAGERDUTY_KEY}: a key of PagerDuty's Events API v2")
    return "all are given"


def check_login() -> Credentials:
    """Application Default Credentials with a token; GoogleAuthError if they are absent or have expired."""
    credentials, _ = google.auth.default(scopes=SCOPES)
    credentials.refresh(google.auth.transport.requests.Request())
    return credentials


def project(target: Environment) -> str:
    """The project is the one that the file names, or CommandError."""
    found = gcloud.ask("projects", "describe", target.project_id)
    if int(found["projectNumber"]) != target.project_number:
        raise CommandError(
            f"project {target.project_id} has the number {found['projectNumber']}, not "
            f"{target.project_number}: correct project_number of {target.name}.tfvars"
        )
    return f"{target.project_id}, number {target.project_number}"
