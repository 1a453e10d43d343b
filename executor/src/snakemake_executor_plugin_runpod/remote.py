"""A folder at an rclone remote.

rclone-python joins its arguments to a line for the shell. So nothing of the user's becomes one: the address may hold
safe characters only, local folders are handed over as links of plain names, and names of files in a list on disk. Keys
reach rclone through the environment, too.
"""

import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unicodedata import category

from .errors import RemoteError

CREDENTIALS = ".r2_credentials"
KEYS = ("R2_ACCOUNT_ID", "R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY")

_UNLISTABLE = {"Cc", "Cs", "Zl", "Zp"}  # controls, what is not UTF-8, and line breaks: a list has a file a line
_ADDRESS = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_-]*):([A-Za-z0-9_.=+/-]+)")
# Size and hash tell what differs, never the time; what arrives is new, whenever it was made.
_COMPARISON = ("--checksum", "--no-traverse", "--no-update-modtime", "--local-no-set-modtime", "--copy-links")
# rclone would try anything again, even what the keys do not allow; here only what may change is.
_PATIENCE = ("--retries=1", "--low-level-retries=2", "--contimeout=10s", "--timeout=60s")
_PARALLEL = ("--transfers=16", "--checkers=32")
ATTEMPTS = 5
"""At anything, unless it fails for a reason that stays."""
WAIT = 1.0
"""Seconds before the second attempt; twice as many before each further one."""
# Buckets that were found to be there, with what rclone was told about them.
_reached: set[tuple] = set()
REFUSED = "it refused the keys"
UNREACHABLE = "it cannot be reached at the moment"
# What rclone and the servers say, and what it means.
_REASONS = {
    r"api error (?:InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|Forbidden|Unauthorized)|access key has length"
    r"|(?:StatusCode:|HTTP error|error) 40[13]\b": REFUSED,
    r"NoSuchBucket|bucket does not exist|directory not found": "there is no such bucket",
    r"RequestTimeTooSkewed": "it says that this machine's clock is wrong; set it",
    r"no space left|too big for remaining disk space": "the disk is full",
    r"quota exceeded": "the disk quota is used up",
    r"didn't find section": "no remote of this name is known to rclone; for r2 set " + ", ".join(KEYS),
    r"connection refused|no such host|network is unreachable|i/o timeout|context deadline|connection reset|\bEOF\b"
    r"|ServiceUnavailable|SlowDown|TooManyRequests|(?:StatusCode:|HTTP error|error) (?:429|50[0234])\b": UNREACHABLE,
}

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Item:
    """A file at the remote: its size in bytes, and its MD5 in hexadecimal digits where the remote knows it."""

    size: int
    md5: str | None


