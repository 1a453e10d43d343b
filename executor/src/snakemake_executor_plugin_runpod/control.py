"""RunPod's side of a job: submit it, ask how it is, cancel it. Through the SDK's own client, with its gaps filled."""

import json
import logging
import re
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from snakemake_executor_plugin_runpod.errors import RunpodError

if TYPE_CHECKING:  # the SDK takes 1.5 s to import, which a dry run need not wait for
    import requests
    from runpod.endpoint.runner import RunPodClient

FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")
"""The SDK's own list of these lacks CANCELLED."""
SHORTEST = 5
LONGEST = 7 * 24 * 3600
QUEUE_ALLOWANCE = 3600
"""Seconds that a request may at least wait for a worker and its result be kept, beside its execution."""
TIMEOUT = (10, 30)
"""Seconds for a connection, and for the answer."""
RETRIES = 5
BACKOFF = 1.0
"""Seconds; each wait is twice the last one: half a minute in all, which outlasts RunPod's limits of calls per 10 s."""
LONGEST_RETRY_AFTER = 60


class Gone(RunpodError):
    """RunPod no longer knows the request: its results live 30 minutes, and nothing outlives its ttl."""


class Unreachable(RunpodError):
    """No answer, or one that says to come back later. After a submission: RunPod may have the request or not."""


class Refused(RunpodError):
    """RunPod will not do it, and there is no use in trying again."""


