#!/usr/bin/env bash
# Debian packages that tests and benchmarks use, and without which they skip: for CI and for who wants them all.
# Needs root. The platform itself needs none of them.
set -euo pipefail
packages=(
  chromium # the page of the prediction service
  buildah docker-registry mmdebstrap netavark podman runc skopeo uidmap # images
  nginx-light wrk # bench-serving
  prometheus # promtool, which evaluates alerts
)
missing=()
for package in "${packages[@]}"; do
  dpkg-query --show --showformat='${Status}\n' "$package" 2>/dev/null | grep -q '^install ok' || missing+=("$package")
done
if ((${#missing[@]})); then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
fi
