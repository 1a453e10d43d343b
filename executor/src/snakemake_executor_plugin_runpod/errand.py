"""One job's way to RunPod and back: send its files, submit it, wait for it, bring its results home."""

import hashlib
import json
import logging
import os
import shlex
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from .control import Endpoint, Gone, Refused, Status, Unreachable
from .cost import Budget
from .errors import RemoteError, RunpodError
from .exchange import PLACEHOLDER, Exchange, inside, part_of, together, without
from .ledger import CANCELLED, FAILED, SUCCEEDED, Entry, Ledger

logger = logging.getLogger("snakemake.logging")

T = TypeVar("T")

TRANSFERS_AT_A_TIME = 4
"""Each of them moves several files at once."""
FETCHING = "runpod-"
"""How folders of results that are being fetched begin, in .snakemake."""
TRIES = 2
"""How often a job is submitted whose worker vanished without a word."""
TRANSFERS = 30 * 60
"""Seconds that RunPod gives a worker beyond a job's own limit, for files: the worker must be the first to stop it, for
only it can say so."""
QUEUE = 24 * 3600
"""Seconds that a request may wait for a worker."""


class Stopped(RunpodError):
    """The run was stopped."""


class Vanished(RunpodError):
    """A request ended, or was forgotten, without a record of how."""


@dataclass(frozen=True)
class Errand:
    """A job, or a group of them, for a worker. Paths are relative to the working directory."""

    lead: str
    """Tells it from all other jobs of the workflow."""
    name: str
    """For people."""
    command: str
    """What runs it: a line for bash, made by Snakemake."""
    files: list[str]
    """What it alone needs: its inputs."""
    outputs: list[str]
    extras: list[str]
    """What comes home if it exists: logs and benchmarks."""
    limit: int
    """Seconds that it may run."""
    estimate: float | None
    """Seconds that it should take; None: unknown."""