class Remote:
    """A folder at an rclone remote, by its address such as `r2:bucket/folder`.

    The remote `r2` is Cloudflare's R2 with the keys in the environment or in ./.r2_credentials (`settings_of_r2`), any
    other is one of the user's rclone configuration. File names are relative to the folder. All methods raise
    RemoteError.
    """

    def __init__(self, address: str):
        match = _ADDRESS.fullmatch(address)
        if not match or ".." in match[2].split("/"):
            raise RemoteError(
                f"The remote {address!r} is not NAME:BUCKET/FOLDER of letters, digits and _ . = + / -, such as"
                " r2:my-bucket/pose-factory; change it."
            )
        self.address = address.rstrip("/")
        self._name = match[1]
        self._announce()

    def __truediv__(self, path: str) -> "Remote":
        return Remote(f"{self.address}/{path}")

    def __repr__(self) -> str:
        return f"Remote({self.address!r})"

    def listing(self, files: Iterable[str] | None = None) -> dict[str, Item]:
        """All files below this folder, or those of `files` that exist.

        Of the latter, the MD5 is found by reading the file where the remote does not keep it (multipart uploads).
        """
        with self._session(files) as session:
            found = session("ls", args=["--recursive", "--hash", "--files-only", "--no-mimetype", "--no-modtime"])
            items = {entry["Path"]: Item(entry["Size"], entry.get("Hashes", {}).get("md5")) for entry in found}
        unknown = [file for file, item in items.items() if not item.md5] if files is not None else []
        for file in unknown:
            with tempfile.TemporaryDirectory() as folder:
                self.pull(Path(folder), [file])
                items[file] = Item(items[file].size, md5_of(Path(folder) / file))
        return items

    def push(self, folder: Path, files: Iterable[str], progress: Progress | None = None) -> None:
        """Copy these files of a local folder here, where their size or content differs. Links are followed."""
        files = [_listed(file) for file in files]
        for file in files:
            if not (folder / file).is_file():
                raise RemoteError(f"{self.address}: {folder / file} does not exist, so it cannot be sent.")
        self._reach()
        with self._session(files, folder) as session:
            session("copy", progress=progress, to_local=False)

    def pull(self, folder: Path, files: Iterable[str], progress: Progress | None = None) -> None:
        """Copy these files from here to a local folder, where they differ; what is missing here is left out."""
        folder.mkdir(parents=True, exist_ok=True)
        self._reach()
        with self._session(files, folder) as session:
            session("copy", progress=progress, to_local=True)

    def differing(self, folder: Path, files: Iterable[str]) -> list[str]:
        """Those of the files that are missing here, or are not the local folder's by size and MD5."""
        files = sorted(files)
        there = self.listing(files)
        return [
            file for file in files if there.get(file) != Item((folder / file).stat().st_size, md5_of(folder / file))
        ]

    def read(self, file: str) -> bytes | None:
        """The content of a small file; None if there is no such file."""
        with tempfile.TemporaryDirectory() as folder:
            self.pull(Path(folder), [file])
            local = Path(folder, file)
            return local.read_bytes() if local.exists() else None

    def write(self, file: str, data: bytes) -> None:
        """Write a small file; whoever reads it finds all of it or nothing."""
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder, file)
            local.parent.mkdir(parents=True, exist_ok=True)
            local.write_bytes(data)
            self.push(Path(folder), [file])

    def delete(self, files: Iterable[str]) -> None:
        """Delete these files; those that do not exist are no error."""
        self._reach()
        with self._session(files) as session:
            session("delete")

    def _reach(self) -> None:
        """Ask for the bucket, once: a copy would find out what is wrong with it for each file, with patience, and take
        what is in a bucket that is not there for a missing file."""
        self._announce()
        told = sorted(item for item in os.environ.items() if item[0].startswith("RCLONE_"))
        asked = (self.address.partition("/")[0], *told)
        if asked not in _reached:
            self.listing(["anything"])
            _reached.add(asked)

    @contextmanager
    def _session(self, files: Iterable[str] | None, folder: Path | None = None) -> Iterator[Callable]:
        """Something to call rclone-python's functions with by name, on these files alone (None: all)."""
        from rclone_python import rclone
        from rclone_python.logs import logger
        from rclone_python.utils import RcloneException
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

        logger.setLevel("CRITICAL")  # its errors come as exceptions
        again = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, RcloneException) and _may_pass(error.error_msg)),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(WAIT),
            reraise=True,
        )
        self._announce()
        with tempfile.TemporaryDirectory(prefix="rclone-", dir=_plain_folder()) as bench:
            selection, lines = [], [f"{_listed(file)}\n" for file in files or ()]
            if files is not None:
                Path(bench, "files.txt").write_text("".join(lines))
                selection = [f"--files-from-raw={bench}/files.txt"]
            if folder:
                Path(bench, "folder").symlink_to(folder.absolute())

            def call(function: str, progress: Progress | None = None, to_local: bool = False, args: Iterable[str] = ()):
                if files is not None and not lines:
                    return []  # to rclone an empty list is no list: it would take all that is there, or never end
                here, local = f"{self.address}/", f"{bench}/folder/"  # as folders, whatever they are
                arguments = [*args, *_PATIENCE, *selection]
                try:
                    if function != "copy":
                        return again(getattr(rclone, function), here, args=arguments)
                    ends = (here, local) if to_local else (local, here)
                    arguments += [*_COMPARISON, *_PARALLEL]
                    listener = progress and (lambda update: progress(update["progress"], _sentence(update)))
                    return again(rclone.copy, *ends, show_progress=False, listener=listener, args=arguments)
                except RcloneException as error:
                    if function == "ls" and self._name != "r2" and "directory not found" in error.error_msg:
                        return []  # a disk's or a server's folder is there once something is in it
                    raise RemoteError(f"{self.address}: {_reason(error.error_msg)}.") from None

            yield call

    def _announce(self) -> None:
        """Have rclone know this remote, through the environment.

        Only what differs is set: while one thread changes the environment another one cannot start a process.
        """
        # An encrypted configuration must not make rclone wait for a password on the terminal.
        settings = {"RCLONE_ASK_PASSWORD": "false"} | (settings_of_r2() if self._name == "r2" else {})
        here = str(Path(sys.executable).parent)
        if not shutil.which("rclone"):  # it is beside this Python, whose environment may not have been activated
            settings["PATH"] = os.pathsep.join([here, os.environ.get("PATH", os.defpath)])
        for name, value in settings.items():
            if os.environ.get(name) != value:
                os.environ[name] = value


