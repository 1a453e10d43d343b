"""The service's HTTP side: routes, answers and errors. What an answer holds is the engine's business."""

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import flask
import orjson
from flask import Flask, Response, current_app, g
from prometheus_client import CONTENT_TYPE_LATEST
from werkzeug.exceptions import HTTPException, NotFound, RequestEntityTooLarge, UnsupportedMediaType

from pose_factory.service import Answer, Closing, Full, Request, incoming
from pose_factory.service.gate import PAGE
from pose_factory.service.incoming import BadInput
from pose_factory.service.jobs import DONE, Job, Jobs
from pose_factory.service.metrics import Metrics
from pose_factory.service.server import BATCHES, RETRY_SECONDS
from pose_factory.service.settings import Settings

if TYPE_CHECKING:  # which brings PyTorch
    from pose_factory.service.engine import Engine

OPENAPI = Path(__file__).parent / "openapi.json"
PROBES = ("health", "metrics")
"""Endpoints that are asked all the time, so that their answers are no news."""
UNKNOWN_JOB = "There is no such job; it may have been forgotten, as results are after a while."
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
"""The Content-Security-Policy of all answers: nothing from elsewhere, nothing inline."""

log = logging.getLogger(__name__)


class _Request(flask.Request):
    """An uploaded file goes to the films' folder as it is read."""

    def _get_file_stream(self, *_: object, **__: object) -> IO[bytes]:
        return tempfile.NamedTemporaryFile(dir=_jobs().folder, suffix=".upload")


def make_app(settings: Settings, engine: "Engine") -> Flask:
    """The WSGI application that serves `engine` to whoever server.Server lets in. Its `extensions` hold its `jobs`, to
    be closed when done, and its `metrics`."""
    app = Flask(__name__, static_folder=None)
    app.request_class = _Request
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = app.url_map.redirect_defaults = False  # an address is right or wrong
    jobs = Jobs(engine, settings.max_jobs, settings.job_seconds)
    gauges = {
        "queue_length": ("Requests that wait for a worker", engine.queue_length),
        "worker_restarts": ("Worker processes started in the place of one that died", engine.restarts),
        "sessions": ("Sessions in memory", lambda: engine.health()["sessions"]),
        "films": ("Films waiting, running or kept", jobs.count),
    }
    app.extensions |= {
        "settings": settings,
        "engine": engine,
        "jobs": jobs,
        "metrics": Metrics(gauges),
        "batches": threading.BoundedSemaphore(BATCHES),
    }
    app.before_request(_begin)
    app.after_request(_finish)
    for kind, handler in {
        BadInput: _bad_input,
        Full: _full,
        Closing: _closing,
        HTTPException: _http_error,
        Exception: _failure,
    }.items():
        app.register_error_handler(kind, handler)
    for rule, endpoint, view, method in [
        ("/pose/hybrid", "hybrid", _hybrid, "POST"),
        ("/pose", "pose", _pose, "POST"),
        ("/pose/batch", "batch", _batch, "POST"),
        ("/pose/video", "video", _video, "POST"),
        ("/jobs/<name>", "job", _job, "GET"),
        ("/jobs/<name>/result", "job_result", _job_result, "GET"),
        ("/jobs/<name>", "forget_job", _forget_job, "DELETE"),
        ("/health", "health", _health, "GET"),
        ("/metrics", "metrics", _metrics, "GET"),
        ("/openapi.json", "openapi", _openapi, "GET"),
        ("/", "page", _page, "GET"),
    ]:
        app.add_url_rule(rule, endpoint, view, methods=[method])
    for path in PAGE.iterdir():  # each by its name, so that nothing else below it can ever be asked for
        if path.is_file() and path.name != "index.html":
            app.add_url_rule(f"/{path.name}", "asset", _page, methods=["GET"], defaults={"name": path.name})
    return app


# Around each request


def _begin() -> None:
    g.began = time.perf_counter()
    g.noted = {}


