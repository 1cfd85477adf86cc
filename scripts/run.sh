#!/usr/bin/env bash
# The commands of this folder are links to this file: `scripts/diff` runs the module `diff` of the folder that has it.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[[ -x $root/.venv/bin/python ]] || { echo "not installed yet: run \`make install\` in $root" >&2; exit 1; }
module=$(cd "$root" && echo scripts/*/"$(basename "$0" .sh)".py)
module=${module%.py}
PYTHONPATH=$root exec "$root/.venv/bin/python" -P -m "${module//\//.}" "$@"