def _plain_folder() -> str:
    """A folder for temporary files whose name means nothing to a shell."""
    usual = tempfile.gettempdir()
    return usual if re.fullmatch(r"[A-Za-z0-9_./-]+", usual) else "/tmp"


def settings_of_r2() -> dict[str, str]:
    """rclone's environment variables that make the remote `r2`, from R2_ACCOUNT_ID, R2_ACCESS_KEY_ID and
    R2_SECRET_ACCESS_KEY, each in the environment or else in ./.r2_credentials as a line NAME=value; R2_ENDPOINT is only
    needed for buckets of a jurisdiction (https://ACCOUNT.eu.r2.cloudflarestorage.com). Empty if none is set: then `r2`
    is up to the user's rclone configuration.

    Raises:
        RemoteError: some are set and others not.
    """
    values = {key: os.environ.get(key) or value for key, value in {**dict.fromkeys(KEYS), **_credentials()}.items()}
    values["R2_ENDPOINT"] = os.environ.get("R2_ENDPOINT") or values.get("R2_ENDPOINT")
    missing = [key for key in KEYS if not values[key]]
    if len(missing) == len(KEYS):
        return {}
    if missing:
        raise RemoteError(
            f"R2: {' and '.join(missing)} not set; export it, or write it to {CREDENTIALS} as NAME=value."
        )
    return {
        f"RCLONE_CONFIG_R2_{key}": value
        for key, value in {
            "TYPE": "s3",
            "PROVIDER": "Cloudflare",
            "REGION": "auto",
            "ENDPOINT": values["R2_ENDPOINT"] or f"https://{values['R2_ACCOUNT_ID']}.r2.cloudflarestorage.com",
            "ACCESS_KEY_ID": values["R2_ACCESS_KEY_ID"],
            "SECRET_ACCESS_KEY": values["R2_SECRET_ACCESS_KEY"],
            "NO_CHECK_BUCKET": "true",  # a key for objects alone may not ask for the bucket
        }.items()
    }


def _credentials() -> Mapping[str, str | None]:
    from dotenv import dotenv_values

    return dotenv_values(CREDENTIALS, interpolate=False) if Path(CREDENTIALS).is_file() else {}


def md5_of(file: Path) -> str:
    """The MD5 of a file's content, in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _listed(file: str) -> str:
    if any(category(character) in _UNLISTABLE for character in file):
        raise RemoteError(f"The file name {file!r} has a line break or another control character; rename it.")
    return file


def _sentence(update: dict) -> str:
    gib = 1 << 30
    scale, unit = (gib, "GiB") if update["total"] >= gib else (1 << 20, "MiB")
    return f"{update['sent'] / scale:.1f} of {update['total'] / scale:.1f} {unit}"


def _may_pass(message: str) -> bool:
    """Whether a failure may be gone in a moment. What rclone alone knows may: a damaged transfer, a file that grows."""
    return _reason(message) not in {*_REASONS.values()} - {UNREACHABLE}


def _reason(message: str) -> str:
    for pattern, reason in _REASONS.items():
        if re.search(pattern, message, re.IGNORECASE):
            return reason
    lines = [line for line in message.splitlines() if line.strip()]
    return lines[-1].strip().rstrip(".") if lines else "rclone failed without a word"
