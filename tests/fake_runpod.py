"""A small fake of RunPod Serverless on the loopback interface: one endpoint, for the SDK's real clients and workers.

    with FakeRunpod() as runpod:
        worker = runpod.start_worker([sys.executable, "-m", "snakemake_executor_plugin_runpod.worker"], {...})
        subprocess.run(command, env={**os.environ, **runpod.client_environment})
        assert not runpod.pending()

What it answers is what RunPod's documents and SDK 1.12.0 say. Its clock can be moved on (`skip`), so that nobody waits
for results to expire.
"""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from select import select
from socket import MSG_PEEK
from urllib.parse import parse_qs

import psutil

QUEUED, RUNNING, COMPLETED, FAILED, CANCELLED, TIMED_OUT = (
    "IN_QUEUE",
    "IN_PROGRESS",
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "TIMED_OUT",
)
FOR_CLIENTS = ("run", "status", "cancel", "health", "graphql")
FOR_WORKERS = ("job-take", "job-take-batch", "job-stop", "job-done", "ping")
WEEK = 7 * 24 * 3600


@dataclass
class Request:
    """What a client asked for, and what became of it; times are seconds of the fake's clock."""

    id: str
    input: dict
    execution_seconds: float
    ttl_seconds: float
    submitted: float
    state: str = QUEUED
    started: float | None = None
    ended: float | None = None
    output: object = None
    error: str | None = None
    progress: object = None
    workers: list[str] = field(default_factory=list)
    """Who was given it, in this order."""

    @property
    def final(self) -> bool:
        return self.state not in (QUEUED, RUNNING)

    def answer(self) -> dict:
        """What `/status` says."""
        facts = {"id": self.id, "status": self.state}
        if self.started is not None:
            facts |= {"delayTime": round(1000 * (self.started - self.submitted)), "workerId": self.workers[-1]}
        if self.ended is not None and self.started is not None:
            facts["executionTime"] = round(1000 * (self.ended - self.started))
        output = self.output if self.final else self.progress
        return facts | {k: v for k, v in {"output": output, "error": self.error}.items() if v is not None}


@dataclass
class Call:
    """A call to the fake and the status of its answer, which is None while or where there is none."""

    operation: str
    method: str
    path: str
    body: dict | None
    status: int | None = None


@dataclass
class _Fault:
    operation: str | None
    status: int | None
    times: int
    headers: dict[str, str]