class Courier:
    """Runs errands, each in a thread of its own; the same for all of a run."""

    def __init__(
        self,
        exchange: Exchange,
        endpoint: Endpoint,
        ledger: Ledger,
        budget: Budget,
        root: Path,
        common: list[str],
        keep_remote: list[str],
        misses: int,
        interval: float,
    ):
        """`common`: files that all errands need, sent once; `keep_remote`: names of output folders whose content stays
        at the remote; `interval`: seconds between two questions about a request, of which `misses` in a row may stay
        unanswered; `root`: the working directory."""
        self._exchange, self._endpoint, self._ledger, self._budget = exchange, endpoint, ledger, budget
        self._root, self._keep_remote, self._misses, self._interval = root, set(keep_remote), misses, interval
        self._common, self._common_manifest, self._lock = common, None, threading.Lock()
        self._transfers = threading.Semaphore(TRANSFERS_AT_A_TIME)
        self._stop = threading.Event()
        self._left_over: dict[str, Entry] = {}

    def reconcile(self, leads: set[str]) -> None:
        """See to what an earlier run, which was killed, left in the ledger.

        Requests for jobs that are to run are kept, and adopted once their job comes; all others are cancelled.
        """
        for entry in self._ledger.unfinished():
            lead = entry.key.partition("|")[0]
            if entry.request and lead in leads and lead not in self._left_over:
                self._left_over[lead] = entry
            else:
                logger.info(f"RunPod: cancelling {entry.name}, left over from a run before.")
                self._cancel(entry.attempt, entry.request)

    def run(self, errand: Errand) -> None:
        """Have it done, and its outputs in their places.

        Raises:
            Stopped: `stop` was called; the request is cancelled.
            RunpodError: it failed, or could not be done.
        """
        for path in [*errand.outputs, *errand.extras]:
            if os.path.isabs(path) or os.path.normpath(path).startswith(".."):
                raise RunpodError(f"{path} is not below the working directory, which a worker has no other of.")
        if not self._budget.may_submit(errand.estimate or errand.limit):
            raise self._too_dear()
        manifest = self._send(errand.files)
        # The order of what Snakemake takes from sets says nothing.
        made_from = [manifest, errand.outputs, sorted(shlex.split(errand.command))]
        digest = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
        key = f"{errand.lead}|{digest}"
        if self._take_over(errand, key):
            return
        for last in [False] * (TRIES - 1) + [True]:
            attempt = uuid4().hex
            request = self._submit(errand, attempt, key, manifest)
            try:
                return self._see_through(errand, attempt, request)
            except Vanished as error:
                if last:
                    raise
                logger.warning(f"RunPod: {errand.name}: {error} It is submitted again.")

    def stop(self) -> None:
        """Make all errands end, each with its request cancelled, and so the requests that nobody has come back for."""
        self._stop.set()
        while self._left_over:
            _, entry = self._left_over.popitem()
            self._cancel(entry.attempt, entry.request)

    def _send(self, files: list[str]) -> dict:
        if self._stop.is_set():
            raise Stopped("It was not submitted.")
        with self._lock:
            if self._common_manifest is None:
                self._common_manifest = self._exchange.push(self._common, self._root)
        with self._transfers:
            return together(self._common_manifest, self._exchange.push(files, self._root))

    def _take_over(self, errand: Errand, key: str) -> bool:
        """Whether an attempt that was made before, by a run that was killed or could not fetch its results, did it."""
        entry = self._left_over.pop(errand.lead, None)
        if entry and entry.key != key:
            logger.info(f"RunPod: cancelling {entry.name}, whose inputs have changed since it was submitted.")
            self._cancel(entry.attempt, entry.request)
            return False
        entry = entry or next((one for one in self._ledger.unfinished() if one.key == key and one.request), None)
        if not entry:
            return False
        record = self._patiently(lambda: self._exchange.record(entry.attempt, "exit"))
        if record and record["status"] != 0:
            self._ended(entry.attempt, FAILED, sum(record["seconds"].values()))
            return False
        logger.info(f"RunPod: {errand.name} was submitted before; waiting for it.")
        self._budget.adopt(entry.attempt, errand.estimate or errand.limit)
        try:
            self._see_through(errand, entry.attempt, entry.request)
        except Vanished:
            logger.info(f"RunPod: {errand.name} has vanished; submitting it again.")
            return False
        return True

    def _submit(self, errand: Errand, attempt: str, key: str, manifest: dict) -> str:
        if self._stop.is_set():
            raise Stopped("It was not submitted.")
        if not self._budget.reserve(attempt, errand.estimate or errand.limit):
            raise self._too_dear()
        order = {
            "version": 1,
            "attempt": attempt,
            "name": errand.name,
            "command": errand.command,
            "files": manifest,
            "outputs": errand.outputs,
            "extras": errand.extras,
            "timeout": errand.limit,
        }
        self._ledger.intend(attempt, key, errand.name)
        try:
            self._exchange.write_record(attempt, "order", order)
            payload = {"attempt": attempt, "remote": self._exchange.remote.address}
            allowed = errand.limit + TRANSFERS
            request = self._endpoint.submit(payload, allowed, allowed + QUEUE)
        except (Refused, RemoteError):  # RunPod does not have it
            self._ended(attempt, FAILED, 0)
            raise
        except Unreachable:  # it may
            self._cancel(attempt, None)
            raise
        try:
            self._ledger.submitted(attempt, request)
        except RunpodError:  # the next run could not find it
            self._cancel(attempt, request)
            raise
        logger.info(f"RunPod: {errand.name} is queued as {request}.")
        return request

    def _too_dear(self) -> RunpodError:
        return RunpodError(
            f"It was not submitted, as the cost could pass the {self._budget.max_cost} USD of runpod-max-cost; raise it"
            " to go on."
        )

    def _see_through(self, errand: Errand, attempt: str, request: str) -> None:
        """Wait for the request, and bring home what came of it.

        Should the remote be away for too long, the ledger has it as unfinished, and whoever comes next takes it over.
        """
        status = self._wait(errand, attempt, request)
        record = self._patiently(lambda: self._exchange.record(attempt, "exit"))
        seconds = status.execution_seconds if status else None
        if record and seconds is None:
            seconds = sum(record["seconds"].values())
        if not record:
            self._ended(attempt, FAILED, seconds)
            where = self._keep_log(attempt)[1]
            if status and status.state == "TIMED_OUT":
                raise RunpodError(f"RunPod stopped it, as it took too long; raise the rule's `runtime`{where}.")
            if status and status.state == "CANCELLED":
                raise RunpodError(f"Somebody cancelled it at RunPod{where}.")
            state = f"{status.state}: {status.error}" if status and status.error else status.state if status else "gone"
            raise Vanished(f"It ended on RunPod without a result ({state}){where}.")
        if record["status"] == 0:
            manifest = together(record["extras"], record["outputs"])
            self._patiently(lambda: self._fetch(manifest, [*errand.extras, *errand.outputs]))
            self._ended(attempt, SUCCEEDED, seconds)
            return
        self._ended(attempt, FAILED, seconds)
        sentences, where = self._keep_log(attempt)
        with suppress(RemoteError):  # the logs of jobs are in that one, too
            self._fetch(record["extras"], errand.extras)
        raise RunpodError(f"{(sentences or record['error']).rstrip('.')}{where}.")

    def _wait(self, errand: Errand, attempt: str, request: str) -> Status | None:
        """Ask until the request has ended; None if RunPod no longer knows it."""
        told, misses = "", 0
        while True:
            try:
                status = self._endpoint.status(request)
                misses = 0
                if status.final:
                    return status
                news = status.progress or status.state.lower().replace("_", " ")
                if news != told:
                    logger.info(f"RunPod: {errand.name}: {news}")
                    told = news
            except Gone:  # also for a moment after it was submitted
                misses += 1
                with suppress(RemoteError):
                    if misses >= self._misses or self._exchange.record(attempt, "exit"):
                        return None
            except (Unreachable, Refused) as error:
                misses += 1
                if misses >= self._misses:
                    self._cancel(attempt, request)
                    raise RunpodError(f"It is given up after {misses} questions: {error}") from None
            if self._stop.wait(self._interval):
                self._cancel(attempt, request)
                raise Stopped("It was cancelled.")

    def _patiently(self, ask: Callable[[], T]) -> T:
        """The answer of the remote, which may be away for as long as RunPod may."""
        for miss in range(1, self._misses + 1):
            try:
                return ask()
            except RemoteError:
                if miss == self._misses or self._stop.wait(self._interval):
                    raise
        raise AssertionError("there is at least one attempt")

    def _fetch(self, manifest: dict, paths: list[str]) -> None:
        """Put results in their places, each replacing what is there.

        All get the same time: some are made from others, and Snakemake would remake what is older than its inputs.
        """
        now = time.time()
        for path in paths:
            if Path(path).name in self._keep_remote and path in manifest["folders"]:
                stays, manifest = part_of(manifest, path), without(manifest, path)
                place = inside(self._root, path)
                _remove(place)
                place.mkdir(parents=True)
                facts = {"remote": self._exchange.remote.address, "manifest": stays}
                (place / PLACEHOLDER).write_text(json.dumps(facts, indent=1))
                _date(place, now)
        (self._root / ".snakemake").mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._root / ".snakemake", prefix=FETCHING) as temporary:
            with self._transfers:
                self._exchange.pull(manifest, Path(temporary))
            for path in paths:
                arrived, place = Path(temporary) / path, inside(self._root, path)
                if not arrived.exists():
                    continue
                place.parent.mkdir(parents=True, exist_ok=True)
                _remove(place)
                shutil.move(arrived, place)
                _date(place, now)

    def _keep_log(self, attempt: str) -> tuple[str, str]:
        """What the jobs themselves said in lines that begin with "Error: ", and where the worker's log is from now on,
        as the end of a sentence; each empty if there is none."""
        text = None
        with suppress(RemoteError):
            text = self._exchange.log(attempt)
        if text is None:
            return "", ""
        log = self._root / ".snakemake" / "runpod" / f"{attempt}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(text)
        said = [line.removeprefix("Error: ") for line in text.splitlines() if line.startswith("Error: ")]
        return " ".join(said), f" (see {log.relative_to(self._root)})"

    def _cancel(self, attempt: str, request: str | None) -> None:
        """Keep an attempt from starting, and end it if it has."""
        try:
            if request:
                self._endpoint.cancel(request)
            self._exchange.write_record(attempt, "cancelled", {"attempt": attempt})
            self._ended(attempt, CANCELLED, None)
        except RunpodError as error:  # the ledger still has it as unfinished, so the next run tries again
            logger.error(f"RunPod: request {request or 'of ' + attempt} may still run: {error}")

    def _ended(self, attempt: str, state: str, seconds: float | None) -> None:
        cost = None if seconds is None or self._budget.price is None else seconds * self._budget.price
        self._ledger.ended(attempt, state, seconds, cost)
        self._budget.settle(attempt, seconds)


def _remove(output: Path) -> None:
    if output.is_dir() and not output.is_symlink():
        shutil.rmtree(output)
    else:
        output.unlink(missing_ok=True)


def _date(output: Path, when: float) -> None:
    """Set the time that Snakemake goes by, which for a folder is that of a file in it."""
    if output.is_dir():
        output = output / ".snakemake_timestamp"
        output.touch()
    os.utime(output, (when, when))
