"""RunPod's endpoint as the executor sees it: the real SDK's client against the fake of the service."""

import json
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest
from fake_runpod import WEEK, FakeRunpod
from snakemake_executor_plugin_runpod import control
from snakemake_executor_plugin_runpod.control import Endpoint, Gone, Refused, Unreachable
from snakemake_executor_plugin_runpod.errors import RunpodError

HOUR = 3600


@pytest.fixture
def runpod(monkeypatch):
    import runpod as sdk

    monkeypatch.setattr(control, "BACKOFF", 0.02)
    with FakeRunpod() as fake:
        monkeypatch.setattr(sdk, "endpoint_url_base", fake.base)
        yield fake


@pytest.fixture
def endpoint(runpod) -> Endpoint:
    return Endpoint(runpod.endpoint, runpod.key)


def submit(endpoint: Endpoint, seconds: int = 600, ttl: int = 2 * HOUR) -> str:
    return endpoint.submit({"attempt": "a"}, seconds, ttl)


def asked(runpod: FakeRunpod, operation: str) -> int:
    return sum(call.operation == operation for call in runpod.calls)


# What becomes of a request


def test_a_request_from_the_queue_to_its_end(runpod, endpoint):
    request = submit(endpoint)
    assert runpod.requests[request].input == {"attempt": "a"}
    status = endpoint.status(request)
    assert (status.state, status.final, status.delay_seconds, status.execution_seconds) == (
        "IN_QUEUE",
        False,
        None,
        None,
    )
    runpod.skip(30)
    runpod.take("worker")
    runpod.done("worker", request, {"status": "IN_PROGRESS", "output": "12 of 40 frames"})
    status = endpoint.status(request)
    assert (status.state, status.final, status.progress) == ("IN_PROGRESS", False, "12 of 40 frames")
    assert 30 <= status.delay_seconds < 31
    runpod.skip(50)
    runpod.done("worker", request, {"output": {"attempt": "a", "status": 0}})
    status = endpoint.status(request)
    assert (status.state, status.final, status.progress, status.error) == ("COMPLETED", True, None, None)
    assert 50 <= status.execution_seconds < 51
    assert endpoint.health()["jobs"]["completed"] == 1
    runpod.skip(HOUR)
    with pytest.raises(Gone, match=f"{request}.* 30 minutes"):
        endpoint.status(request)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("the disk is full", "the disk is full"),
        (json.dumps({"error_type": "OSError", "error_message": "no space", "error_traceback": "..."}), "no space"),
        ({"code": 5}, '{"code": 5}'),
        ("[1]", "[1]"),
    ],
)
def test_a_failure_is_told_in_the_workers_words(runpod, endpoint, error, told):
    request = submit(endpoint)
    runpod.take("worker")
    runpod.done("worker", request, {"error": error})
    status = endpoint.status(request)
    assert (status.state, status.final, status.error) == ("FAILED", True, told)


def test_what_takes_too_long_or_is_cancelled_has_ended(runpod, endpoint):
    long, queued, running = submit(endpoint), submit(endpoint), submit(endpoint)
    runpod.take("worker")
    runpod.skip(601)
    assert endpoint.status(long).state == "TIMED_OUT" and endpoint.status(long).final
    endpoint.cancel(queued)
    assert endpoint.status(queued).state == "CANCELLED" and endpoint.status(queued).final
    runpod.take("worker")
    endpoint.cancel(running)
    assert not runpod.pending()


def test_to_cancel_what_has_ended_or_is_gone_is_no_error(runpod, endpoint):
    request = submit(endpoint)
    runpod.take("worker")
    runpod.done("worker", request, {"output": 1})
    endpoint.cancel(request)
    assert runpod.calls[-2].status == 400  # what was asked next is whether it has ended
    endpoint.cancel("unknown")
    runpod.fail(400, operation="cancel")
    with pytest.raises(Refused, match="400"):
        endpoint.cancel(submit(endpoint))


