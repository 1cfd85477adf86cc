#!/usr/bin/env bash
# The commands of this folder are links to this file: `scripts/diff` runs the module `diff` of the folder that has it.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
name=$(basename "$0" .sh)
python=$root/.venv/bin/python
[[ -x $python ]] || { echo "not installed yet: run \`make install\` in $root" >&2; exit 1; }
file=$(echo "$root"/scripts/*/"$name".py)
[[ -f $file ]] || { echo "scripts/$name: no module $name.py in exactly one folder of scripts/" >&2; exit 1; }
module=${file#"$root/"}
module=${module%.py}
PYTHONPATH=$root exec "$python" -P -m "${module//\//.}" "$@"
