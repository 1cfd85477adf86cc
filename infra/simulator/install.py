"""Installs the simulated providers where Terraform finds them without configuration.

Terraform looks into `terraform.d/plugins` of its working directory before it asks a registry, and accepts
what the dependency lock file beside it allows. Without that file, `cdktf` would run `terraform providers
lock`, which asks only registries. With `-chdir`, Terraform looks only if the folder it was called in has a
`terraform.d`: so the root of the repository has one too.

With `cdktf`, Terraform has a cache of providers that all checkouts of a user share. So a provider has the
same bytes in each checkout (a file beside it names the repository), and is zipped: for an unzipped one, the
cache would hold a link into one checkout.
"""

import base64
import hashlib
import json
import os
import stat
import zipfile
from pathlib import Path
from typing import Any, Final

from infra.paths import ROOT
from infra.simulator.home import PLATFORM

_SOURCES: Final = "localhost/simulated/"
VERSIONS: Final = {"google": "8.0.0", "kubernetes": "3.2.1"}  # of the real providers
# Terraform starts a provider in its working directory, shows its standard output if that is no handshake, and
# hides its standard error. Ctrl-C reaches the provider, too, but Terraform waits for changes that have begun.
_LAUNCHER: Final = """\
#!/bin/sh
trap '' INT
IFS= read -r root 2>/dev/null <terraform.d/repository
python="$root/build/venvs/simulator/bin/python"
if [ ! -x "$python" ]; then
    echo "the simulated cloud is not installed in ${{root:-$PWD}}: run 'make install' there"
    exit 1
fi
unset PYTHONDONTWRITEBYTECODE
exec "$python" -I -S "$root/infra/simulator/launcher.py" {name}
"""


def link(outdir: Path) -> None:
    """Give every simulated stack that `cdktf synth` wrote into a folder its providers and a lock file."""
    for configuration in sorted((outdir / "stacks").glob("*/cdk.tf.json")):
        content: dict[str, Any] = json.loads(configuration.read_bytes())
        providers: dict[str, dict[str, str]] = content.get("terraform", {}).get("required_providers", {})
        required = {each["source"]: each["version"] for each in providers.values()}
        if not required or not all(source.startswith(_SOURCES) for source in required):
            continue
        for source in required:
            _install(ROOT, source)
            _install(configuration.parent, source)
        locks = (_lock(source, constraint) for source, constraint in sorted(required.items()))
        (configuration.parent / ".terraform.lock.hcl").write_text("\n".join(locks))
        record = configuration.parent / ".terraform" / "terraform.tfstate"
        if record.exists():
            # Terraform would ask whether to migrate the state of another SIMULATOR_HOME.
            recorded: dict[str, Any] = json.loads(record.read_bytes())["backend"]["config"]
            if recorded.get("path") != content["terraform"].get("backend", {}).get("local", {}).get("path"):
                record.unlink()
    if (ROOT / "terraform.d").exists():
        (ROOT / "terraform.d" / ".gitignore").write_text("*\n")


def _launcher(source: str) -> tuple[str, bytes]:
    """Name and content of the only file of a provider's package."""
    name = source.removeprefix(_SOURCES)
    return f"terraform-provider-{name}_v{VERSIONS[name]}", _LAUNCHER.format(name=name).encode()


def _install(folder: Path, source: str) -> None:
    """Write the package of a provider, and the path of the repository."""
    name, content = _launcher(source)
    file = "_".join((name.replace("_v", "_"), *PLATFORM))
    package = folder / "terraform.d" / "plugins" / source / f"{file}.zip"
    package.parent.mkdir(parents=True, exist_ok=True)
    (folder / "terraform.d" / "repository").write_text(str(ROOT))
    member = zipfile.ZipInfo(name)
    member.external_attr = (stat.S_IFREG | 0o755) << 16
    # Other processes may be reading the package.
    partial = package.with_suffix(f".{os.getpid()}")
    with zipfile.ZipFile(partial, "w") as archive:
        archive.writestr(member, content)
    partial.rename(package)


def _lock(source: str, constraint: str) -> str:
    """The entry of a provider in a lock file, with the hash of a package that has one file."""
    # Scheme `h1` of https://pkg.go.dev/golang.org/x/mod/sumdb/dirhash.
    name, content = _launcher(source)
    version = name.rpartition("_v")[2]
    listing = f"{hashlib.sha256(content).hexdigest()}  {name}\n"
    digest = base64.b64encode(hashlib.sha256(listing.encode()).digest()).decode()
    return f"""\
provider "{source}" {{
  version     = "{version}"
  constraints = "{constraint}"
  hashes = [
    "h1:{digest}",
  ]
}}
"""
