"""The cdktf command line for the local environment."""

import os
from typing import Final

VARIABLES: Final = {
    "CI": "true",  # no prompts
    "NO_COLOR": "1",
    "CHECKPOINT_DISABLE": "1",  # no check for a newer version
    "PLATFORM_ENV": "local",
    # A mirror in the user's own configuration would hide the simulated providers from Terraform.
    "TF_CLI_CONFIG_FILE": os.devnull,
}
"""Environment variables of cdktf and of the Terraform that it runs."""


def command(verb: str, *arguments: str) -> tuple[str, ...]:
    """A cdktf command without prompts and colours, to be run in the project's root."""
    return ("node_modules/.bin/cdktf", verb, *arguments, "--auto-approve", "--no-color")
