"""What every workflow script does around its work: send output to the job's log, and turn errors into one sentence."""

import errno
import logging
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pose_factory import gpus
from pose_factory.errors import PoseFactoryError


@contextmanager
def job(snakemake) -> Iterator[Path]:
    """Run a script's body with stdout and stderr (Blender's and the libraries' too) going to the rule's log, which it
    yields. The process ends with it. A job with the resource `gpu` has one GPU of several to itself.

    A PoseFactoryError, or a full disk, ends the process with status 1 and its sentence in the log and on the console;
    any other exception leaves its traceback in the log, too. Ctrl-C, a kill or a crash are told of by another process.
    """
    log = Path(snakemake.log[0])
    label = " ".join([snakemake.rule, *map(str, dict(snakemake.wildcards).values())])
    console = os.dup(2)
    with log.open("w") as stream:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("pose_factory").setLevel(logging.INFO)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # at once; Blender's callbacks would swallow a KeyboardInterrupt
    stopped = "its process was interrupted, killed (out of memory?) or crashed; run again to go on."
    witness = _witness(f"Error: {label}: {stopped}", console)
    sentence = ""
    try:
        if snakemake.resources.get("gpu"):
            gpus.take()
        yield log
        sys.stdout.flush()
        sys.stderr.flush()
    except PoseFactoryError as error:
        sentence = str(error)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            traceback.print_exc()
        sentence = f"{error.strerror or error}: {error.filename or 'its output'} (see {log})."
    except MemoryError:
        sentence = "out of memory; lower the resolution or run fewer jobs at once (--cores)."
    except Exception as error:  # noqa: BLE001 - the last resort: the reader gets a line, the log the traceback
        traceback.print_exc()
        first_line = str(error).partition("\n")[0]
        sentence = f"{type(error).__name__}: {first_line} (see {log})."
    witness.kill()
    if sentence:
        os.write(console, f"Error: {label}: {sentence}\n".encode())
        with suppress(OSError):  # the disk that holds the log may be full
            print(f"Error: {label}: {sentence}", file=sys.stderr, flush=True)
    # bpy 4.5 may crash as Python ends, or wait for one of its own threads for ever: the job is done, so end it here.
    os._exit(1 if sentence else 0)


def _witness(sentence: str, console: int) -> subprocess.Popen:
    """A process that tells the end of this one, which closes the pipe between them, unless it is stopped before."""
    command = ["sh", "-c", 'read -r _; echo "$1"; echo "$1" >&2', "sh", sentence]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=console, start_new_session=True)
