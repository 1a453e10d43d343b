#!/usr/bin/env bash
# Installs what tests/test_slurm.py and tests/test_kubernetes.py need, which are skipped without: Slurm itself, where root
# has apt-get, and Snakemake's plugins. These go beside .venv's packages: among them, they would cost each start of
# Snakemake a second.
set -euo pipefail
cd "$(dirname "$0")/.."

plugins=.venv/plugins
wanted=$(grep -E '^(snakemake-(executor|storage)-plugin|kubernetes=|google-auth|oauthlib|requests-oauthlib|durationpy|websocket-client|pyasn1)' constraints.txt)
if [ "$(cat $plugins/.ready 2>/dev/null)" != "$wanted" ]; then
    rm -rf $plugins
    # shellcheck disable=SC2086 # a word for each package
    .venv/bin/python -m pip install --quiet --no-deps --target $plugins $wanted
    echo "$wanted" >$plugins/.ready
fi
if ! command -v slurmctld >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update >/dev/null
    apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge >/dev/null
fi
