"""The worker of an endpoint: does the order of a request in a fresh folder, and leaves how it ended at the remote.

Run as `python -m snakemake_executor_plugin_runpod.worker`, in an image with all that the jobs need. Its environment
holds the keys of the remote (R2_...), which the jobs do not get to see, and may say where to work (RUNPOD_WORK) and how
many GB of files to keep from job to job (RUNPOD_CACHE_GB).
"""

import asyncio
import functools
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .cache import fetch, work_folder
from .errors import RemoteError, RunpodError
from .exchange import Exchange
from .process import run
from .remote import Remote

VERSION = 1
COULD_NOT_RUN = -1
NOTHING = {"files": {}, "folders": []}
EMPTY = {"outputs": NOTHING, "extras": NOTHING, "seconds": {"fetch": 0.0, "run": 0.0, "push": 0.0}}
PROGRESS_SECONDS = 3
LOG_SECONDS = 30

_ATTEMPT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_STEPS = re.compile(rb"^(\d+ of \d+ steps) \(", re.MULTILINE)


async def handler(event: dict) -> dict:
    """Answer a request of RunPod's with {"attempt", "status"} and, which makes it FAILED there, a sentence "error"."""
    try:
        attempt, exchange = unpack(event.get("input"))
    except RunpodError as error:
        return {"status": COULD_NOT_RUN, "error": str(error)}
    with cancelled_by_sigterm():
        try:
            facts = await deliver(event, attempt, exchange)
        except Exception as error:  # noqa: BLE001 - without an exit record the job would be bought once more
            sentence = str(error) if isinstance(error, RunpodError) else f"The worker failed: {error!r}."
            traceback.print_exc()
            facts = {"attempt": attempt, "status": COULD_NOT_RUN, "error": sentence}
            with suppress(RemoteError):  # if the remote is what failed, the answer alone says so
                facts = await finish(conclude, exchange, facts)
    return {name: facts[name] for name in ("attempt", "status", "error") if facts[name] is not None}


def unpack(request: object) -> tuple[str, Exchange]:
    """The attempt and the exchange that a request's input names. Raises RunpodError if it names none."""
    names = request if isinstance(request, dict) else {}
    attempt, address = names.get("attempt"), names.get("remote")
    if not (isinstance(attempt, str) and _ATTEMPT.fullmatch(attempt) and isinstance(address, str)):
        raise RunpodError(
            'The input of the request is not {"attempt": NAME, "remote": "r2:BUCKET/FOLDER"}; this endpoint takes'
            " requests of Snakemake's RunPod executor only."
        )
    return attempt, Exchange(Remote(address))


def conclude(exchange: Exchange, facts: dict) -> dict:
    """Write how an attempt ended, unless another delivery of it has: somebody may have read that already."""
    if ended := exchange.record(facts["attempt"], "exit"):
        return ended
    exchange.write_record(facts["attempt"], "exit", {**EMPTY, **facts, "machine": machine()})
    return facts


async def deliver(event: dict, attempt: str, exchange: Exchange) -> dict:
    """Do what is ordered and return how it ended. Raises RunpodError where nothing could be run or brought back."""
    if ended := await finish(exchange.record, attempt, "exit"):
        return ended
    if await finish(exchange.record, attempt, "cancelled") is not None:
        raise RunpodError("It was cancelled before it started.")
    order = await finish(exchange.record, attempt, "order")
    if order is None:
        raise RunpodError(f"There is no order for the attempt {attempt} at the remote; run Snakemake again.")
    if order.get("version") != VERSION:
        raise RunpodError(
            f"The order has version {order.get('version')} and this worker knows {VERSION}; build its image anew from"
            " the version that Snakemake runs with."
        )
    print(f"{attempt}: {order['name']}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{attempt}-", dir=work_folder()))
    try:
        return await carry_out(event, order, exchange, folder)
    finally:
        await finish(shutil.rmtree, folder, ignore_errors=True)


async def carry_out(event: dict, order: dict, exchange: Exchange, folder: Path) -> dict:
    """Fetch the files, run the command, push what it made; the log is pushed whatever becomes of it."""
    attempt, job, log = order["attempt"], folder / "job", folder / "log.txt"
    started = time.monotonic()
    await finish(fetch, exchange, order["files"], job)
    fetched = time.monotonic()
    reports = asyncio.create_task(report(event, exchange, attempt, log))
    try:
        status, error = await run(order["command"], job, log, order["timeout"])
    finally:
        reports.cancel()
        await asyncio.wait([reports])
        with suppress(RemoteError):  # a log that is lost must not take the outputs with it
            await finish(exchange.write_log, attempt, log)
    ran = time.monotonic()
    missing = [path for path in order["outputs"] if not (job / path).exists()]
    if status == 0 and missing:
        status, error = 1, f"The job ended well, but did not make {', '.join(missing)}; see its log."
    outputs = await finish(exchange.push, order["outputs"], job) if status == 0 else NOTHING
    extras = await finish(exchange.push, [path for path in order["extras"] if (job / path).exists()], job)
    seconds = {"fetch": fetched - started, "run": ran - fetched, "push": time.monotonic() - ran}
    facts = {"attempt": attempt, "status": status, "error": error}
    return await finish(conclude, exchange, {**facts, "outputs": outputs, "extras": extras, "seconds": seconds})


async def report(event: dict, exchange: Exchange, attempt: str, log: Path) -> None:
    """While a job runs, tell RunPod how far it is, and push its log."""
    from runpod.serverless import progress_update

    told, pushed = None, time.monotonic()
    while True:
        await asyncio.sleep(PROGRESS_SECONDS)
        if (steps := progress(log)) != told:
            progress_update(event, steps)
            told = steps
        if time.monotonic() - pushed >= LOG_SECONDS:
            with suppress(RemoteError):  # the next time, perhaps
                await finish(exchange.write_log, attempt, log)
            pushed = time.monotonic()


def progress(log: Path) -> str | None:
    """How far Snakemake was when it last said so, such as "12 of 96 steps"."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 2**16))
        steps = _STEPS.findall(stream.read())
    return steps[-1].decode() if steps else None


async def finish(function, *arguments, **options):
    """Call a function that blocks in a thread. It is waited for also where this is cancelled: threads cannot be
    stopped, and what comes next must not meet one that still writes."""
    work = asyncio.ensure_future(asyncio.to_thread(function, *arguments, **options))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        work.exception()  # has been seen
        raise


@contextmanager
def cancelled_by_sigterm() -> Iterator[None]:
    """While it lasts, SIGTERM cancels this task, too. The SDK alone would wait for its end, and be killed meanwhile."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGTERM)

    def stop(number, frame) -> None:
        loop.call_soon_threadsafe(task.cancel)
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def machine() -> dict:
    """Where this runs, for the records."""
    worker = os.environ.get("RUNPOD_POD_ID") or socket.gethostname()
    return {"worker": worker, "gpu": gpu(), "cores": len(os.sched_getaffinity(0))}


@functools.cache
def gpu() -> str | None:
    """The name of the first GPU, if there is one."""
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.splitlines()), None)


if __name__ == "__main__":
    import runpod

    runpod.serverless.start({"handler": handler})