class FakeRunpod:
    """A context manager; an endpoint that is up within it. Attributes in the first block may be set at any time."""

    def __init__(self):
        self.result_seconds = 30 * 60.0
        """How long a finished request is known."""
        self.poll_seconds = 5.0
        """How long a worker's question for jobs or stops is held."""
        self.delay = 0.0
        """Seconds before each answer to a client."""
        self.requeue = False
        """Whether what a dead worker had goes back into the queue; otherwise it stays until its time is up."""
        self.silence_seconds = 3.0
        """A worker is dead that has said nothing for so long."""
        self.duplicates = 0
        """So many of the next deliveries are made twice."""

        self.endpoint = "endpoint-of-tests"
        self.key = "rpa_" + secrets.token_hex(16)
        self.worker_key = secrets.token_hex(16)
        self.requests: dict[str, Request] = {}
        self.calls: list[Call] = []
        self.terminated: list[str] = []
        """Pods that were asked to end."""
        self._queue: deque[str] = deque()
        self._stops: dict[str, list[str]] = {}
        self._heard: dict[str, float] = {}
        self._faults: list[_Fault] = []
        self._skipped = 0.0
        self._changed = threading.Condition(threading.RLock())
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self._processes: dict[str, subprocess.Popen] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="runpod-")

    def __enter__(self) -> "FakeRunpod":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        for worker in list(self._processes):
            self.kill_worker(worker)
        self.stop()
        self._folder.cleanup()

    # Up and down

    def start(self) -> None:
        """Listen, at the same port as before."""
        self._server = _Server(("127.0.0.1", self._port), self)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections and leave questions that are held unanswered; no request is forgotten."""
        server, self._server = self._server, None
        if server:
            server.shutdown()
            server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def base(self) -> str:
        """The address that clients put an endpoint's name after."""
        return f"{self.url}/v2"

    @property
    def client_environment(self) -> dict[str, str]:
        return {
            "RUNPOD_ENDPOINT_BASE_URL": self.base,
            "RUNPOD_API_BASE_URL": self.url,
            "RUNPOD_API_KEY": self.key,
        }

    def worker_environment(self, worker: str) -> dict[str, str]:
        """What RunPod sets for a worker; the SDK's own checks, one of which calls a server on the internet, are off."""
        address = f"{self.base}/{self.endpoint}"
        return {
            "RUNPOD_WEBHOOK_GET_JOB": f"{address}/job-take/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{address}/job-done/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_STREAM": f"{address}/job-stream/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_WEBHOOK_PING": f"{address}/ping/$RUNPOD_POD_ID?gpu=none",
            "RUNPOD_AI_API_KEY": self.worker_key,
            "RUNPOD_POD_ID": worker,
            "RUNPOD_PING_INTERVAL": "1000",
            "RUNPOD_ENDPOINT_ID": self.endpoint,
            "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
            "RUNPOD_SKIP_GPU_CHECK": "true",
        }

    # Faults

    def fail(self, status: int, times: int = 1, operation: str | None = None, **headers: str) -> None:
        """Answer so many of the next calls (clients' of any kind, or those of one operation) with this status;
        `Retry_After="1"` is a header."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self._faults.append(_Fault(operation, status, times, headers))

    def lose(self, times: int = 1, operation: str | None = None) -> None:
        """Do what so many of the next calls ask, and hang up without an answer."""
        self._faults.append(_Fault(operation, None, times, {}))

    def skip(self, seconds: float) -> None:
        """Move the clock on."""
        with self._changed:
            now = self._now()
            self._skipped += seconds
            self._heard = {worker: heard + self._now() - now for worker, heard in self._heard.items()}
            self._changed.notify_all()

    # Workers

    def start_worker(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, worker: str | None = None
    ) -> str:
        """Start a worker's process, with a home of its own, and give its name. It ends with the fake at the latest."""
        worker = worker or f"worker-{secrets.token_hex(4)}"
        home = Path(self._folder.name) / worker
        home.mkdir()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RUNPOD_")}
        with self._log(worker).open("wb") as log:
            self._processes[worker] = subprocess.Popen(
                command,
                env={**inherited, "HOME": str(home), **self.worker_environment(worker), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return worker

    def kill_worker(self, worker: str) -> None:
        """End a worker as if its machine were switched off: with everything that it started."""
        process = self._processes.pop(worker)
        while alive := self._machine(process, worker):
            for other in alive:
                with suppress(psutil.NoSuchProcess):
                    other.send_signal(signal.SIGKILL)
            psutil.wait_procs(alive, timeout=0.1)
        process.wait()
        with self._changed:
            self._heard[worker] = float("-inf")
            self._changed.notify_all()

    def worker_log(self, worker: str) -> str:
        """All that a worker wrote to its console."""
        return self._log(worker).read_text(errors="replace")

    def worker_status(self, worker: str) -> int | None:
        """A worker's exit status; None while it runs."""
        return self._processes[worker].poll()

    def _log(self, worker: str) -> Path:
        return Path(self._folder.name) / f"{worker}.log"

    @staticmethod
    def _machine(worker_process: subprocess.Popen, worker: str) -> list[psutil.Process]:
        """What runs of a worker: its process, those below it, and orphans, which its environment tells."""
        found = []
        pid = worker_process.pid if worker_process.poll() is None else None  # anyone may have a dead one's number
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                family = {process.pid, *(parent.pid for parent in process.parents())}
                mine = pid in family or process.environ().get("RUNPOD_POD_ID") == worker
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    # The queue

    def pending(self) -> list[Request]:
        """Requests that are neither finished nor cancelled: what would still cost money."""
        with self._changed:
            self._tidy()
            return [request for request in self.requests.values() if not request.final]

    def take(self, worker: str) -> dict | None:
        """Give a worker the next job."""
        with self._changed:
            self._tidy()
            self._heard[worker] = self._now()
            if not self._queue:
                return None
            request = self.requests[self._queue.popleft()]
            if self.duplicates and request.state == QUEUED:
                self.duplicates -= 1
                self._queue.append(request.id)
            request.state = RUNNING
            request.started = request.started or self._now()
            request.workers.append(worker)
            return {"id": request.id, "input": request.input}

    def done(self, worker: str, id: str, result: dict) -> bool:
        """A worker's news of a job, final or not; False if nobody knows the job. The first end counts."""
        with self._changed:
            self._tidy()
            self._heard[worker] = self._now()
            request = self.requests.get(id)
            if request is None:
                return False
            if request.final:
                return True
            if result.get("status") == RUNNING:
                request.progress = result.get("output")
            else:
                request.output, request.error = result.get("output"), result.get("error")
                self._end(request, FAILED if request.error else COMPLETED)
            return True

    def _now(self) -> float:
        return time.monotonic() + self._skipped

    def _end(self, request: Request, state: str) -> None:
        request.state, request.ended = state, self._now()
        if state in (CANCELLED, TIMED_OUT):
            self._call_off(request)
        self._queue = deque(id for id in self._queue if id != request.id)
        self._changed.notify_all()

    def _call_off(self, request: Request) -> None:
        for worker in request.workers:
            self._stops.setdefault(worker, []).append(request.id)

    def _tidy(self) -> None:
        """Let time pass: requests that ran too long, results that are too old, workers that are dead."""
        now = self._now()
        for request in list(self.requests.values()):
            too_long = request.started is not None and now - request.started > request.execution_seconds
            if request.state == RUNNING and too_long:
                self._end(request, TIMED_OUT)
            silent = request.workers and now - self._heard[request.workers[-1]] > self.silence_seconds
            if request.state == RUNNING and silent and self.requeue:
                request.state, request.started = QUEUED, None
                self._queue.append(request.id)
            expired = request.final and now - request.ended > self.result_seconds
            if expired or now - request.submitted > request.ttl_seconds:
                if not request.final:
                    self._call_off(request)
                del self.requests[request.id]
                self._queue = deque(id for id in self._queue if id != request.id)

    # What is asked over HTTP: each gives a status and an answer

    def _run(self, handler, _, body: dict) -> tuple[int, dict]:
        policy = body.get("policy", {})
        execution, ttl = policy.get("executionTimeout", 600_000) / 1000, policy.get("ttl", 86_400_000) / 1000
        if not (isinstance(body.get("input"), dict) and 5 <= execution <= WEEK and 10 <= ttl <= WEEK):
            return 400, {"error": "input is required; executionTimeout is 5 s to 7 days, ttl is 10 s to 7 days"}
        request = Request(f"{secrets.token_hex(8)}-u1", body["input"], execution, ttl, self._now())
        self.requests[request.id] = request
        self._queue.append(request.id)
        self._changed.notify_all()
        return 200, {"id": request.id, "status": request.state}

    def _status(self, handler, names: list[str], _) -> tuple[int, dict]:
        request = self.requests.get(names[0])
        return (200, request.answer()) if request else (404, {"error": "request does not exist"})

    def _cancel(self, handler, names: list[str], _) -> tuple[int, dict]:
        request = self.requests.get(names[0])
        if request is None:
            return 404, {"error": "request does not exist"}
        if request.final:
            return 400, {"error": f"request is {request.state}"}
        self._end(request, CANCELLED)
        return 200, {"id": request.id, "status": request.state}

    def _health(self, handler, *_) -> tuple[int, dict]:
        states = Counter(request.state for request in self.requests.values())
        busy = {request.workers[-1] for request in self.requests.values() if request.state == RUNNING}
        alive = {worker for worker, heard in self._heard.items() if self._now() - heard <= self.silence_seconds}
        return 200, {
            "jobs": {
                "completed": states[COMPLETED],
                "failed": states[FAILED],
                "inProgress": states[RUNNING],
                "inQueue": states[QUEUED],
                "retried": 0,
            },
            "workers": {"idle": len(alive - busy), "running": len(alive & busy), "initializing": 0, "throttled": 0},
        }

    def _graphql(self, handler, _, body: dict) -> tuple[int, dict]:
        ended = re.search(r'podTerminate\(input: \{ podId: "([^"]+)" \}\)', body["query"])
        if not ended:
            return 200, {"errors": [{"message": "only podTerminate is known here"}]}
        self.terminated.append(ended[1])
        return 200, {"data": {"podTerminate": None}}

    def _job_take(self, handler, names: list[str], _) -> tuple[int, object]:
        return self._hold(handler, lambda: self.take(names[0]))

    def _job_take_batch(self, handler, names: list[str], _) -> tuple[int, object]:
        size = int(parse_qs(handler.path.partition("?")[2])["batch_size"][0])
        return self._hold(handler, lambda: [job for _ in range(size) if (job := self.take(names[0]))])

    def _job_stop(self, handler, names: list[str], _) -> tuple[int, object]:
        def stops() -> dict | None:
            self._tidy()
            ids = self._stops.pop(names[0], None)
            return ids and {"jobsToStop": ids}

        return self._hold(handler, stops)

    def _job_done(self, handler, names: list[str], body: dict) -> tuple[int, dict]:
        return (200, {}) if self.done(*names, body) else (404, {"error": "request does not exist"})

    def _ping(self, handler, names: list[str], _) -> tuple[int, dict]:
        self._heard[names[0]] = self._now()
        return 200, {}

    def _hold(self, handler, news: Callable[[], object]) -> tuple[int | None, object]:
        """Wait for news, as long as somebody is there to hear it."""
        server, deadline = self._server, time.monotonic() + self.poll_seconds
        while self._server is server and not handler.hung_up():
            if answer := news():
                return 200, answer
            if time.monotonic() > deadline:
                return 204, None
            self._changed.wait(0.05)
        return None, None

    def serve(self, handler: "_Handler") -> None:
        """Answer one call."""
        names = handler.path.partition("?")[0].strip("/").split("/")
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        body = json.loads(body) if body else None
        operation = names[0] if names == ["graphql"] else names[2] if len(names) > 2 else ""
        for_clients = operation in FOR_CLIENTS
        if for_clients:
            time.sleep(self.delay)
        with self._changed:
            fault, headers = self._fault(operation), {}
            self.calls.append(call := Call(operation, handler.command, handler.path, body))
            if fault and fault.status:
                status, answer, headers = fault.status, {"error": "a fault of the tests"}, fault.headers
            elif handler.headers["Authorization"] != (f"Bearer {self.key}" if for_clients else self.worker_key):
                status, answer = 401, {"error": "unauthorized"}
            elif operation not in FOR_CLIENTS + FOR_WORKERS or names[:2] not in (["graphql"], ["v2", self.endpoint]):
                status, answer = 404, {"error": "no such endpoint or operation"}
            else:
                self._tidy()
                status, answer = getattr(self, "_" + operation.replace("-", "_"))(handler, names[3:], body)
            if not (fault and fault.status is None):
                call.status = status
        if call.status is not None:
            handler.answer(status, answer, headers)

    def _fault(self, operation: str) -> _Fault | None:
        for fault in self._faults:
            if fault.times and (operation == fault.operation or (not fault.operation and operation in FOR_CLIENTS)):
                fault.times -= 1
                return fault
        return None


class _Server(ThreadingHTTPServer):
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], fake: FakeRunpod):
        super().__init__(address, _Handler)
        self.fake = fake

    def handle_error(self, request, client_address) -> None:
        """A caller that hangs up is nothing to tell of; anything else is."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.fake.serve(self)

    do_POST = do_GET

    def answer(self, status: int, answer: object, headers: Mapping[str, str]) -> None:
        body = b"" if status == 204 else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": len(body), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def hung_up(self) -> bool:
        """Whether the caller has closed the connection."""
        readable, _, _ = select([self.connection], [], [], 0)
        try:
            return bool(readable) and not self.connection.recv(1, MSG_PEEK)
        except ConnectionError:
            return True

    def log_message(self, *_) -> None:
        pass
