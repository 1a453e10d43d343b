"""The fake of RunPod against the real SDK: its clients and workers do against this what they do against the service."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request

import psutil
import pytest
from fake_runpod import CANCELLED, COMPLETED, FAILED, QUEUED, RUNNING, TIMED_OUT, FakeRunpod

WORKER = """
import asyncio, subprocess, sys, runpod
async def handler(job):
    if job["input"].get("wait"):
        subprocess.Popen(["sleep", "600"], start_new_session=True, env={})
        runpod.serverless.progress_update(job, "waiting")
        await asyncio.sleep(job["input"]["wait"])
    return {"double": 2 * job["input"]["number"]}
runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda now: int(sys.argv[1])})
"""
CLIENT = """
import os, sys, runpod
endpoint = runpod.Endpoint(sys.argv[1], os.environ["RUNPOD_API_KEY"])
job = endpoint.run({"input": {"number": 21}, "policy": {"executionTimeout": 60000, "ttl": 120000}})
print(job.output(timeout=30), job.status(), endpoint.health()["jobs"]["completed"])
runpod.api_key = os.environ["RUNPOD_API_KEY"]
runpod.terminate_pod("pod-of-tests")
"""


@pytest.fixture
def runpod():
    with FakeRunpod() as fake:
        yield fake


def start(runpod: FakeRunpod, at_once: int = 1) -> str:
    return runpod.start_worker([sys.executable, "-c", WORKER, str(at_once)])


def ask(runpod: FakeRunpod, path: str, body: dict | None = None, key: str | None = None) -> tuple[int, dict]:
    """A client's GET, or POST of `body`, by hand: the status and the answer."""
    request = urllib.request.Request(
        f"{runpod.base}/{runpod.endpoint}/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {key or runpod.key}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def submit(runpod: FakeRunpod, policy: dict | None = None, **input) -> str:
    status, answer = ask(runpod, "run", {"input": {"number": 1} | input, "policy": policy or {}})
    assert (status, answer["status"]) == (200, QUEUED)
    return answer["id"]


def until(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def state(runpod: FakeRunpod, request: str) -> str | None:
    return ask(runpod, f"status/{request}")[1].get("status")


def test_the_real_client_and_the_real_worker_meet(runpod):
    worker = start(runpod)
    client = subprocess.run(
        [sys.executable, "-c", CLIENT, runpod.endpoint],
        env=runpod.client_environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert client.stdout == "{'double': 42} COMPLETED 1\n", (client.stderr, runpod.worker_log(worker))
    (request,) = runpod.requests.values()
    assert request.workers == [worker]
    assert runpod.terminated == ["pod-of-tests"]
    assert {call.operation for call in runpod.calls} >= {"run", "status", "job-take", "job-done", "ping", "graphql"}
    assert not runpod.pending()


def test_a_worker_that_takes_several_jobs_is_told_which_to_stop_and_dies_with_all_it_started(runpod):
    worker = start(runpod, at_once=2)
    until(lambda: any("batch_size=2" in call.path for call in runpod.calls))
    first, second = submit(runpod, wait=600), submit(runpod, wait=600)
    until(lambda: {runpod.requests[id].progress for id in (first, second)} == {"waiting"})
    sleepers = [p for p in psutil.Process(runpod._processes[worker].pid).children() if p.name() == "sleep"]
    assert len(sleepers) == 2
    assert ask(runpod, f"cancel/{first}", {}) == (200, {"id": first, "status": CANCELLED})
    until(lambda: "Job stopped" in runpod.worker_log(worker))
    assert state(runpod, second) == RUNNING
    assert [request.id for request in runpod.pending()] == [second]

    runpod.requeue, runpod.silence_seconds = True, 60
    runpod.kill_worker(worker)
    assert not [p for p in sleepers if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert state(runpod, second) == QUEUED
    assert runpod.take("another")["id"] == second


def test_who_has_the_wrong_key_or_endpoint_or_asks_for_too_much_is_refused(runpod):
    assert ask(runpod, "health", key="wrong")[0] == 401
    assert ask(runpod, "status/unknown")[0] == 404
    with pytest.raises(urllib.error.HTTPError, match="404") as refused:
        urllib.request.urlopen(
            urllib.request.Request(f"{runpod.base}/other/health", headers={"Authorization": f"Bearer {runpod.key}"})
        )
    refused.value.close()
    assert ask(runpod, "run", {"input": {}, "policy": {"executionTimeout": 4999}})[0] == 400
    assert ask(runpod, "run", {"input": {}, "policy": {"ttl": 1000 * (7 * 24 * 3600 + 1)}})[0] == 400
    assert not runpod.requests


def test_time_ends_what_takes_too_long_and_forgets_what_is_old(runpod):
    policy = {"executionTimeout": 60_000, "ttl": 100_000}
    long, queued = submit(runpod, policy), submit(runpod, policy)
    runpod.skip(7)
    runpod.take("worker")
    runpod.skip(61)
    status = ask(runpod, f"status/{long}")[1]
    assert (status["status"], status["delayTime"] // 1000, status["executionTime"] // 1000) == (TIMED_OUT, 7, 61)
    assert not runpod.done("worker", "unknown", {}) and runpod.done("worker", long, {"output": "too late"})
    assert state(runpod, long) == TIMED_OUT
    runpod.skip(33)  # 101 s since both were submitted
    assert state(runpod, long) is None and state(runpod, queued) is None
    assert not runpod.pending()

    short = submit(runpod)
    runpod.take("worker")
    runpod.done("worker", short, {"error": "broken"})
    assert ask(runpod, f"status/{short}")[1]["error"] == "broken" and state(runpod, short) == FAILED
    runpod.skip(runpod.result_seconds + 1)
    assert state(runpod, short) is None


def test_a_silent_workers_job_is_given_to_another_only_where_that_is_wished(runpod):
    request = submit(runpod)
    runpod.silence_seconds = 0.2
    assert runpod.take("first")
    time.sleep(0.3)
    assert runpod.take("second") is None
    runpod.requeue = True
    assert runpod.take("second")["id"] == request
    runpod.done("second", request, {"output": 1})
    assert runpod.requests[request].workers == ["first", "second"]


def test_faults(runpod):
    runpod.duplicates = 1
    request = submit(runpod)
    assert runpod.take("first")["id"] == runpod.take("second")["id"] == request
    assert runpod.take("third") is None

    runpod.fail(503, times=2, operation="status", Retry_After="1")
    runpod.fail(500)
    statuses = [ask(runpod, path)[0] for path in ("health", f"status/{request}", f"status/{request}", "health")]
    assert statuses == [500, 503, 503, 200]

    runpod.lose(operation="run")
    with pytest.raises(ConnectionError):
        submit(runpod)
    assert len(runpod.requests) == 2

    runpod.delay = 0.3
    start = time.monotonic()
    ask(runpod, "health")
    assert time.monotonic() - start >= 0.3
    runpod.delay = 0

    runpod.stop()
    with pytest.raises(urllib.error.URLError, match="refused"):
        ask(runpod, "health")
    runpod.start()
    assert state(runpod, request) == RUNNING
    runpod.done("second", request, {"output": 1})
    assert state(runpod, request) == COMPLETED
