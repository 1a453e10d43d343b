"""What jobs will cost, by how long they took before; and a cap on it."""

import csv
import logging
import math
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from snakemake_executor_plugin_runpod.errors import RunpodError

logger = logging.getLogger(__name__)

UNKNOWN = "unknown"


def past_seconds(benchmarks: Mapping[str, Iterable[Path]]) -> dict[str, float | None]:
    """How long a job of each rule takes on average (the column `s` of Snakemake's benchmark files); None where nothing
    tells. A file that cannot be read is left out, which a warning says."""
    means = {}
    for rule, files in benchmarks.items():
        seconds = [value for file in files for value in _measured(file)]
        means[rule] = sum(seconds) / len(seconds) if seconds else None
    return means


def _measured(file: Path) -> list[float]:
    try:
        with file.open(newline="") as rows:
            seconds = [float(row["s"]) for row in csv.DictReader(rows, delimiter="\t")]
        if not (seconds and math.isfinite(sum(seconds))):
            raise ValueError(f"its seconds are {seconds}")
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        logger.warning("%s is no benchmark of Snakemake's (%r) and does not count in the estimate.", file, error)
        return []
    return seconds


@dataclass(frozen=True)
class Estimate:
    """What the jobs of a rule will take."""

    rule: str
    jobs: int
    seconds: float | None
    """Each; None: unknown."""
    price: float | None
    """USD per second; None: unknown."""

    @property
    def gpu_minutes(self) -> float | None:
        """Of all jobs together."""
        return None if self.seconds is None else self.jobs * self.seconds / 60

    @property
    def usd(self) -> float | None:
        """For all jobs together."""
        return None if self.gpu_minutes is None or self.price is None else self.gpu_minutes * 60 * self.price


def table(estimates: Iterable[Estimate]) -> str:
    """The estimates as aligned text, with the totals in the last line."""
    estimates = list(estimates)
    rows = [("rule", "jobs", "s each", "GPU minutes", "USD")]
    rows += [(e.rule, str(e.jobs), _number(e.seconds, 1), _number(e.gpu_minutes, 1), _number(e.usd)) for e in estimates]
    jobs = str(sum(e.jobs for e in estimates))
    rows += [("total", jobs, "", _total([e.gpu_minutes for e in estimates], 1), _total([e.usd for e in estimates]))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )


def _number(value: float | None, decimals: int = 2) -> str:
    return UNKNOWN if value is None else f"{value:.{decimals}f}"


def _total(values: list[float | None], decimals: int = 2) -> str:
    known = [value for value in values if value is not None]
    if values and not known:
        return UNKNOWN
    return ("at least " if len(known) < len(values) else "") + _number(sum(known), decimals)


class Budget:
    """Keeps what is spent, and what is under way, below a cap. Threads may share it.

    Whoever submits reserves first, with the seconds that the job is expected to take, or its time limit where nothing
    is known; and settles when the job has ended, with the seconds that it took.
    """

    def __init__(self, max_cost: float | None, price: float | None):
        """USD, or None for no cap; USD per second, or None: unknown, RunpodError where there is a cap."""
        for name, value in {"runpod-max-cost": max_cost, "runpod-price-per-second": price}.items():
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise RunpodError(f"The setting {name} is {value}; make it a number of USD from 0 upwards.")
        if max_cost is not None and price is None:
            raise RunpodError(
                f"runpod-max-cost caps the cost at {max_cost} USD, but what a second costs is not known; set"
                " runpod-price-per-second (USD) to the price of the endpoint's GPU, which RunPod's console shows."
            )
        self.max_cost = max_cost
        self.price = price
        self._settled = 0.0
        self._reserved: dict[str, float] = {}
        self._lock = threading.RLock()

    @property
    def spent(self) -> float | None:
        """USD for the jobs that have been settled; None where the price is not known."""
        return None if self.price is None else self._settled * self.price

    def may_submit(self, seconds: float) -> bool:
        """Whether the cap leaves room for one more job of so many seconds."""
        if self.max_cost is None:
            return True
        with self._lock:
            return (self._settled + sum(self._reserved.values()) + seconds) * self.price <= self.max_cost

    def reserve(self, attempt: str, seconds: float) -> bool:
        """Keep room for a job that is about to be submitted; False, and nothing is kept, where the cap leaves none."""
        with self._lock:
            if not self.may_submit(seconds):
                return False
            self.adopt(attempt, seconds)
            return True

    def adopt(self, attempt: str, seconds: float) -> None:
        """Count in a job that an earlier run has submitted, room or not."""
        with self._lock:
            self._reserved[attempt] = seconds

    def settle(self, attempt: str, seconds: float | None) -> None:
        """A job has ended after so many seconds: 0 if it never ran; None, if nobody knows: as long as was reserved.

        One that an earlier run submitted, for which nothing was reserved, counts with the seconds that are known.
        """
        with self._lock:
            reserved = self._reserved.pop(attempt, 0.0)
            self._settled += reserved if seconds is None else seconds
