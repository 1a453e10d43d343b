"""Results that are copied to the remote: which, the check of what has arrived, and what is there without need."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from pose_factory.errors import PoseFactoryError
from pose_factory.storage import Progress, told

FOLDER = "results"
"""Where they are below the config's storage.remote, whatever the folder is called here."""
BESIDE = ("logs", "benchmarks")


def files_of(results: Path, folders: Iterable[str], outputs: Iterable[Path]) -> list[str]:
    """What is to be copied, as paths from `results`: the files right in the `folders`, the logs and benchmarks there,
    and the `outputs`, folders with all that they hold. What the copying itself writes is left out, and what is not
    finished.
    """
    found = [path for folder in folders for name in ("", *BESIDE) for path in (results / folder / name).glob("*")]
    found = [path for path in found if not path.name.startswith("sync")]
    for output in outputs:
        found += output.rglob("*") if output.is_dir() else [output]
    names = {path.relative_to(results).as_posix() for path in found if path.is_file()}
    return sorted(name for name in names if not any(part.startswith(".") for part in name.split("/")))


def push(address: str, results: Path, files: Iterable[str], progress: Progress) -> dict:
    """Copy these files of the folder `results` to the remote, those that differ there, and check all by hash.

    Returns the receipt. Raises PoseFactoryError if not all of them are there in the end.
    """
    from snakemake_executor_plugin_runpod.remote import Item, Remote, md5_of

    files = list(files)
    with told():
        remote = Remote(address) / FOLDER
        remote.push(results, files, progress)
        there = remote.listing(files)
    here = {file: Item((results / file).stat().st_size, md5_of(results / file)) for file in files}
    wrong = [file for file in files if there.get(file) != here[file]]
    if wrong:
        raise PoseFactoryError(
            f"{remote.address}: {len(wrong)} of {len(files)} files are not as they are here, such as '{wrong[0]}',"
            " which something else may have written to; run again."
        )
    return {
        "remote": remote.address,
        "verified": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": {file: {"size": item.size, "md5": item.md5} for file, item in here.items()},
    }


def superfluous(address: str, receipts: Iterable[dict]) -> dict[str, int]:
    """The files below the remote's results that none of these receipts has, with their sizes in bytes.

    Raises PoseFactoryError if the remote cannot be read.
    """
    from snakemake_executor_plugin_runpod.remote import Remote

    kept = {file for receipt in receipts for file in receipt["files"]}
    with told():
        there = (Remote(address) / FOLDER).listing()
    return {file: item.size for file, item in sorted(there.items()) if file not in kept}


def delete(address: str, files: Iterable[str]) -> None:
    """Delete these files below the remote's results. Raises PoseFactoryError if it cannot."""
    from snakemake_executor_plugin_runpod.remote import Remote

    with told():
        (Remote(address) / FOLDER).delete(files)
