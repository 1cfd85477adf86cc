#!/usr/bin/env bash
# Resolve the packages of each service (services/NAME/requirements.in) and each dependency group of pyproject.toml into
# lock files: versions and hashes only, no index addresses. requirements/dev.lock holds the packages of all services, and
# constrains their own locks, so that tests see the versions that images get.
set -euo pipefail
cd "$(dirname "$0")/.."

compile() {
    local lock=$1
    shift
    build/venvs/tools/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
        --output-file "$lock" "$@"
}

group() {
    local name=$1
    shift
    compile "requirements/$name.lock" --group "pyproject.toml:$name" "$@"
}

python3 -m scripts install
group dev services/*/requirements.in
group infra --constraint requirements/dev.lock
for service in services/*/requirements.in; do
    compile "${service%.in}.lock" "$service" --constraint requirements/dev.lock
done
group airflow
group checkov
group operators --no-deps
group simulator
group site
group tools
group data --no-deps
