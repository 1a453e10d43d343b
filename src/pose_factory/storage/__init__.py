"""Sources and results at an rclone remote, such as a bucket of Cloudflare's R2."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pose_factory.errors import PoseFactoryError

Say = Callable[[str], None]
Progress = Callable[[float, str], None]

TELL_EVERY = 10.0
"""Seconds between two lines about the progress of a transfer."""


@contextmanager
def told() -> Iterator[None]:
    """Raise the remote's errors, which are sentences, as PoseFactoryError."""
    from snakemake_executor_plugin_runpod.errors import RemoteError

    try:
        yield
    except RemoteError as error:
        raise PoseFactoryError(str(error)) from None


def aloud() -> Say:
    """What says a line in a job's log and on the console, too; to be made before the job begins."""
    console = os.dup(2)

    def say(line: str) -> None:
        print(line, flush=True)
        os.write(console, f"{line}\n".encode())

    return say


def progress(what: str, say: Say) -> Progress:
    """What a transfer calls with the fraction that is done and a sentence; a long one it tells of now and then."""
    last = time.monotonic()

    def update(fraction: float, sentence: str) -> None:
        nonlocal last
        if time.monotonic() - last >= TELL_EVERY:
            last = time.monotonic()
            say(f"{what}: {fraction:.0%}, {sentence}")

    return update
