"""The log: a line of JSON for each record, in all processes of the service."""

import logging
import threading
from datetime import UTC, datetime

import orjson

log = logging.getLogger(__name__)


class JsonLines(logging.Formatter):
    """A record as one line of JSON, with what was given as `extra` beside the message."""

    KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in self.KNOWN},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def log_as_json() -> None:
    """From now on all that this process has to say goes to stderr as lines of JSON, also of what ends a thread."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.captureWarnings(True)
    logging.getLogger("pose_factory").setLevel(logging.INFO)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # requests that wait are no news
    threading.excepthook = _thread_ended


def _thread_ended(args: threading.ExceptHookArgs) -> None:
    log.critical("A thread ended.", exc_info=(args.exc_type, args.exc_value, args.exc_traceback))