@dataclass(frozen=True)
class Status:
    """What RunPod says about a request."""

    state: str
    execution_seconds: float | None
    """How long it ran; None before it ended."""
    delay_seconds: float | None
    """How long it waited for a worker; None while it does."""
    progress: str | None
    """What its worker last said about it, while it runs."""
    error: str | None

    @property
    def final(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.state in FINAL


class Endpoint:
    """One serverless endpoint. Any thread may use it.

    Every method raises Unreachable or Refused, with nothing of the API key in it.
    """

    def __init__(self, endpoint: str, api_key: str):
        """RunpodError where one of the two cannot be right; nothing is asked of RunPod yet."""
        if not re.fullmatch(r"[A-Za-z0-9_-]+", endpoint):
            raise RunpodError(
                f"{endpoint!r} is not the id of a RunPod endpoint, which is letters and digits; correct the setting"
                " runpod-endpoint (SNAKEMAKE_RUNPOD_ENDPOINT)."
            )
        if not re.fullmatch(r"[!-~]+", api_key):  # the HTTP libraries would quote any other one in their errors
            raise RunpodError("RUNPOD_API_KEY is empty or has blanks or other strange characters in it; set it again.")
        self.endpoint = endpoint
        self._api_key = api_key
        self._thread = threading.local()  # holds a client: requests does not promise that threads can share a session

    def submit(self, request: dict, execution_seconds: int, ttl_seconds: int) -> str:
        """Queue `request` and give its id. It may run for `execution_seconds` and is forgotten `ttl_seconds` from now;
        both are kept within what RunPod allows, and the latter an hour above the former.

        It is sent again only where RunPod cannot have taken it: no connection, or the answers 429 and 503.
        """
        execution = min(max(execution_seconds, SHORTEST), LONGEST - QUEUE_ALLOWANCE)
        ttl = min(max(ttl_seconds, execution + QUEUE_ALLOWANCE), LONGEST)
        policy = {"executionTimeout": 1000 * execution, "ttl": 1000 * ttl}
        try:
            return self._ask("post", "run", "id", {"input": request, "policy": policy})["id"]
        except Gone:
            raise self._unknown() from None

    def status(self, request_id: str) -> Status:
        """How a request is, asked once; Gone where RunPod does not know it."""
        answer = self._ask("get", f"status/{request_id}", "status")
        running = answer["status"] not in FINAL
        return Status(
            answer["status"],
            *(None if answer.get(k) is None else answer[k] / 1000 for k in ("executionTime", "delayTime")),
            progress=_text(answer.get("output")) if running else None,
            error=_message(answer.get("error")),
        )

    def cancel(self, request_id: str) -> None:
        """End a request, in the queue or running; what has ended or is gone needs no more."""
        try:
            self._ask("post", f"cancel/{request_id}", "status", None)
        except Gone:
            return
        except Refused:
            with suppress(Gone):
                if not self.status(request_id).final:
                    raise

    def health(self) -> dict:
        """How many `jobs` and `workers` the endpoint has in each of their states."""
        try:
            return self._ask("get", "health", "workers")
        except Gone:
            raise self._unknown() from None

    def _ask(self, method: str, path: str, key: str, *data: dict | None) -> dict:
        """The answer, which has `key` in it, to a `get` or to a `post` of data."""
        call = getattr(self._client(), method)
        import requests

        address = f"{self.endpoint}/{path}"
        try:
            answer = call(address, *data, timeout=TIMEOUT)
            if isinstance(answer, dict) and key in answer:
                return answer
            failure = Unreachable(f"RunPod's answer for {address} cannot be understood: it has no '{key}'.")
        except RunpodError as error:
            failure = error.with_traceback(None)
        except requests.Timeout:
            failure = Unreachable(f"RunPod does not answer for {address}; is the network up?")
        except requests.JSONDecodeError:
            failure = Unreachable(f"RunPod's answer for {address} cannot be understood: it is not JSON.")
        except requests.RequestException as error:
            reason = self._without_key(_innermost(error))
            failure = Unreachable(f"RunPod cannot be reached for {address} ({reason}); is the network up?")
        # Not from within `except`, nor with the traceback: frames and exceptions of requests hold the key.
        raise failure

    def _client(self) -> "RunPodClient":
        """This thread's client."""
        if hasattr(self._thread, "client"):
            return self._thread.client
        # basicConfig, which the SDK calls as it is imported, leaves a root logger alone that has a handler.
        root, handler = logging.getLogger(), logging.NullHandler()
        root.addHandler(handler)
        try:
            import runpod
        finally:
            root.removeHandler(handler)
        from requests.adapters import HTTPAdapter, Retry

        client = runpod.Endpoint(self.endpoint, api_key=self._api_key).rp_client
        client.rp_session.hooks["response"].append(self._judge)
        # The SDK retries on http:// only, and GETs too. A status is asked for again soon enough; what matters are
        # submissions and cancellations, and for those every case in which RunPod has surely done nothing.
        cautious = Retry(
            total=RETRIES,
            read=False,
            other=0,
            status_forcelist=(429, 503),
            allowed_methods=None,
            backoff_factor=BACKOFF,
            backoff_jitter=BACKOFF,
            retry_after_max=LONGEST_RETRY_AFTER,
            raise_on_status=False,
        )
        for start in ("http://", "https://"):
            client.rp_session.mount(start, HTTPAdapter())
        for operation in ("run", "cancel"):
            address = f"{client.endpoint_url_base}/{self.endpoint}/{operation}"
            client.rp_session.mount(address, HTTPAdapter(max_retries=cautious))
        self._thread.client = client
        return client

    def _judge(self, response: "requests.Response", **_) -> None:
        """Raise what an answer's status means, before the SDK does, which tells only 401 apart."""
        if response.ok:
            return
        status, said = response.status_code, " ".join(response.text.split())  # read whole, which frees its connection
        if status == 404:
            raise Gone(f"RunPod does not know {response.request.path_url}; its results are kept for 30 minutes.")
        if status in (401, 403):
            raise Refused(
                f"RunPod refuses the API key ({status}); check that RUNPOD_API_KEY is valid and may use the endpoint"
                f" {self.endpoint}."
            )
        said = self._without_key(said)[:200]
        if status in (408, 429) or status >= 500:
            raise Unreachable(f"RunPod's endpoint {self.endpoint} cannot answer now ({status}: {said}).")
        raise Refused(f"RunPod's endpoint {self.endpoint} refuses the request ({status}: {said}).")

    def _unknown(self) -> Refused:
        return Refused(
            f"RunPod has no endpoint {self.endpoint} (404); check the setting runpod-endpoint"
            " (SNAKEMAKE_RUNPOD_ENDPOINT) and that RUNPOD_API_KEY is of the account that has it."
        )

    def _without_key(self, text: str) -> str:
        return text.replace(self._api_key, "[key]")


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _message(error: object) -> str | None:
    """A worker's error in words; the SDK sends an exception that a handler raised as JSON, traceback and all."""
    with suppress(TypeError, ValueError, KeyError):
        return str(json.loads(error)["error_message"])
    return _text(error)


def _innermost(error: BaseException) -> str:
    """What the first of the exceptions that are wrapped in each other says."""
    inner = getattr(error, "reason", None) or (error.args[-1] if error.args else None)
    return _innermost(inner) if isinstance(inner, BaseException) else str(error) or type(error).__name__