def _finish(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-cache" if flask.request.endpoint in ("page", "asset") else "no-store"
    rule, seconds = flask.request.url_rule, time.perf_counter() - g.began
    route = f"{flask.request.method} {rule.rule}" if rule else "unknown"  # never the path: ids of jobs are secrets
    metrics: Metrics = current_app.extensions["metrics"]
    metrics.response(route, response.status_code, seconds)
    if response.status_code >= 400:
        metrics.error(response.status_code)
    about = {"event": "request", "route": route, "status": response.status_code, "request_ms": round(1000 * seconds, 1)}
    probe = flask.request.endpoint in PROBES and response.status_code == 200
    log.log(logging.DEBUG if probe else logging.INFO, "request", extra=about | g.noted)
    return response


def _refuse(status: int, sentence: str, frame_number: int | None = None, retry_after: int | None = None) -> Response:
    """The answer that every error has."""
    number = g.noted.get("frame_number") if frame_number is None else frame_number
    g.noted |= {"frame_number": number, "error": sentence}
    response = _json({"frame_number": number, "error": sentence}, status)
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response


def _bad_input(error: BadInput) -> Response:
    return _refuse(400, str(error), error.frame_number)


def _full(error: Full) -> Response:
    return _refuse(503, str(error), retry_after=error.retry_after)


def _closing(error: Closing) -> Response:
    return _refuse(503, str(error), retry_after=RETRY_SECONDS)


def _http_error(error: HTTPException) -> Response:
    """What Flask raises itself, and we for the cases that it has a name for."""
    if isinstance(error, RequestEntityTooLarge):  # of a multipart body, whose fields it counts
        return _refuse(400, "The form has too many fields, or one that is too long; send the film alone.")
    sentence = error.description
    if flask.request.routing_exception is not None:
        sentence = f"There is no {flask.request.method} at this address; /openapi.json says what there is."
    response = _refuse(error.code, sentence)
    for name, value in error.get_headers():
        if name == "Allow":
            response.headers[name] = value
    return response


def _failure(error: Exception) -> Response:
    log.error("An answer failed.", exc_info=error)
    return _refuse(500, f"The service failed at this ({type(error).__name__}); its log says more.")


# The routes


def _hybrid() -> Response:
    return _answer(_read(incoming.pose_request, True))


def _pose() -> Response:
    return _answer(_read(incoming.pose_request, False))


def _batch() -> Response:
    began = time.perf_counter()
    with _place_for_a_batch():
        bodies, statuses = [], []
        for item in _read(incoming.batch):
            body, status = _entry(item, not any(status == 200 for status in statuses))
            bodies.append(body)
            statuses.append(status)
    errors = sum(status != 200 for status in statuses)
    milliseconds = round(1000 * (time.perf_counter() - began), 2)
    g.noted |= {"frames": len(bodies), "frames_failed": errors}
    head = {"frame_count": len(bodies), "error_count": errors, "processing_time_ms": milliseconds, "error": None}
    # put together from what the workers wrote, which is megabytes
    text = orjson.dumps(head)[:-1] + b',"frames":[' + b",".join(bodies) + b"]}"
    return Response(text, mimetype="application/json")


def _entry(item: Request | BadInput, first: bool) -> tuple[bytes, int]:
    """The JSON and the status of one frame of a batch; as the `first`, one without room is the whole batch's error."""
    if isinstance(item, BadInput):
        status, number, sentence = 400, item.frame_number, str(item)
    else:
        try:
            answer = current_app.extensions["engine"].submit(item).result()
        except (Full, Closing) as error:
            if first:
                raise
            status, number, sentence = 503, item.frame_number, str(error)
        else:
            current_app.extensions["metrics"].frame(answer)
            if answer.status != 200:
                current_app.extensions["metrics"].error(answer.status)
            return answer.body, answer.status
    current_app.extensions["metrics"].error(status)
    return orjson.dumps({"frame_number": number, "error": sentence}), status


def _video() -> Response:
    if flask.request.mimetype != "multipart/form-data":
        raise UnsupportedMediaType("Send the film as multipart/form-data, in the field `video`.")
    jobs = _jobs()
    jobs.check_room()
    film = flask.request.files.get("video")
    if film is None:
        raise BadInput("video is missing; send the film as the file `video` of a multipart form.")
    film.stream.flush()
    upload = Path(film.stream.name)
    size, most = upload.stat().st_size, current_app.extensions["settings"].max_video_bytes
    if not 0 < size <= most:
        raise BadInput(f"video has {size} bytes, but must have from 1 to {most}.")
    job = jobs.add(upload)
    status_url = flask.url_for("job", name=job.id)
    response = _json({"job_id": job.id, "status_url": status_url}, 202)
    response.headers["Location"] = status_url
    return response


def _job(name: str) -> Response:
    job = _found(name)
    result_url = flask.url_for("job_result", name=name) if job.status == DONE else None
    return _json(
        {
            "job_id": job.id,
            "status": job.status,
            "progress": job.progress,
            "frames_done": job.frames_done,
            "frames": job.frames,
            "result_url": result_url,
            "error": job.error,
        }
    )


def _job_result(name: str) -> Response:
    job = _found(name)
    if job.status != DONE:
        raise NotFound(f"The film has no result, it is {job.status}; ask for its status.")
    return flask.send_file(job.result, mimetype="application/json", conditional=False, etag=False)


def _forget_job(name: str) -> Response:
    if not _jobs().drop(name):
        raise NotFound(UNKNOWN_JOB)
    return Response(status=204)


def _health() -> Response:
    return _json(current_app.extensions["engine"].health())


def _metrics() -> Response:
    return Response(current_app.extensions["metrics"].text(), content_type=CONTENT_TYPE_LATEST)


def _openapi() -> Response:
    return flask.send_file(OPENAPI, mimetype="application/json", conditional=False, etag=False)


def _page(name: str = "index.html") -> Response:
    return flask.send_from_directory(PAGE, name, conditional=False, etag=False)


# What they share


def _json(content: dict, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status=status, mimetype="application/json")


def _jobs() -> Jobs:
    return current_app.extensions["jobs"]


def _read(reader: Callable, *more: object) -> Any:
    """What `reader` makes of the request's JSON."""
    if not flask.request.is_json:
        raise UnsupportedMediaType("Send JSON, with the header Content-Type: application/json.")
    return reader(incoming.json_object(flask.request.get_data(cache=False)), current_app.extensions["settings"], *more)


def _answer(request: Request) -> Response:
    """What the engine answers to `request`, once it does."""
    g.noted |= {"frame_number": request.frame_number, "session_id": request.session_id}
    answer: Answer = current_app.extensions["engine"].submit(request).result()
    current_app.extensions["metrics"].frame(answer)
    headers = {"Retry-After": str(RETRY_SECONDS)} if answer.status == 503 else {}
    return Response(answer.body, answer.status, headers, mimetype="application/json")


@contextmanager
def _place_for_a_batch() -> Iterator[None]:
    """One of the few, for their answers take much memory. Raises Full where none is free."""
    places: threading.BoundedSemaphore = current_app.extensions["batches"]
    if not places.acquire(blocking=False):
        raise Full(f"There are too many batches at the moment; try again in {RETRY_SECONDS} seconds.", RETRY_SECONDS)
    try:
        yield
    finally:
        places.release()


def _found(name: str) -> Job:
    job = _jobs().find(name)
    if job is None:
        raise NotFound(UNKNOWN_JOB)
    return job