@pytest.mark.parametrize(
    ("execution", "ttl", "given_execution", "given_ttl"),
    [
        (600, 4 * HOUR, 600, 4 * HOUR),
        (1, 1, 5, 5 + HOUR),
        (3 * HOUR, 60, 3 * HOUR, 4 * HOUR),
        (10 * WEEK, 1, WEEK - HOUR, WEEK),
        (60, 10 * WEEK, 60, WEEK),
    ],
)
def test_the_times_are_those_that_runpod_allows_and_leave_room_for_the_queue(
    runpod, endpoint, execution, ttl, given_execution, given_ttl
):
    request = runpod.requests[submit(endpoint, execution, ttl)]
    assert (request.execution_seconds, request.ttl_seconds) == (given_execution, given_ttl)


# When RunPod does not do it


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_status_is_asked_for_once_and_later_again(runpod, endpoint, status):
    request = submit(endpoint)
    runpod.fail(status, operation="status", Retry_After="9")
    with pytest.raises(Unreachable, match=f"{runpod.endpoint} cannot answer now .{status}"):
        endpoint.status(request)
    assert asked(runpod, "status") == 1
    assert endpoint.status(request).state == "IN_QUEUE"


@pytest.mark.parametrize("status", [429, 503])
def test_a_submission_that_was_not_taken_is_made_again(runpod, endpoint, status):
    runpod.fail(status, times=3, operation="run")
    submit(endpoint)
    assert (asked(runpod, "run"), len(runpod.requests)) == (4, 1)
    runpod.fail(status, times=99, operation="run")
    with pytest.raises(Unreachable, match=f"cannot answer now .{status}"):
        submit(endpoint)
    assert asked(runpod, "run") == 4 + 1 + control.RETRIES


def test_it_waits_as_long_as_runpod_says(runpod, endpoint):
    runpod.fail(429, operation="run", Retry_After="1")
    start = time.monotonic()
    submit(endpoint)
    assert time.monotonic() - start >= 1


@pytest.mark.parametrize("operation", ["run", "cancel"])
def test_while_runpod_is_down_submissions_and_cancellations_wait(runpod, endpoint, operation, monkeypatch):
    monkeypatch.setattr(control, "BACKOFF", 0.2)
    request = submit(endpoint)
    runpod.stop()
    with pytest.raises(Unreachable, match="refused"):
        endpoint.status(request)
    up_again = threading.Timer(0.1, runpod.start)
    up_again.start()
    if operation == "run":
        submit(endpoint)
    else:
        endpoint.cancel(request)
    up_again.join()
    assert len(runpod.pending()) == (2 if operation == "run" else 0)


def test_a_submission_whose_answer_is_lost_is_not_made_again(runpod, endpoint, monkeypatch):
    runpod.lose(operation="run")
    with pytest.raises(Unreachable, match="run .*without response"):
        submit(endpoint)
    runpod.fail(500, operation="run")
    with pytest.raises(Unreachable, match="500"):
        submit(endpoint)
    monkeypatch.setattr(control, "TIMEOUT", (1, 0.1))
    runpod.delay = 0.5
    with pytest.raises(Unreachable, match="does not answer"):
        submit(endpoint)
    while asked(runpod, "run") < 3:
        time.sleep(0.05)
    time.sleep(0.6)
    assert asked(runpod, "run") == 3


