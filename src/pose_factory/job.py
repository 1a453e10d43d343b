"""What every workflow script does around its work: send output to the job's log, and turn errors into one sentence."""

import errno
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pose_factory.errors import PoseFactoryError


@contextmanager
def job(snakemake) -> Iterator[Path]:
    """Run a script's body with stdout and stderr (Blender's and the libraries' too) going to the rule's log, which it
    yields.

    A PoseFactoryError, or a full disk, ends the process with status 1 and its sentence in the log and on the console;
    any other exception leaves its traceback in the log and one line on the console.
    """
    log = Path(snakemake.log[0])
    label = " ".join([snakemake.rule, *map(str, dict(snakemake.wildcards).values())])
    console = os.dup(2)
    with log.open("w") as stream:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    try:
        yield log
    except PoseFactoryError as error:
        _fail(console, f"{label}: {error}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            traceback.print_exc()
        _fail(console, f"{label}: {error.strerror or error}: {error.filename or 'its output'} (see {log}).")
    except MemoryError:
        _fail(console, f"{label}: out of memory; lower the resolution or run fewer jobs at once (--cores).")
    except Exception as error:  # noqa: BLE001 - the last resort: the reader gets a line, the log the traceback
        traceback.print_exc()
        first_line = str(error).partition("\n")[0]
        _fail(console, f"{label}: {type(error).__name__}: {first_line} (see {log}).")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _fail(console: int, sentence: str) -> None:
    print(f"Error: {sentence}", file=sys.stderr, flush=True)
    os.write(console, f"Error: {sentence}\n".encode())
    # bpy's own atexit handlers may crash after a failed import, which would hide the status.
    os._exit(1)
