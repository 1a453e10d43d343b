"""What was sent to RunPod, for which job, and what it cost: a file that outlives the run, also one that is killed."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from snakemake_executor_plugin_runpod.errors import RunpodError

INTENDED, SUBMITTED = "intended", "submitted"
SUCCEEDED, FAILED, CANCELLED = "succeeded", "failed", "cancelled"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS attempts (
    attempt TEXT PRIMARY KEY,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    request TEXT,
    state TEXT NOT NULL CHECK (state IN ('intended', 'submitted', 'succeeded', 'failed', 'cancelled')),
    submitted_at REAL,
    ended_at REAL,
    seconds REAL,
    cost REAL
)
"""


@dataclass(frozen=True)
class Entry:
    """A row of the ledger: one attempt at a job. Times are seconds since 1970."""

    attempt: str
    key: str
    """What the job is and what it is made from."""
    name: str
    """For people."""
    request: str | None
    """RunPod's id of it; None before it is submitted."""
    state: str
    submitted_at: float | None
    ended_at: float | None
    seconds: float | None
    """How long it ran, where that is known."""
    cost: float | None
    """USD, where that is known."""


class Ledger:
    """A SQLite file with one table, `attempts`, a row per attempt, whose columns are the fields of Entry.

    An attempt is intended, then submitted, then succeeded, failed or cancelled. Each step is on the disk when its
    method returns. Threads may share a ledger; RunpodError where the file cannot be read or written.
    """

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise self._broken(error) from error
        try:
            self._do(_SCHEMA)
            self._entries("LIMIT 1")
        except RunpodError:
            self.close()
            raise

    def intend(self, attempt: str, key: str, name: str) -> None:
        """To be called before the submission: should the run be killed during it, the next one knows where to look."""
        self._do("INSERT INTO attempts (attempt, key, name, state) VALUES (?, ?, ?, ?)", attempt, key, name, INTENDED)

    def submitted(self, attempt: str, request: str) -> None:
        """RunPod has the attempt, as this request."""
        self._update(attempt, "request = ?, state = ?, submitted_at = ?", request, SUBMITTED, time.time())

    def ended(self, attempt: str, state: str, seconds: float | None = None, cost: float | None = None) -> None:
        """The attempt succeeded, failed or was cancelled, after so many seconds, for so many USD."""
        self._update(attempt, "state = ?, ended_at = ?, seconds = ?, cost = ?", state, time.time(), seconds, cost)

    def unfinished(self) -> list[Entry]:
        """The attempts that were intended or submitted and have not ended, oldest first."""
        return self._entries("WHERE state IN (?, ?) ORDER BY rowid", INTENDED, SUBMITTED)

    def cost_since(self, when: float) -> float:
        """USD for what ended then or later, as far as costs are known."""
        ((cost,),) = self._do("SELECT total(cost) FROM attempts WHERE ended_at >= ?", when)
        return cost

    def __iter__(self) -> Iterator[Entry]:
        """All attempts, oldest first."""
        return iter(self._entries("ORDER BY rowid"))

    def close(self) -> None:
        self._connection.close()

    def _entries(self, which: str, *values) -> list[Entry]:
        columns = ", ".join(Entry.__dataclass_fields__)
        return [Entry(*row) for row in self._do(f"SELECT {columns} FROM attempts {which}", *values)]

    def _update(self, attempt: str, change: str, *values) -> None:
        if not self._do(f"UPDATE attempts SET {change} WHERE attempt = ? RETURNING attempt", *values, attempt):
            raise KeyError(attempt)

    def _do(self, statement: str, *values) -> list[tuple]:
        try:
            with self._lock:
                return self._connection.execute(statement, values).fetchall()
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):  # mistakes of the caller, not of the file
            raise
        except sqlite3.DatabaseError as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> RunpodError:
        return RunpodError(
            f"The ledger {self.path} cannot be used ({error}): make it writable and free some space, or, if it is"
            " damaged, move it away; requests of an interrupted run are then not found again, so look at RunPod's"
            " console for any that still run."
        )
