"""Reading and writing JSON and Parquet, always atomically: a file is either whole or absent."""

import errno
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pose_factory.errors import PoseFactoryError

if TYPE_CHECKING:  # half of the stages have no table and need not wait a third of a second for pandas
    import pandas as pd

METADATA_KEY = b"pose_factory"
_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free some space or fix its folder"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "allow writing in its folder, or name another"),
    errno.EISDIR: "rename the folder that is in its place",
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR), "rename the file that is in the place of its folder"),
    errno.ENAMETOOLONG: "give it a shorter name",
}


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix); on success it replaces `path`, on failure it is removed."""
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise _told(path, error) from error
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on success it replaces `path`, on failure it is removed."""
    path = Path(path)
    partial = path.with_name(f".{path.name}-partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)  # of a job that was killed
        partial.mkdir(parents=True)
        yield partial
        shutil.rmtree(path, ignore_errors=True)
        partial.rename(path)
    except OSError as error:
        raise _told(path, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(path: str | Path, data: dict) -> None:
    """Write `data` as indented JSON; the same data gives the same bytes."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def json_safe(value):
    """`value` with None in the place of numbers that JSON does not have: NaN and infinity."""
    if isinstance(value, dict):
        return {key: json_safe(item) for key, item in value.items()}
    if isinstance(value, list):
        return [json_safe(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: str | Path) -> dict:
    """The JSON object in `path`."""
    return json.loads(Path(path).read_text())


def write_table(path: str | Path, table: "pd.DataFrame", about: dict) -> None:
    """Write `table` as Parquet with `about` (schema name, units, frames of reference, joint names) in its metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow = pa.Table.from_pandas(table, preserve_index=False)
    metadata = {**(arrow.schema.metadata or {}), METADATA_KEY: json.dumps(about).encode()}
    with atomic(path) as temporary:
        pq.write_table(arrow.replace_schema_metadata(metadata), temporary, compression="zstd")


def read_table(path: str | Path) -> "pd.DataFrame":
    """The table in `path`."""
    import pandas as pd

    return pd.read_parquet(path)


def read_about(path: str | Path) -> dict:
    """What `write_table` was told about the table in `path`."""
    import pyarrow.parquet as pq

    return json.loads(pq.read_schema(path).metadata[METADATA_KEY])


def _told(path: Path, error: OSError) -> PoseFactoryError:
    reason = os.strerror(error.errno) if error.errno else error
    advice = _ADVICE.get(error.errno, "look whether its disk and folder are sound")
    return PoseFactoryError(f"Cannot write {path}: {reason}; {advice}.")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
