"""Put the simulated providers where Terraform finds them, without any configuration of Terraform.

Terraform looks into `terraform.d/plugins` of the folder it works in before it asks a registry, and takes what
the dependency lock file beside it allows; without that file, `cdktf` would run `terraform providers lock`,
which asks registries only. With `-chdir`, whether Terraform looks at all depends on the folder it was called
in: the root of the repository has the same `terraform.d`.

`cdktf` has Terraform keep providers in a cache that all checkouts of a user share. So a provider is the same
in each to the byte (it asks its folder where the repository is), and zipped: of an unzipped one the cache
would hold a link to somebody else's folder.
"""

import base64
import hashlib
import json
import os
import platform
import stat
import zipfile
from pathlib import Path
from typing import Any, Final

_ROOT: Final = Path(__file__).resolve().parents[2]
_SOURCES: Final = "localhost/simulated/"
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
# Terraform starts a provider in the folder it works in, shows what it writes to standard output instead of a
# handshake, and hides standard error.
_LAUNCHER: Final = """\
#!/bin/sh
root=$(cat terraform.d/repository 2>/dev/null)
python="$root/build/venvs/simulator/bin/python"
if [ ! -x "$python" ]; then
    echo "the simulated cloud is not installed in ${{root:-$PWD}}: run 'make install' there"
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
            _install(configuration.parent, source, version)
        locks = (_lock(source, version) for source, version in required)
        (configuration.parent / ".terraform.lock.hcl").write_text("\n".join(locks))
        _forget_other_states(configuration.parent, content["terraform"].get("backend", {}))
    if (_ROOT / "terraform.d").exists():
        (_ROOT / "terraform.d" / ".gitignore").write_text("*\n")


def _forget_other_states(folder: Path, backend: dict[str, Any]) -> None:
    """Remove Terraform's note of where the state was, if that was another SIMULATOR_HOME's.

    Terraform would ask whether to migrate that state, which belongs to another cloud.
    """
    note = folder / ".terraform" / "terraform.tfstate"
    if note.exists():
        noted: dict[str, Any] = json.loads(note.read_bytes())["backend"]["config"]
        if noted.get("path") != backend.get("local", {}).get("path"):
            note.unlink()


def _launcher(source: str, version: str) -> tuple[str, bytes]:
    """Name and content of a provider's only file."""
    name = source.rpartition("/")[2]
    return f"terraform-provider-{name}_v{version}", _LAUNCHER.format(name=name).encode()


def _install(folder: Path, source: str, version: str) -> None:
    """Write the package of a provider, and where the repository is."""
    name, content = _launcher(source, version)
    machine = platform.machine()
    target = f"{platform.system().lower()}_{_ARCHITECTURES.get(machine, machine)}"
    package = folder / "terraform.d" / "plugins" / source / f"{name.replace('_v', '_')}_{target}.zip"
    package.parent.mkdir(parents=True, exist_ok=True)
    (folder / "terraform.d" / "repository").write_text(str(_ROOT))
    member = zipfile.ZipInfo(name)
    member.external_attr = (stat.S_IFREG | 0o755) << 16
    # Others may be reading it at this moment.
    partial = package.with_suffix(f".{os.getpid()}")
    with zipfile.ZipFile(partial, "w") as archive:
        archive.writestr(member, content)
    partial.rename(package)


def _lock(source: str, version: str) -> str:
    """The entry of a provider in a lock file.

    Its hash is that of a package with one file, scheme `h1` of
    https://pkg.go.dev/golang.org/x/mod/sumdb/dirhash.
    """
    name, content = _launcher(source, version)
    listing = f"{hashlib.sha256(content).hexdigest()}  {name}\n"
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
