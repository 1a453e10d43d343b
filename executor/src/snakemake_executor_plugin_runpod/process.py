"""A job's processes on a worker: started without keys, stopped at their limit, and none left behind."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

TIMED_OUT = 124  # as timeout(1) says it
PATIENCE_SECONDS = 5  # RunPod, too, kills soon after it has asked
# The service's own keys and addresses, and what Remote sets for rclone, are no business of the jobs either.
_KEPT_BACK = ("R2_", "RCLONE_", "RUNPOD_")


async def run(command: str, folder: Path, log: Path, timeout: float) -> tuple[int, str | None]:
    """Run a shell command with its output in the log; its exit status, and a sentence unless that is 0.

    None of its process group outlives this, however it ends.
    """
    with log.open("wb") as stream:
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", command),
            cwd=folder,
            env=environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stream,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        async with asyncio.timeout(timeout):
            status = await process.wait()
    except TimeoutError:
        return TIMED_OUT, f"The job was stopped after {timeout:g} s, the limit that its `runtime` sets."
    finally:
        await end(process)
    if status in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return 128 + signal.SIGKILL, "The job was killed, probably because the worker's memory was used up."
    status = 128 - status if status < 0 else status  # as a shell says it: -1 has a meaning of its own
    return status, f"The job failed with status {status}; see its log." if status else None


async def end(process: asyncio.subprocess.Process) -> None:
    """End all processes of the group: they are asked to, then killed; at once, if this is cancelled, too."""
    try:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await process.wait()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def environment() -> dict[str, str]:
    """What a job sees: no keys, and this Python first."""
    inherited = {name: os.environ[name] for name in os.environ if not name.startswith(_KEPT_BACK)}
    path = os.pathsep.join(filter(None, [str(Path(sys.executable).parent), inherited.get("PATH")]))
    return {**inherited, "PATH": path}
