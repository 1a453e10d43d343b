"""The ledger: what it remembers, also of a run that was killed."""

import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
from snakemake_executor_plugin_runpod.errors import RunpodError
from snakemake_executor_plugin_runpod.ledger import CANCELLED, FAILED, INTENDED, SUBMITTED, SUCCEEDED, Ledger


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runpod" / "ledger.sqlite"


def test_an_attempts_life(path):
    before = time.time()
    with closing(Ledger(path)) as ledger:
        ledger.intend("1", "key", "render xbot front")
        (entry,) = ledger.unfinished()
        assert (entry.attempt, entry.key, entry.name) == ("1", "key", "render xbot front")
        assert (entry.state, entry.request, entry.submitted_at) == (INTENDED, None, None)
        ledger.submitted("1", "request-u1")
        (entry,) = ledger.unfinished()
        assert (entry.state, entry.request) == (SUBMITTED, "request-u1")
        assert before <= entry.submitted_at <= time.time()
        ledger.ended("1", SUCCEEDED, 61.5, 0.02)
    with closing(Ledger(path)) as ledger:
        assert ledger.unfinished() == []
        (entry,) = ledger
        assert (entry.state, entry.seconds, entry.cost, entry.request) == (SUCCEEDED, 61.5, 0.02, "request-u1")
        assert entry.submitted_at <= entry.ended_at <= time.time()


def test_costs_are_added_up_from_a_time_on_as_far_as_they_are_known(path, monkeypatch):
    with closing(Ledger(path)) as ledger:
        assert ledger.cost_since(0) == 0
        for number, (state, cost) in enumerate([(SUCCEEDED, 1.0), (FAILED, 0.25), (CANCELLED, None)]):
            ledger.intend(str(number), "key", "name")
            monkeypatch.setattr(time, "time", lambda now=100.0 * number: now)
            ledger.ended(str(number), state, cost=cost)
        ledger.intend("3", "key", "name")
        assert [ledger.cost_since(when) for when in (0, 100, 101)] == [1.25, 0.25, 0]
        assert [entry.attempt for entry in ledger] == ["0", "1", "2", "3"]
        assert [entry.attempt for entry in ledger.unfinished()] == ["3"]


def test_mistakes_of_the_caller_are_not_taken_for_a_damaged_file(path):
    with closing(Ledger(path)) as ledger:
        ledger.intend("1", "key", "name")
        with pytest.raises(sqlite3.IntegrityError):
            ledger.intend("1", "key", "name")
        with pytest.raises(sqlite3.IntegrityError):
            ledger.ended("1", "vanished")
        with pytest.raises(KeyError):
            ledger.submitted("2", "request")
        assert [entry.state for entry in ledger] == [INTENDED]


def test_two_threads(path):
    with closing(Ledger(path)) as ledger:

        def work(name: str) -> None:
            for number in range(30):
                ledger.intend(f"{name}{number}", "key", name)
                ledger.submitted(f"{name}{number}", f"request-{name}{number}")
                ledger.unfinished()
                ledger.ended(f"{name}{number}", SUCCEEDED, 1, 0.5)

        threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ledger.cost_since(0) == 30 and len(list(ledger)) == 60 and not ledger.unfinished()


WRITER = """
import sys
from pathlib import Path
from snakemake_executor_plugin_runpod.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
for number in range(10**6):
    ledger.intend(str(number), "key", "name")
    ledger.submitted(str(number), f"request-{number}")
    print(number, flush=True)
"""


def test_nothing_that_was_written_is_lost_when_the_run_is_killed(path):
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    with process:
        for line in process.stdout:
            if int(line) == 20:
                process.kill()
                break
        last = int([line, *process.stdout][-1])
    with closing(Ledger(path)) as ledger:
        found = {entry.attempt: entry.request for entry in ledger.unfinished()}
    assert last >= 20
    assert {str(number): f"request-{number}" for number in range(last + 1)}.items() <= found.items()
    assert len(found) <= last + 2


@pytest.mark.parametrize("damage", [b"not a database, but text" * 100, None])
def test_a_damaged_ledger_is_one_sentence(path, damage):
    with closing(Ledger(path)) as ledger:
        for number in range(200):
            ledger.intend(str(number), "key" * 20, "name")
    content = path.read_bytes()
    path.write_bytes(damage or content[:4096] + bytes(len(content) - 4096))
    with (
        pytest.raises(RunpodError, match="ledger.sqlite cannot be used .*move it away"),
        closing(Ledger(path)) as ledger,
    ):
        list(ledger)


def test_a_ledger_of_another_form_and_a_folder_that_is_none(path):
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE attempts (something)")
    with pytest.raises(RunpodError, match="no such column"):
        Ledger(path)
    with pytest.raises(RunpodError, match="cannot be used"):
        Ledger(path / "ledger.sqlite")
