#!/usr/bin/env bash
# Makes .venv with the pinned packages, checks the system libraries, and prepares Anny's model.
# Runs before every make target: when nothing has changed it takes a tenth of a second.
#
# PYTHON=/path/to/python3.11  which Python to use (default: the first 3.11 found)
# TORCH=cpu                   on Linux, takes PyTorch's build without CUDA, which saves several GB; for machines without
#                             an NVIDIA GPU. It comes from PyTorch's own package index.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "Error: $*" >&2
    exit 1
}

is_python_311() {
    "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null
}

# The interpreter itself where the given one belongs to a virtual environment, which may be the one about to be remade.
base_of() {
    "$1" -c 'import sys; print(sys._base_executable)'
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        is_python_311 "$PYTHON" || fail "PYTHON is '$PYTHON', which is not a Python 3.11; bpy needs exactly that version."
        base_of "$PYTHON"
        return
    fi
    for candidate in python3.11 python3 python "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.11*/bin/python3.11 \
        /opt/homebrew/bin/python3.11 /usr/local/bin/python3.11; do
        if is_python_311 "$candidate"; then
            base_of "$candidate"
            return
        fi
    done
    fail "Python 3.11 was not found and bpy needs exactly that version; install it with" \
        "'sudo apt-get install -y python3.11 python3.11-venv' (Debian 12; on Ubuntu first 'sudo add-apt-repository" \
        "ppa:deadsnakes/ppa'), 'brew install python@3.11' (macOS) or 'pyenv install 3.11', or name one with PYTHON=/path/to/it."
}

# Half-made, moved to another folder, or of another Python: then it must be made anew.
is_venv_sound() {
    is_python_311 .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1 &&
        head -n 2 .venv/bin/pip 2>/dev/null | grep -qF "$PWD/.venv/bin/python"
}

make_venv() {
    python=$(find_python)
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "Python 3.11 is there, but not its venv module; install it with 'sudo apt-get install -y python3.11-venv'."
    echo "Making .venv with $("$python" --version)."
    rm -rf .venv
    "$python" -m venv .venv
}

install_packages() {
    pip=(.venv/bin/python -m pip --disable-pip-version-check install --constraint constraints.txt)
    if [ "${TORCH:-}" = cpu ]; then
        "${pip[@]}" --index-url https://download.pytorch.org/whl/cpu torch
    fi
    "${pip[@]}" --editable ./executor --editable '.[dev]'
    # Tests and benchmarks load one file of it by its path; as a package it cannot be imported, so it needs nothing else.
    "${pip[@]}" --no-deps phalp
}

warm_anny() {
    echo "Preparing Anny's body model; the first time this takes a minute or two (kept in ${ANNY_CACHE_DIR:-~/.cache/anny})."
    output=$(.venv/bin/python -c 'import anny; [anny.Anny(rig="mixamo", local_changes=changes) for changes in ("none", "default")]' 2>&1) || fail "it cannot be built: $output"
}

wanted="$PWD $(cat pyproject.toml executor/pyproject.toml constraints.txt | cksum)"
if [ "$(cat .venv/.ready 2>/dev/null)" = "$wanted" ] && [ -x .venv/bin/python ]; then
    exec .venv/bin/python setup/system.py
fi
rm -f .venv/.ready
is_venv_sound || make_venv
.venv/bin/python setup/system.py
echo "Installing the pinned packages: about 1.5 GB to download and 4 GB on disk."
install_packages
warm_anny
echo "$wanted" >.venv/.ready
echo "The set-up is complete."
