"""A worker's disk: where jobs run, and the files that are kept from job to job."""

import errno
import os
import re
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from .errors import RemoteError, RunpodError
from .exchange import Exchange

VOLUME = Path("/runpod-volume")
DAY = 24 * 3600


def fetch(exchange: Exchange, files: dict, folder: Path) -> None:
    """Bring an order's files into a new folder, by way of the cache. Raises RunpodError."""
    folder.mkdir()
    cache, limit = cache_folder(), cache_limit()
    for digest, *_ in files["files"].values():
        with suppress(FileNotFoundError):
            os.utime(cache / digest)  # is in use, so the last to be deleted
    try:
        try:
            exchange.pull(files, folder, cache)
        except (OSError, RemoteError) as error:
            if not (is_full(error) or isinstance(error, FileNotFoundError)):
                raise
            if is_full(error):
                prune(cache, 0)
            exchange.pull(files, folder)  # without what was kept there is room, and nobody else who deletes
    except (OSError, RemoteError) as error:
        if not is_full(error):
            raise
        size = sum(size for _, size, _ in files["files"].values()) / 1e9
        raise RunpodError(
            f"The disk of the worker is too small for the job's {size:.3g} GB of files; give the endpoint a larger"
            " container disk."
        ) from None
    prune(cache, limit)


def is_full(error: Exception) -> bool:
    """Whether an error says that there is no room left on a disk."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return bool(re.search("disk is full|quota is used up|remaining disk space", str(error)))


def prune(cache: Path, limit: float) -> None:
    """Delete the files that were used longest ago until the folder holds no more bytes than the limit."""
    used = []
    for path in cache.iterdir():
        with suppress(FileNotFoundError):  # another worker on the same volume was faster
            status = path.stat()
            if path.is_file():
                used.append((status.st_mtime_ns, status.st_size, path))
            elif time.time() - status.st_mtime > DAY:  # what arrived when a worker was killed
                shutil.rmtree(path, ignore_errors=True)
    total = sum(size for _, size, _ in used)
    for _, size, path in sorted(used):
        if total <= limit:
            break
        path.unlink(missing_ok=True)
        total -= size


def work_folder() -> Path:
    """Where each job gets a folder: RUNPOD_WORK, or else one for temporary files."""
    work = Path(os.environ.get("RUNPOD_WORK") or Path(tempfile.gettempdir(), "snakemake-runpod"))
    work.mkdir(parents=True, exist_ok=True)
    return work


def cache_folder() -> Path:
    """Where files are kept from job to job: on the endpoint's volume, which outlives the worker, if it has one."""
    cache = (VOLUME if VOLUME.is_dir() else work_folder()) / "snakemake-runpod-objects"
    cache.mkdir(exist_ok=True)
    return cache


def cache_limit() -> float:
    """How many bytes are kept: RUNPOD_CACHE_GB, or else 10 GB. Raises RunpodError if that is no number."""
    value = os.environ.get("RUNPOD_CACHE_GB") or "10"
    try:
        return float(value) * 1e9
    except ValueError:
        raise RunpodError(f"RUNPOD_CACHE_GB of the endpoint is {value!r}, not a number; change it.") from None