def test_the_same_holds_for_the_real_address(monkeypatch):
    """The SDK's own retries are for http:// only. Nothing is asked here."""
    import runpod as sdk

    monkeypatch.setattr(sdk, "endpoint_url_base", "https://api.runpod.ai/v2")
    session = Endpoint("abc", "key")._client().rp_session
    retries = {
        operation: session.get_adapter(f"https://api.runpod.ai/v2/abc/{operation}").max_retries
        for operation in ("run", "cancel/1", "status/1", "health")
    }
    assert [retry.total for retry in retries.values()] == [control.RETRIES, control.RETRIES, 0, 0]
    assert (retries["run"].read, retries["run"].other) == (False, 0)  # TLS that breaks off counts as `other`


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_is_told(runpod, endpoint, status):
    runpod.fail(status, times=2)
    for ask in (endpoint.health, lambda: submit(endpoint)):
        with pytest.raises(Refused, match=f"{status}.*RUNPOD_API_KEY"):
            ask()


def test_a_wrong_endpoint_is_told(runpod):
    endpoint = Endpoint("another", runpod.key)
    for ask in (endpoint.health, lambda: submit(endpoint)):
        with pytest.raises(Refused, match="no endpoint another .*runpod-endpoint"):
            ask()


def test_other_refusals_are_told_in_runpods_words(runpod, endpoint):
    runpod.fail(400, operation="run")
    with pytest.raises(Refused, match="400: .*a fault of the tests"):
        submit(endpoint)
    assert asked(runpod, "run") == 1


@pytest.mark.parametrize("answer", [(200, "<html>"), (200, {"other": 1}), (200, [])])
def test_an_answer_of_something_between_is_not_runpods(runpod, endpoint, monkeypatch, answer):
    monkeypatch.setattr(runpod, "_status", lambda *_: answer)
    with pytest.raises(Unreachable, match="cannot be understood: it has no 'status'"):
        endpoint.status("request")


@pytest.mark.parametrize(
    ("endpoint", "key"), [("", "key"), ("a/../b", "key"), ("a", ""), ("a", "secret\n"), ("a", "k é")]
)
def test_settings_that_cannot_be_right(endpoint, key):
    with pytest.raises(RunpodError, match="correct the setting|set it again") as told:
        Endpoint(endpoint, key)
    assert "secret" not in str(told.value)


# What nobody may see


def test_no_error_has_the_key_in_it(runpod, endpoint, monkeypatch):
    def failures():
        request = submit(endpoint)
        for status in (401, 404, 429, 500):
            runpod.fail(status, operation="status")
            yield lambda: endpoint.status(request)
        monkeypatch.setattr(runpod, "_status", lambda *_: (402, {"error": f"key {runpod.key} has no money"}))
        yield lambda: endpoint.status(request)
        runpod.lose(operation="run")
        yield lambda: submit(endpoint)
        runpod.stop()
        yield lambda: endpoint.status(request)

    seen = 0
    for call in failures():
        with pytest.raises(RunpodError) as told:
            call()
        error = told.value
        frames = traceback.TracebackException.from_exception(error, capture_locals=True)
        del frames.stack[0]  # this function's own, where the key is known
        assert runpod.key not in "".join(frames.format()) + repr(error) + repr(vars(error)) + repr(endpoint)
        assert error.__cause__ is None and error.__context__ is None
        seen += 1
    assert seen == 7


QUIET = """
import logging, os, sys
from snakemake_executor_plugin_runpod.control import Endpoint
assert "runpod" not in sys.modules and "requests" not in sys.modules
Endpoint(sys.argv[1], os.environ["RUNPOD_API_KEY"]).health()
assert "runpod" in sys.modules
assert not logging.getLogger().handlers and logging.getLogger().level == logging.WARNING
"""


def test_the_sdk_is_loaded_late_and_says_and_changes_nothing(runpod):
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", QUIET, runpod.endpoint],
        env=runpod.client_environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert asked(runpod, "health") == 1


def test_threads_share_an_endpoint(runpod, endpoint):
    with ThreadPoolExecutor(8) as pool:
        requests = list(pool.map(lambda _: submit(endpoint), range(40)))
        states = list(pool.map(lambda request: endpoint.status(request).state, requests))
    assert set(requests) == set(runpod.requests) and len(requests) == 40
    assert states == ["IN_QUEUE"] * 40
