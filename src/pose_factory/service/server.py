"""Waitress, held to our limits and our form of errors.

As it comes, waitress reads whatever body it is sent before it asks the application, lets a client take as long as it
likes over that, and answers its own errors as plain text. Here a request that must not come in, or for which there is
no room, is answered as soon as its head says so.
"""

import ipaddress
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus

import orjson
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask

from pose_factory.service import gate
from pose_factory.service.gate import Refused
from pose_factory.service.settings import MIB, Settings

CONNECTIONS = 500
"""So many may be open at a time."""
IDLE = 30
"""Seconds without a byte after which a connection is closed, unless its answer is being worked on."""
PATIENCE, SLOWEST = 20, 4096
"""A request must be here within so many seconds, or keep coming at so many bytes a second."""
SWALLOWED = 256 * MIB
"""After a refusal, what is still sent is read up to so many bytes, and forgotten: many clients look for no answer
before they have sent all."""
SPARE_THREADS = 16
"""For answers that need no worker, such as /health, while requests wait for theirs."""
UPLOADS, BATCHES = 2, 4
"""So many films and batches that are too large for memory are taken in at a time."""
RETRY_SECONDS = 5
"""When to come back to a service that shuts down or is taken up with batches or films."""

log = logging.getLogger(__name__)


def body_limit(settings: Settings, path: str) -> int:
    """The most bytes that a body for `path` may have."""
    if path == "/pose/video":
        return settings.max_video_bytes + MIB // 16  # with multipart's own lines
    if path == "/pose/batch":
        return settings.max_batch_bytes
    if path in ("/pose", "/pose/hybrid"):
        return settings.max_image_bytes * 4 // 3 + MIB // 16  # in base64, with the other fields
    return MIB // 16


class Server(TcpWSGIServer):
    """Serves `app` on a socket that is bound already; `run` goes on until the process ends.

    `refused` is told the status of each answer that the application had no part in.
    """

    def __init__(self, app, listener: socket.socket, settings: Settings, refused: Callable[[int], None]) -> None:
        self.settings, self.refused = settings, refused
        self.channel_class = _Channel
        self.local = ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback
        frames = threading.BoundedSemaphore(settings.queue + SPARE_THREADS)
        self.places = {
            "/pose/video": threading.BoundedSemaphore(UPLOADS),
            "/pose/batch": threading.BoundedSemaphore(BATCHES),
            "/pose/hybrid": frames,
            "/pose": frames,
        }
        super().__init__(
            app,
            _sock=listener,
            bind_socket=False,
            threads=settings.queue + SPARE_THREADS + UPLOADS + BATCHES,
            connection_limit=CONNECTIONS,
            channel_timeout=IDLE,
            cleanup_interval=5,
            max_request_body_size=sys.maxsize,  # body_limit is what counts
            max_request_header_size=MIB // 16,
            recv_bytes=MIB // 16,
            inbuf_overflow=MIB // 4,  # the rest of a body goes to a temporary file
            asyncore_use_poll=True,  # select() knows no more than 1024 files
            ident="pose-factory",
        )

    def maintenance(self, now: float) -> None:
        """Called every few seconds: close what is idle, or comes too slowly."""
        super().maintenance(now)
        for channel in self.active_channels.values():
            coming = channel.refused or channel.request
            if not channel.requests and coming is not None and coming.is_slow():
                channel.will_close = True

    def is_busy(self) -> bool:
        """Whether an answer is being worked on or sent."""
        return any(channel.requests or channel.total_outbufs_len for channel in list(self.active_channels.values()))


class _Request(HTTPRequestParser):
    """A request as it comes in; one that is refused ends in an error at once, without the rest of its body."""

    checked = False
    place: threading.BoundedSemaphore | None = None

    def __init__(self, adj, server: Server) -> None:
        super().__init__(adj)
        self.server = server
        self.started = time.monotonic()

    def received(self, data: bytes) -> int:
        consumed = super().received(data)
        try:
            if self.headers_finished and not (self.error or self.empty):
                self._check()
        except Refused as refused:
            self.error = refused
        if self.error:
            # who waits to be told to go on is told this instead; and what follows is no request
            self.completed, self.expect_continue, consumed = True, False, len(data)
        return consumed

    def close(self) -> None:
        super().close()
        if self.place is not None:
            self.place.release()
            self.place = None

    def is_slow(self) -> bool:
        """Whether it has taken longer to come than anybody should wait."""
        received = self.header_bytes_received + self.body_bytes_received
        return time.monotonic() - self.started > PATIENCE + received / SLOWEST

    def _check(self) -> None:
        """Raises Refused where the request is to go no further."""
        path = "/" + self.path.lstrip("/")  # as the application gets it
        if not self.checked:
            self.checked = True
            gate.check(self.server.settings, self.server.local, self.command, path, self.headers)
        size, limit = max(self.content_length, self.body_bytes_received), body_limit(self.server.settings, path)
        if size > limit:
            raise Refused(400, f"The body is larger than {limit} bytes, the most that is taken here.")
        if self.chunked and len(self.body_rcv.control_line) + len(self.body_rcv.trailer) > self.adj.recv_bytes:
            raise Refused(400, "A chunk of the body has no size.")  # waitress would read on and on
        if size > self.adj.inbuf_overflow and self.place is None:
            if not self.server.places[path].acquire(blocking=False):
                raise Refused(
                    503,
                    f"Too many large requests are coming in; try again in {RETRY_SECONDS} seconds.",
                    {"Retry-After": str(RETRY_SECONDS)},
                )
            self.place = self.server.places[path]


class _Refusal(ErrorTask):
    """The answer to a request that the application does not get to see, in the form that it gives its errors, too."""

    def execute(self) -> None:
        refused = self.request.error
        if not isinstance(refused, Refused):  # but an error of waitress
            refused = Refused(refused.code, f"The HTTP request could not be served: {refused.body}.")
        body = orjson.dumps({"frame_number": None, "error": refused.sentence})
        self.status = f"{refused.status} {HTTPStatus(refused.status).phrase}"
        self.response_headers.extend([("Content-Type", "application/json"), *refused.headers.items()])
        self.set_close_on_finish()
        self.content_length = len(body)
        self.channel.refused = self.request
        self.write(b"" if getattr(self.request, "command", None) == "HEAD" else body)
        self.channel.server.refused(refused.status)
        log.info("request refused", extra={"event": "request", "status": refused.status, "error": refused.sentence})


class _Channel(HTTPChannel):
    """A connection. After a refusal it is closed for what we send at once, but goes on to be read for a while: were it
    closed altogether, a client that is still sending might never see the answer."""

    error_task_class = _Refusal
    refused: _Request | None = None
    lingers = False

    def parser_class(self, adj) -> _Request:
        return _Request(adj, self.server)

    def received(self, data: bytes) -> bool:
        if not self.lingers:
            return super().received(data)
        self.refused.body_bytes_received += len(data)
        self.will_close = self.refused.body_bytes_received > SWALLOWED
        return False

    def handle_close(self) -> None:
        if self.refused and self.will_close and not self.lingers:  # the answer has been sent
            self.lingers = True
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:  # the client is gone
                pass
            else:
                self.will_close = False
                return
        if self.request is not None:
            self.request.close()
        super().handle_close()
