#!/usr/bin/env bash
# Every command of this folder is a link to this file: `scripts/diff` runs the module `diff` of whichever room has it.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$root/.venv/bin/python
[[ -x $python ]] || { echo "not installed yet: run \`make install\` in $root" >&2; exit 1; }
file=$(echo "$root"/scripts/*/"$(basename "$0" .sh)".py)
module=${file#"$root/"}
module=${module%.py}
PYTHONPATH=$root exec "$python" -P -m "${module//\//.}" "$@"
