"""`pose-factory serve`: the service, from its start to its end."""

import argparse
import ipaddress
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time

from pose_factory.errors import PoseFactoryError
from pose_factory.service.logs import log_as_json
from pose_factory.service.settings import Settings, unknown

LAST_WORDS_SECONDS = 5
"""So long may clients take over the answers that are made when the service ends."""
OPEN_FILES = 8192
"""As many as are asked for: two for each connection, and the workers'."""

log = logging.getLogger("pose_factory.service")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="pose-factory", description="Pose Factory's service; see docs/service.md.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "serve", help="answer poses over HTTP; set up by environment variables (POSE_SERVICE_PORT, ...)"
    )
    parser.parse_args(arguments)
    try:
        return serve(Settings.from_environment(os.environ))
    except PoseFactoryError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT, then finish what is running, for as long as an answer may take; a second signal
    ends it at once. Raises PoseFactoryError where it cannot listen."""
    log_as_json()
    stop = _stop_on_signals()
    listener = _listen(settings.host, settings.port)
    # here, so that the processes that track, which may begin by importing this file, do without
    from pose_factory.service.app import make_app
    from pose_factory.service.engine import Engine
    from pose_factory.service.server import Server

    host, port = listener.getsockname()[:2]
    for sentence in unknown(os.environ):
        log.warning(sentence)
    if settings.token is None and not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        log.warning(
            "Whoever can reach %s can use this service: set POSE_SERVICE_TOKEN, or POSE_SERVICE_HOST to 127.0.0.1.",
            host,
        )
    _allow_files()
    engine = Engine(settings)
    app = make_app(settings, engine)
    jobs, metrics = app.extensions["jobs"], app.extensions["metrics"]
    server = Server(app, listener, settings, metrics.error)
    threading.Thread(target=server.run, daemon=True, name="server").start()
    print(f"Pose Factory listens on http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    stop.wait()
    log.info("Finishing what is running.", extra={"event": "closing"})
    engine.close(settings.timeout)
    until = time.monotonic() + LAST_WORDS_SECONDS
    while server.is_busy() and time.monotonic() < until:
        time.sleep(0.05)
    jobs.close()
    log.info("Closed.", extra={"event": "closed"})
    return 0


def _stop_on_signals() -> threading.Event:
    """An event that the first SIGTERM or SIGINT sets; the second one ends this process and its children."""
    stop = threading.Event()

    def handle(number: int, _: object) -> None:
        if stop.is_set():
            for child in multiprocessing.active_children():
                child.kill()
            os._exit(128 + number)
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    return stop


def _listen(host: str, port: int) -> socket.socket:
    """A socket that is bound to the first address that `host` means."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "that is no address"
        raise PoseFactoryError(
            f"Cannot listen on {host}, port {port}: {reason}; set POSE_SERVICE_HOST and POSE_SERVICE_PORT to others."
        ) from error
    return listener


def _allow_files() -> None:
    """Raise the limit on open files, which is low for a server, as far as is allowed."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


if __name__ == "__main__":
    sys.exit(main())
