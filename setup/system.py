"""Check the programs and system libraries that pip cannot bring; on Debian and Ubuntu, root gets them installed."""

import ctypes
import os
import shutil
import subprocess
import sys

# What bpy (b) and cv2 (c) load, and the Debian package each is in.
LIBRARIES = {
    "libX11.so.6": "libx11-6",  # b c
    "libXext.so.6": "libxext6",  # b c
    "libXfixes.so.3": "libxfixes3",  # b
    "libXi.so.6": "libxi6",  # b
    "libXrender.so.1": "libxrender1",  # b
    "libxkbcommon.so.0": "libxkbcommon0",  # b
    "libSM.so.6": "libsm6",  # b c
    "libICE.so.6": "libice6",  # b c
    "libxcb.so.1": "libxcb1",  # c
    "libGL.so.1": "libgl1",  # b c
    "libEGL.so.1": "libegl1",  # b, for eevee and workbench
    "libEGL_mesa.so.0": "libegl-mesa0",  # the same, where there is no GPU
    "libgthread-2.0.so.0": "libglib2.0-0",  # c
}


def missing_packages() -> dict[str, str]:
    """{what is missing: the package that brings it}."""
    missing = {} if shutil.which("dot") else {"dot": "graphviz"}
    if sys.platform == "linux":
        missing |= {library: package for library, package in LIBRARIES.items() if not _loads(library)}
    return missing


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def main() -> None:
    missing = missing_packages()
    if not missing:
        return
    packages = " ".join(sorted(set(missing.values())))
    install = f"apt-get install -y --no-install-recommends {packages}"
    has_apt = shutil.which("apt-get") is not None
    if has_apt and os.geteuid() == 0:
        print(f"Installing {packages}.", flush=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in ("apt-get update", install):
            subprocess.run(command.split(), check=False, env=environment, stdout=subprocess.DEVNULL)
        missing = missing_packages()
    if missing:
        if sys.platform == "darwin":
            advice = f"install it with: brew install {packages}"
        elif has_apt:
            advice = f"install them with: sudo apt-get update && sudo {install}"
        else:
            advice = f"install what Debian calls {packages}"
        sys.exit(f"Error: {', '.join(missing)} missing on this system; {advice}")


if __name__ == "__main__":
    main()
