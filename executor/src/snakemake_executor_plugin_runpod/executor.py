"""The interface to Snakemake."""

import fcntl
import os
import shutil
import signal
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TextIO
from uuid import uuid4

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

from .cost import Budget, Estimate, past_seconds, table
from .errand import FETCHING, Courier, Errand
from .errors import RunpodError
from .exchange import Exchange
from .ledger import Ledger
from .remote import Remote
from .sources import sources

FOLDER = Path(".snakemake/runpod")
MINUTES = 60
"""That a job without the resource `runtime` may run."""


class Executor(RemoteExecutor):
    """Runs every job as an errand in a thread, and tells Snakemake how it ended."""

    def __post_init__(self):
        try:
            self._start()
        except RunpodError as error:
            raise WorkflowError(f"RunPod: {error}") from None

    def _start(self) -> None:
        from .control import Endpoint

        settings = self.executor_settings
        self.next_seconds_between_status_checks = 1  # looks at threads only; these ask RunPod
        self._began = time.time()
        self._jobs: dict[str, tuple[str, Future]] = {}
        self._root = Path.cwd()
        self._lock = _lock(FOLDER)
        for unfinished in FOLDER.parent.glob(f"{FETCHING}*"):  # left by a run that was killed
            shutil.rmtree(unfinished)
        jobs = [job for job in self.dag.needrun_jobs() if not job.is_local]
        config = map(str, self.workflow.configfiles)
        common = sources(self._root, self.dag.get_sources(), config) if jobs else []
        common += [path for path in settings.carry or [] if Path(path).exists()]
        self._ledger = Ledger(FOLDER / "ledger.sqlite")
        self._budget = Budget(settings.max_cost, settings.price_per_second)
        self._courier = Courier(
            Exchange(Remote(settings.remote or "")),
            Endpoint(settings.endpoint or "", os.environ.get("RUNPOD_API_KEY", "")),
            self._ledger,
            self._budget,
            self._root,
            common,
            settings.keep_remote or [],
            settings.misses,
            self.workflow.remote_execution_settings.seconds_between_status_checks,
        )
        self._threads = ThreadPoolExecutor(max_workers=256, thread_name_prefix="runpod")
        self._expected = self._estimate(jobs)
        self._courier.reconcile({_label(job) for job in jobs})

    def _estimate(self, jobs: list) -> dict[str, float | None]:
        """How long a job of each rule takes, which is also shown, with what all will cost."""
        benchmarks = defaultdict(list)
        for job in self.dag.jobs:
            if job.benchmark and Path(job.benchmark).exists():
                benchmarks[job.rule.name].append(Path(job.benchmark))
        counts = Counter(job.rule.name for job in jobs)
        seconds = past_seconds({rule: benchmarks[rule] for rule in counts})
        if jobs:
            estimates = [Estimate(rule, n, seconds[rule], self._budget.price) for rule, n in counts.items()]
            self.logger.info(f"What this will take on RunPod, by how long it took before:\n{table(estimates)}")
        return seconds

    def run_job(self, job: JobExecutorInterface):
        # Snakemake's own handler, installed after this object was made, would wait for all requests to end.
        signal.signal(signal.SIGTERM, _interrupt)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # which is nohup's
            signal.signal(signal.SIGHUP, _interrupt)
        errand, id = self._errand(job), uuid4().hex
        self._jobs[id] = errand.name, self._threads.submit(self._courier.run, errand)
        self.report_job_submission(SubmittedJobInfo(job, external_jobid=id))

    def _errand(self, job: JobExecutorInterface) -> Errand:
        jobs = list(job.jobs) if job.is_group() else [job]
        seconds = [self._expected.get(one.rule.name) for one in jobs]
        return Errand(
            lead=min(map(_label, jobs)),
            name=self._name(job),
            command=self.format_job_exec(job),
            files=sorted(set(map(str, job.input))),
            outputs=sorted(str(file) for one in jobs for file in one.output),
            extras=sorted(str(file) for one in jobs for file in [*one.log, *filter(None, [one.benchmark])]),
            limit=60 * (job.resources.get("runtime") or MINUTES),
            estimate=None if None in seconds else sum(seconds),
        )

    def _name(self, job: JobExecutorInterface) -> str:
        """The job for people: its rule and wildcards; of a group, those that its jobs share, if there are any."""
        if not job.is_group():
            return _label(job)
        wildcards = [set(one.wildcards.items()) for one in job.jobs]
        shared = set.intersection(*wildcards) or set.union(*wildcards)
        return " ".join([job.groupid, *(value for _, value in sorted(shared))])

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncGenerator[SubmittedJobInfo, None]:
        for info in active_jobs:
            name, future = self._jobs[info.external_jobid]
            if not future.done():
                yield info
                continue
            error = future.exception()
            if error is None:
                self.report_job_success(info)
            else:
                sentence = f"{error}" if isinstance(error, RunpodError) else f"{type(error).__name__}: {error}"
                self.logger.debug("What happened in the plugin:", exc_info=error)
                self.logger.error(f"Error: {name}: {sentence}")
                self.report_job_error(info)

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]):
        # Not these alone: the list is empty while they are being looked at.
        if not all(future.done() for _, future in self._jobs.values()):
            self.logger.info("RunPod: cancelling all requests; transfers that are under way are finished first.")
        self._courier.stop()

    def shutdown(self):
        self._courier.stop()
        self._threads.shutdown(cancel_futures=True)
        super().shutdown()
        if self._jobs:
            self.logger.info(self._summary())
        self._lock.close()

    def _summary(self) -> str:
        try:
            seconds = sum(entry.seconds or 0 for entry in self._ledger if (entry.ended_at or 0) >= self._began)
            spent = self._ledger.cost_since(self._began)
        except RunpodError as error:
            return f"RunPod: what it took is not known: {error}"
        cost = "unknown" if self._budget.price is None else f"{spent:.2f} USD"
        return f"RunPod took {seconds / 60:.1f} GPU minutes; cost: {cost}."


def _lock(folder: Path) -> TextIO:
    """The folder's lock, which goes when it is closed or this process ends.

    Raises:
        RunpodError: another process has it. It would take this one's requests for left over, and this one its.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise RunpodError(
            "Another Snakemake in this folder runs jobs there; wait for it, or give both targets to one."
        ) from None
    return file


def _label(job: JobExecutorInterface) -> str:
    """A job's rule and wildcards, which no other job shares."""
    return " ".join([job.rule.name, *(f"{key}={value}" for key, value in sorted(job.wildcards.items()))])


def _interrupt(*_) -> None:
    raise KeyboardInterrupt
