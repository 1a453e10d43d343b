"""Waitress, held to our limits and our form of errors.

As it comes, waitress reads whatever body it is sent before it asks the application, lets a client take as long as it
likes over that, and answers its own errors as plain text.
"""

import socket
import time
from collections.abc import Callable
from http import HTTPStatus

import orjson
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask
from waitress.utilities import BadRequest, Error, RequestEntityTooLarge

from pose_factory.service.settings import MIB, Settings

CONNECTIONS = 500
"""So many may be open at a time."""
IDLE = 30
"""Seconds without a byte after which a connection is closed, unless its answer is being worked on."""
PATIENCE, SLOWEST = 20, 4096
"""A request must be here within so many seconds, or keep coming at so many bytes a second."""
SWALLOWED = 256 * MIB
"""A body that is too large is read up to so many bytes, and forgotten: many clients look for no answer before they have
sent all. A larger one is refused at once."""
SPARE_THREADS = 16
"""For answers that need no worker, such as /health, while requests wait for theirs."""
UPLOADS, BATCHES = 2, 4
"""So many films and batches are taken in at a time."""


def body_limit(settings: Settings, path: str) -> int:
    """The most bytes that a body for `path` may have."""
    if path == "/pose/video":
        return settings.max_video_bytes + MIB // 16  # with multipart's own lines
    if path == "/pose/batch":
        return settings.max_batch_bytes
    return settings.max_image_bytes * 4 // 3 + MIB // 16  # in base64, with the other fields


class TooLarge(BadRequest):
    """To waitress, an error of the request; to the client what the contract says, 400."""


class Server(TcpWSGIServer):
    """Serves `app` on a socket that is bound already; `run` goes on until the process ends.

    `refused` is told the status of each answer that the application had no part in.
    """

    def __init__(self, app, listener: socket.socket, settings: Settings, refused: Callable[[int], None]) -> None:
        self.settings, self.refused = settings, refused
        self.channel_class = _Channel
        super().__init__(
            app,
            _sock=listener,
            bind_socket=False,
            threads=settings.queue + SPARE_THREADS + UPLOADS + BATCHES,
            connection_limit=CONNECTIONS,
            channel_timeout=IDLE,
            cleanup_interval=5,
            max_request_body_size=max(
                SWALLOWED, body_limit(settings, "/pose/video"), body_limit(settings, "/pose/batch")
            ),
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
            if not channel.requests and channel.request is not None and channel.request.is_slow():
                channel.will_close = True

    def is_busy(self) -> bool:
        """Whether an answer is being worked on or sent."""
        return any(channel.requests or channel.total_outbufs_len for channel in list(self.active_channels.values()))


class _Request(HTTPRequestParser):
    """A request as it comes in; one that is too large ends in an error without being kept."""

    def __init__(self, adj, settings: Settings) -> None:
        super().__init__(adj)
        self.settings = settings
        self.started = time.monotonic()

    def received(self, data: bytes) -> int:
        consumed = super().received(data)
        if self.body_rcv is not None and not isinstance(self.error, TooLarge):
            limit = body_limit(self.settings, self.path)
            if max(self.content_length, self.body_bytes_received) > limit:
                self.error = TooLarge(f"The body is larger than {limit} bytes, the most that is taken here.")
                self.body_rcv.buf.close()
                self.body_rcv.buf = _Nowhere()
            elif self.chunked and len(self.body_rcv.control_line) + len(self.body_rcv.trailer) > self.adj.recv_bytes:
                self.error, self.completed = BadRequest("a chunk without a size"), True  # waitress would read on and on
        if self.error:
            # who waits to be told to go on is told this instead
            hopeless = self.expect_continue or max(self.content_length, self.body_bytes_received) > SWALLOWED
            self.completed, self.expect_continue = self.completed or hopeless, False
        return consumed

    def is_slow(self) -> bool:
        """Whether it has taken longer to come than anybody should wait."""
        received = self.header_bytes_received + self.body_bytes_received
        return time.monotonic() - self.started > PATIENCE + received / SLOWEST


class _Nowhere:
    """A buffer for what nobody will read."""

    def append(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        pass

    def __len__(self) -> int:
        return 0


class _Refusal(ErrorTask):
    """The answer to a request that the application does not get to see, in the form that it gives its errors, too."""

    def execute(self) -> None:
        error: Error = self.request.error
        status, sentence = error.code, error.body
        if isinstance(error, RequestEntityTooLarge):
            status, sentence = 400, "The body is larger than anything that is taken here."
        elif not isinstance(error, TooLarge):
            sentence = f"The HTTP request could not be served: {error.body}."
        body = orjson.dumps({"frame_number": None, "error": sentence})
        self.status = f"{status} {HTTPStatus(status).phrase}"
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)
        self.channel.server.refused(status)


class _Channel(HTTPChannel):
    error_task_class = _Refusal

    def parser_class(self, adj) -> _Request:
        return _Request(adj, self.server.settings)
