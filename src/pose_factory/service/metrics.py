"""What the service counts, in Prometheus's form."""

import math
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from pose_factory.service import Answer

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Seconds."""
NOBODY = "none"
"""The source of a frame in which nobody was seen or predicted."""


class Metrics:
    """The figures of one app, each for itself: two in one process do not add up."""

    def __init__(self, gauges: dict[str, tuple[str, Callable[[], float]]]) -> None:
        """`gauges` are figures that are asked for when somebody looks: name (without the prefix), meaning, function."""
        self._registry = CollectorRegistry()
        own = {"registry": self._registry, "namespace": "pose_service"}
        self._responses = Counter("responses", "Answers by route and HTTP status", ["route", "status"], **own)
        self._errors = Counter(
            "errors", "Answers that were errors, and frames of batches, by HTTP status", ["status"], **own
        )
        self._latency = Histogram(
            "request_seconds", "From a request's last byte to its answer", ["route"], buckets=BUCKETS, **own
        )
        self._frames = Counter(
            "frames", "Frames answered, by how the pose came about; none where nobody was", ["source"], **own
        )
        self._sequences = Counter("sequences", "Sequences begun", **own)
        self._stages = Histogram("stage_seconds", "Time of a frame in each stage", ["stage"], buckets=BUCKETS, **own)
        for name, (meaning, function) in gauges.items():
            Gauge(name, meaning, **own).set_function(function)
        Gauge("coverage", "Part of the frames answered that have a pose", **own).set_function(self._coverage)
        ProcessCollector(registry=self._registry)

    def response(self, route: str, status: int, seconds: float) -> None:
        """Count an answer over HTTP."""
        self._responses.labels(route, status).inc()
        self._latency.labels(route).observe(seconds)

    def error(self, status: int) -> None:
        """Count an error, be it an answer of its own or a frame of a batch."""
        self._errors.labels(status).inc()

    def frame(self, answer: Answer) -> None:
        """Count a frame that a worker has answered; one that is repeated counts once."""
        for stage, seconds in answer.stats.seconds.items():
            self._stages.labels(stage).observe(seconds)
        if answer.status != 200 or answer.stats.repeat:
            return
        self._frames.labels(answer.stats.source or NOBODY).inc()
        if answer.stats.new_sequence:
            self._sequences.inc()

    def text(self) -> bytes:
        """All of it."""
        return generate_latest(self._registry)

    def _coverage(self) -> float:
        (family,) = self._frames.collect()
        counts = {item.labels["source"]: item.value for item in family.samples if item.name.endswith("_total")}
        return 1 - counts.get(NOBODY, 0) / sum(counts.values()) if counts else math.nan
