#!/usr/bin/env bash
# For a pod of RunPod with a stock template, as root: sets everything up, runs the workflow on the pod's GPUs, and copies
# what it makes to the bucket that the config names (storage.remote).
#
#   bash setup/pod.sh [--terminate] [arguments of snakemake]
#
# --terminate ends the pod afterwards, also when jobs failed, but not before all results are in the bucket. It needs
# RUNPOD_API_KEY and RUNPOD_POD_ID, which RunPod sets; the bucket needs R2_ACCOUNT_ID and its keys. The run goes on when
# the connection breaks; all that it says is in .snakemake/pod.log.
set -euo pipefail
cd "$(dirname "$0")/.."

has_python() {
    python3.11 -c 'import ensurepip, venv' 2>/dev/null
}

install_python() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update
    if grep -q '^ID=ubuntu' /etc/os-release; then # whose own python3.11 is none, or a release candidate
        apt-get install -y --no-install-recommends software-properties-common gpg-agent
        add-apt-repository -y ppa:deadsnakes/ppa
    fi
    apt-get install -y --no-install-recommends python3.11 python3.11-venv
}

run() {
    if ! has_python && [ -z "${PYTHON:-}" ]; then
        echo "Installing Python 3.11."
        install_python >/dev/null
    fi
    setup/setup.sh
    exec .venv/bin/python -m pose_factory.pod "$@"
}

trap '' HUP
mkdir -p .snakemake
run "$@" 2>&1 | tee --ignore-interrupts --append .snakemake/pod.log
