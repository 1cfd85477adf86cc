"""What cdktf runs (`app` of cdktf.json): synthesize every stack of every selected environment.

Variables that select, all optional:

- `PLATFORM_ENV`: one environment instead of all.
- `PLATFORM_CLOUD=simulated`: apply any environment on this machine, whatever its file says.
- `PLATFORM_ENVIRONMENTS`: folder of the environment files instead of `infra/environments`.
- `SIMULATOR_HOME`: folder of the simulated cloud instead of `.local`.
"""

import os
import sys
from pathlib import Path

from infra import environment
from infra.environment import InvalidEnvironmentError
from infra.simulator import install
from services.contracts.released import IncompatibleSchemaError


def main() -> int:
    """Returns the exit status: 2 for variables, environment files or schemas that cannot be used."""
    name, cloud = os.environ.get("PLATFORM_ENV"), os.environ.get("PLATFORM_CLOUD")
    if cloud not in ("google", "simulated", None):
        print(f"PLATFORM_CLOUD: expected google or simulated, found {cloud}", file=sys.stderr)
        return 2
    try:
        folder = environment.directory()
        if name:
            environments = (environment.load(name, directory=folder, cloud=cloud),)
        else:
            environments = environment.load_all(directory=folder, cloud=cloud)
        # Imported after the files are validated: this starts the Node process of cdktf.
        from infra.cdk import App
        from stacks.platform import build

        app = App()
        for each in environments:
            build(app, each)
    except (InvalidEnvironmentError, IncompatibleSchemaError) as error:
        print(error, file=sys.stderr)
        return 2
    app.synth()
    if any(each.simulated for each in environments):
        install.link(Path(app.outdir))
    return 0


if __name__ == "__main__":
    sys.exit(main())
