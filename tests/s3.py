"""A real S3 server on this machine, `rclone serve s3`, and a proxy before it that makes the faults of real networks."""

import http.client
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread

RCLONE = shutil.which("rclone", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
BLOCK = 2**16
BUSY = {429: "TooManyRequests", 503: "SlowDown"}
# Headers of one connection, not of the message that goes through it.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect"}


class Server:
    """An S3 server whose bucket is the folder `root`, at the same address each time it is started."""

    bucket = "bucket"

    def __init__(self, folder: Path):
        self._folder = folder
        self.root = folder / self.bucket
        self.root.mkdir(parents=True)
        self.port = _free_port()
        self.environment = {
            "R2_ACCOUNT_ID": secrets.token_hex(16),
            "R2_ACCESS_KEY_ID": secrets.token_hex(16),
            "R2_SECRET_ACCESS_KEY": secrets.token_hex(32),
            "R2_ENDPOINT": f"http://127.0.0.1:{self.port}",
        }
        self._process: subprocess.Popen | None = None

    @property
    def secrets(self) -> list[str]:
        """What must be found nowhere."""
        return [self.environment[name] for name in ("R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY")]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [RCLONE, "serve", "s3", str(self._folder), "--addr", f"127.0.0.1:{self.port}"]
        command += ["--config", os.devnull, "--dir-cache-time", "1s", "--poll-interval", "0"]
        # The shell ends the server when the pipe from here closes, so the server cannot outlive this process.
        self._process = subprocess.Popen(
            ["sh", "-c", '"$@" & read -r _; kill -KILL $!; wait $!', "sh", *command],
            env={**os.environ, "RCLONE_AUTH_KEY": '"{},{}"'.format(*self.secrets)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(200):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"{' '.join(command)} does not answer; start it by hand to see why")

    def stop(self) -> None:
        """Kill it, in the middle of whatever it does."""
        if self._process:
            self._process.stdin.close()
            self._process.wait()
            self._process = None


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """A running server of a bucket in the new folder `folder`."""
    server = Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Proxy(ThreadingHTTPServer):
    """An HTTP proxy before a server. It passes everything on until it is told otherwise.

    `requests` are the methods and paths that came, in order; `environment` is the server's, by way of the proxy.
    """

    daemon_threads = False  # closing waits for them
    block_on_close = True

    def __init__(self, server: Server):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.server = server
        self.environment = {**server.environment, "R2_ENDPOINT": f"http://127.0.0.1:{self.server_port}"}
        self.requests: list[tuple[str, str]] = []
        self._lock = Lock()
        self._busy = [0, 503]
        self._cuts = [0, 0]
        self._skew = timedelta(0)
        self._pace = float("inf")

    def refuse(self, requests: int, status: int = 503) -> None:
        """Answer the next so many requests with 429 or 503."""
        self._busy = [requests, status]

    def cut(self, transfers: int, after: int = BLOCK) -> None:
        """Cut the connection in each of the next so many bodies that are longer than `after` bytes, there."""
        self._cuts = [transfers, after]

    def skew(self, seconds: float) -> None:
        """Have a clock that is ahead by so much: the Date of all answers is, and as S3 does it refuses what is signed
        15 minutes off."""
        self._skew = timedelta(seconds=seconds)

    def slow(self, bytes_per_second: float) -> None:
        """Pass on bodies, each, at this rate."""
        self._pace = bytes_per_second

    def take_refusal(self) -> int | None:
        """The status to refuse a request with, if any."""
        with self._lock:
            count, status = self._busy
            self._busy[0] = max(0, count - 1)
        return status if count else None

    def take_cut(self, length: int) -> int | None:
        """After how many bytes a body of this length is cut, if at all."""
        with self._lock:
            count, after = self._cuts
            if not count or length <= after:
                return None
            self._cuts[0] -= 1
        return after

    @property
    def has_right_clock(self) -> bool:
        return not self._skew

    def now(self) -> datetime:
        """What its clock shows."""
        return datetime.now(UTC) + self._skew

    def is_skewed(self, amz_date: str | None) -> bool:
        """Whether a request that was signed then is refused for its time."""
        if not amz_date or self.has_right_clock:
            return False
        signed = datetime.strptime(amz_date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return abs(self.now() - signed) > timedelta(minutes=15)

    def copy(self, source, target, length: int) -> None:
        """Pass on a body; ConnectionError where it is to be cut, or ends early."""
        cut = self.take_cut(length)
        started, left = time.monotonic(), length
        while left:
            if cut is not None and length - left >= cut:
                raise ConnectionError("cut, as told")
            block = source.read(min(BLOCK, left))
            if not block:
                raise ConnectionError("the other side has gone")
            target.write(block) if hasattr(target, "write") else target.send(block)
            left -= len(block)
            time.sleep(max(0.0, started + (length - left) / self._pace - time.monotonic()))

    def handle_error(self, request, client_address) -> None:
        """Connections that break are what this is for."""
        if not isinstance(sys.exception(), OSError | http.client.HTTPException):
            super().handle_error(request, client_address)


@contextmanager
def proxy(server: Server) -> Iterator[Proxy]:
    """A running proxy before the server."""
    with Proxy(server) as front:
        thread = Thread(target=front.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield front
        finally:
            front.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5  # an idle connection must not keep the proxy from closing
    server: Proxy

    def handle_any(self) -> None:
        proxy = self.server
        proxy.requests.append((self.command, self.path))
        length = int(self.headers.get("Content-Length", 0))
        if status := proxy.take_refusal():
            self.refuse(status, BUSY[status], length)
        elif proxy.is_skewed(self.headers.get("X-Amz-Date")):
            self.refuse(403, "RequestTimeTooSkewed", length)
        else:
            self.pass_on(length)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

    def date_time_string(self, timestamp=None) -> str:
        return format_datetime(self.server.now(), usegmt=True)

    def refuse(self, status: int, code: str, length: int) -> None:
        while length > 0:
            length -= len(self.rfile.read(min(BLOCK, length))) or length
        body = f"<Error><Code>{code}</Code><Message>{code}, as told.</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def pass_on(self, length: int) -> None:
        behind = http.client.HTTPConnection("127.0.0.1", self.server.server.port, timeout=60)
        try:
            behind.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers_for_server().items():
                behind.putheader(name, value)
            behind.endheaders()
            self.server.copy(self.rfile, behind, length)
            answer = behind.getresponse()
            body = None if answer.length is not None or self.command == "HEAD" else answer.read()
            size = int(answer.headers.get("Content-Length", 0)) if body is None else len(body)
            self.send_response_only(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in HOP_BY_HOP | {"date", "content-length"}:
                    self.send_header(name, value)
            self.send_header("Date", self.date_time_string())
            self.send_header("Content-Length", str(size))
            self.end_headers()
            if body is not None:
                self.wfile.write(body)
            elif self.command != "HEAD":
                self.server.copy(answer, self.wfile, size)
        except (OSError, http.client.HTTPException):
            self.close_connection = True
        finally:
            behind.close()

    def headers_for_server(self) -> dict[str, str]:
        """The request's headers. The server behind has the right clock: what a wrong one signed is signed anew."""
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        if self.server.has_right_clock:
            return headers
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        signed = ("authorization", "x-amz-date", "x-amz-content-sha256")
        kept = {name: value for name, value in headers.items() if name.lower() not in signed}
        request = AWSRequest(self.command, f"http://{headers['Host']}{self.path}", kept)
        request.context["payload_signing_enabled"] = False
        S3SigV4Auth(Credentials(*self.server.server.secrets), "s3", "auto").add_auth(request)
        return dict(request.headers.items())

    def log_message(self, *_) -> None:
        """Nothing."""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
