"""Jobs that use a GPU get one each: the first of this machine that no other job of this user has taken.

A GPU is taken by a lock on a file. The lock ends with the process, however that ends, so nothing is left to tidy up.
"""

import fcntl
import logging
import os
import re
import shutil
import subprocess
import tempfile
import time
from itertools import takewhile
from pathlib import Path

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5


def take() -> str | None:
    """Take a GPU until this process ends, and make it the only one that CUDA shows to it; wait while none is free.

    To be called before CUDA is first used. Returns the GPU's name; None where there are not several to choose from: an
    only GPU is shared by all jobs, unless Snakemake is told `--resources gpu=1`.
    """
    gpus = visible()
    if len(gpus) < 2:
        return None
    folder = Path(tempfile.gettempdir()) / f"pose_factory-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    told = False
    while (gpu := next((name for name in gpus if _lock(folder / name)), None)) is None:
        if not told:
            log.info("Waiting for one of the GPUs %s.", ", ".join(gpus))
            told = True
        time.sleep(POLL_SECONDS)
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    log.info("On the GPU %s.", gpu)
    return gpu


def visible() -> list[str]:
    """The GPUs to choose from: those that CUDA_VISIBLE_DEVICES names where it is set, else all that the driver lists.

    PyTorch is not asked: it would see no change of CUDA_VISIBLE_DEVICES from then on.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:  # CUDA stops at the first name that is none, such as -1
        names = (name.strip() for name in named.split(","))
        return list(takewhile(re.compile(r"\d+$|GPU-|MIG-").match, names))
    if shutil.which("nvidia-smi") is None:
        return []
    # By UUID, because nvidia-smi and CUDA may count differently.
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return re.findall(r"^GPU \d+: .*\(UUID: (GPU-[\w-]+)\)$", listed, re.MULTILINE)


def _lock(path: Path) -> bool:
    """Lock this file until the process ends, unless another one has."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    return True  # the descriptor stays open, and with it the lock
