"""gcloud's command line."""

import json
import time
from typing import Any, Final

from scripts.command import CommandError, captured

_TRIES: Final = 12
_PAUSE_SECONDS: Final = 10


def run(*arguments: str) -> str:
    """What a command prints; CommandError if it failed, or gcloud is absent."""
    command = ["gcloud", *arguments, "--quiet"]
    tries = 0
    while True:
        tries += 1
        try:
            done = captured(*command)
        except FileNotFoundError:
            raise CommandError("gcloud is not on PATH: https://cloud.google.com/sdk/docs/install") from None
        if done.returncode == 0:
            return done.stdout
        # An API that was just enabled is refused for a minute or two.
        if tries == _TRIES or "it is disabled" not in done.stderr:
            raise CommandError(f"`{' '.join(command)}`:\n    {done.stderr.strip()}")
        time.sleep(_PAUSE_SECONDS)


def ask(*arguments: str) -> Any:
    """What a command answers, from its JSON; CommandError as `run`."""
    return json.loads(run(*arguments, "--format=json"))
