#!/usr/bin/env bash
# Installs Chromium, without which tests/test_service_page.py is skipped, where root has apt-get.
set -euo pipefail
if ! command -v chromium >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update >/dev/null
    apt-get install -y --no-install-recommends chromium >/dev/null
fi
