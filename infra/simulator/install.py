"""Put the simulated providers where Terraform finds them, without any configuration of Terraform.

Terraform looks into `terraform.d/plugins` of the folder it works in before it asks a registry, and takes what
the dependency lock file beside it allows; without that file, `cdktf` would run `terraform providers lock`,
which asks registries only. With `-chdir`, whether Terraform looks at all depends on the folder it was called
in: the root of the repository has the same `terraform.d`.
"""

import base64
import hashlib
import json
import platform
import shlex
from pathlib import Path
from typing import Any, Final

_ROOT: Final = Path(__file__).resolve().parents[2]
_SOURCES: Final = "localhost/simulated/"
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
# Terraform shows what a plugin writes to standard output instead of a handshake, and hides standard error.
_LAUNCHER: Final = """\
#!/bin/sh
root={root}
python="$root/build/venvs/simulator/bin/python"
if [ ! -x "$python" ]; then
    echo "the simulated cloud is not installed in $root: run 'make install' there"
    exit 1
fi
unset PYTHONDONTWRITEBYTECODE
PYTHONPATH="$root" exec "$python" -P -m infra.simulator.provider {name}
"""


def link(outdir: Path) -> None:
    """Give every simulated stack of a synthesized app its providers and their lock file.

    Args:
        outdir: The folder that `cdktf synth` wrote, `cdktf.out` as a rule.
    """
    for configuration in sorted((outdir / "stacks").glob("*/cdk.tf.json")):
        content: dict[str, Any] = json.loads(configuration.read_bytes())
        providers: dict[str, dict[str, str]] = content.get("terraform", {}).get("required_providers", {})
        required = sorted((each["source"], each["version"]) for each in providers.values())
        if not required or not all(source.startswith(_SOURCES) for source, _ in required):
            continue
        for source, version in required:
            _install(_ROOT, source, version)
        folder = configuration.parent
        locks = (_lock(source, version, _install(folder, source, version)) for source, version in required)
        (folder / ".terraform.lock.hcl").write_text("\n".join(locks))
    if (_ROOT / "terraform.d").exists():
        (_ROOT / "terraform.d" / ".gitignore").write_text("*\n")


def _install(folder: Path, source: str, version: str) -> Path:
    """Write the launcher of a provider and return it."""
    name = source.rpartition("/")[2]
    machine = platform.machine()
    target = f"{platform.system().lower()}_{_ARCHITECTURES.get(machine, machine)}"
    package = folder / "terraform.d" / "plugins" / source / version / target
    package.mkdir(parents=True, exist_ok=True)
    launcher = package / f"terraform-provider-{name}_v{version}"
    content = _LAUNCHER.format(root=shlex.quote(str(_ROOT)), name=name)
    # Others may be reading it at this moment.
    if not launcher.exists() or launcher.read_text() != content:
        launcher.write_text(content)
        launcher.chmod(0o755)
    return launcher


def _lock(source: str, version: str, launcher: Path) -> str:
    """The entry of a provider in a lock file.

    Its hash is that of a package folder with one file, scheme `h1` of
    https://pkg.go.dev/golang.org/x/mod/sumdb/dirhash.
    """
    listing = f"{hashlib.sha256(launcher.read_bytes()).hexdigest()}  {launcher.name}\n"
    digest = base64.b64encode(hashlib.sha256(listing.encode()).digest()).decode()
    return f"""\
provider "{source}" {{
  version     = "{version}"
  constraints = "{version}"
  hashes = [
    "h1:{digest}",
  ]
}}
"""
