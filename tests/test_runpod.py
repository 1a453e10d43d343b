"""Jobs on RunPod, from Snakemake to the worker and back, in a small workflow of shell commands."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from runpod_site import PROFILE, Site, site
from s3 import proxy

SNAKEFILE = """\
names = config.get("names", ["ada", "ben"])


rule all:
    default_target: True
    input:
        expand("results/{name}/three.txt", name=names),


rule one:
    input:
        "inputs/{name}.txt",
    output:
        "results/{name}/one.txt",
    log:
        "results/{name}/one.log",
    benchmark:
        "results/{name}/one.tsv"
    shell:
        "cat {input:q} > {output}; echo said > {log}; sh pause.sh"


rule two:
    input:
        rules.one.output,
    output:
        directory("results/{name}/frames"),
    shell:
        "mkdir {output}; cp {input} '{output}/a b.txt'; mkdir {output}/empty; echo 2 > {output}/2.txt"


rule three:
    input:
        "results/{name}/frames",
    output:
        "results/{name}/three.txt",
    shell:
        "cat {input}/*.txt > {output}; ! grep -q bad {output}"
"""


@pytest.fixture
def account(tmp_path):
    """A site with the small workflow, one group for each name."""
    with site(tmp_path) as made:
        write(made.root / "Snakefile", SNAKEFILE)
        write(made.root / "pause.sh", "true\n")
        groups = "groups: [one=name, two=name, three=name]\n"
        write(made.root / "runpod" / "config.yaml", PROFILE + groups)
        for name in ("ada", "ben"):
            write(made.root / "inputs" / f"{name}.txt", f"{name}\n")
        write(made.root / ".gitignore", ".snakemake/\nresults/\n")
        made.commit()
        yield made


@dataclass
class Gate:
    """Holds the jobs of the rule `one` until it is opened."""

    folder: Path

    @property
    def script(self) -> str:
        return f"touch {self.folder}/waiting; while [ ! -e {self.folder}/open ]; do sleep 0.1; done;"

    def wait_for_job(self) -> None:
        wait_until((self.folder / "waiting").exists)

    def open(self) -> None:
        (self.folder / "open").touch()


@pytest.fixture
def gate(account, tmp_path) -> Gate:
    made = Gate(tmp_path)
    write(account.root / "pause.sh", made.script)
    return made


def wait_until(happened: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_a_group_is_one_request_and_all_of_it_comes_home(account: Site):
    account.worker()
    run = account.run()
    assert run.status == 0, run.console
    results = account.root / "results"
    assert (results / "ada/three.txt").read_text() == "2\nada\n"
    assert (results / "ada/frames/a b.txt").read_text() == "ada\n"
    assert (results / "ada/frames/empty").is_dir()
    assert (results / "ben/one.log").read_text() == "said\n"
    assert (results / "ben/one.tsv").read_text().startswith("s\t")
    assert len(account.runpod.requests) == 2
    assert [entry.state for entry in account.ledger()] == ["succeeded"] * 2
    again = account.run()
    assert again.status == 0 and "Nothing to be done" in again.console, again.console
    assert len(account.runpod.requests) == 2
    local = account.finish(account.start("--cores", "1", "-n"))
    assert "Nothing to be done" in local.console, local.console


def test_what_fails_fails_alone_and_says_why(account: Site):
    write(account.root / "inputs" / "ben.txt", "bad\n")
    account.worker()
    run = account.run("--keep-going")
    assert run.status != 0
    assert (account.root / "results/ada/three.txt").read_text() == "2\nada\n"
    (sentence,) = run.sentences
    assert sentence.startswith("name ben: ") and ".snakemake/runpod/" in sentence
    log = account.root / sentence.partition("(see ")[2].partition(")")[0]
    assert "Error in rule three" in log.read_text()
    assert not account.runpod.pending()
    assert sorted(entry.state for entry in account.ledger()) == ["failed", "succeeded"]
    write(account.root / "inputs" / "ben.txt", "ben\n")
    assert account.run().status == 0
    assert len(account.runpod.requests) == 3


def test_a_worker_that_dies_is_replaced(account: Site, gate):
    account.runpod.requeue = True
    first = account.worker()
    process = account.start("--profile", "runpod", "results/ada/three.txt")
    gate.wait_for_job()
    account.runpod.kill_worker(first)
    gate.open()
    account.worker()
    run = account.finish(process)
    assert run.status == 0, run.console
    (request,) = account.runpod.requests.values()
    assert len(request.workers) == 2
    assert (account.root / "results/ada/three.txt").exists()


def test_a_worker_that_vanishes_for_good_is_told_and_the_job_is_submitted_again(account: Site, gate):
    first = account.worker()
    process = account.start("--profile", "runpod", "results/ada/three.txt")
    gate.wait_for_job()
    account.runpod.kill_worker(first)
    gate.open()
    account.runpod.skip(48 * 3600)  # the request's time is up
    account.worker()
    run = account.finish(process)
    assert run.status == 0, run.console
    assert "without a result" in run.console
    assert [entry.state for entry in account.ledger()] == ["failed", "succeeded"]


def test_a_delivery_that_is_made_twice_does_no_harm(account: Site, gate):
    account.runpod.duplicates = 1
    for _ in range(3):  # two for the two requests, and one more for the second delivery
        account.worker()
    process = account.start("--profile", "runpod")
    wait_until(lambda: any(len(set(request.workers)) == 2 for request in account.runpod.requests.values()))
    gate.open()
    run = account.finish(process)
    assert run.status == 0, run.console
    assert (account.root / "results/ada/three.txt").read_text() == "2\nada\n"


def test_runpod_may_be_away_and_forget_the_result(account: Site, gate):
    account.worker()
    process = account.start("--profile", "runpod", "results/ada/three.txt")
    gate.wait_for_job()
    account.runpod.fail(503, times=3, operation="status")
    gate.open()
    wait_until(lambda: list(account.s3.root.rglob("exit.json")))
    account.runpod.stop()
    time.sleep(3)
    account.runpod.skip(2 * 3600)
    account.runpod.start()
    run = account.finish(process)
    assert run.status == 0, run.console
    assert [entry.state for entry in account.ledger()] == ["succeeded"]


def test_runpod_that_stays_away_ends_the_job_alone(account: Site, gate):
    account.worker()
    process = account.start("--profile", "runpod", "--runpod-misses", "3")
    gate.wait_for_job()
    account.runpod.fail(500, times=1000, operation="status")
    run = account.finish(process)
    assert run.status != 0
    assert any("given up after 3 questions" in sentence for sentence in run.sentences), run.console
    assert not account.runpod.pending()


@pytest.fixture
def hangups_heeded():
    """Also where the tests were started with nohup, whose way with SIGHUP all processes inherit."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopping_leaves_nothing_running(account: Site, gate, hangups_heeded, end):
    account.worker()
    process = account.start("--profile", "runpod")
    gate.wait_for_job()
    process.send_signal(end)
    run = account.finish(process)
    assert run.status != 0
    assert not account.runpod.pending(), run.console
    assert {request.state for request in account.runpod.requests.values()} == {"CANCELLED"}
    assert {entry.state for entry in account.ledger()} == {"cancelled"}
    gate.open()
    again = account.run()
    assert again.status == 0, again.console


def test_a_run_after_one_that_was_killed_takes_over(account: Site, gate):
    """Of three: one has finished meanwhile, one still runs, and one is wanted no more."""
    write(account.root / "inputs" / "cleo.txt", "cleo\n")
    write(account.root / "pause.sh", f"grep -q ada results/*/one.txt || {{ {gate.script} }}\n")
    for _ in range(3):
        account.worker()
    all_three = "--profile", "runpod", "--config", "names=[ada, ben, cleo]"
    process = account.start(*all_three)
    wait_until(lambda: list(account.s3.root.rglob("exit.json")) and len(account.runpod.requests) == 3)
    wait_until(lambda: sum(entry.state == "submitted" for entry in account.ledger()) >= 2)
    os.killpg(process.pid, signal.SIGKILL)
    account.finish(process)
    known = set(account.runpod.requests)
    wanted = "results/ada/three.txt", "results/ben/three.txt"
    process = account.start(*all_three, "--rerun-incomplete", "--nolock", "--", *wanted)
    wait_until(lambda: any(request.state == "CANCELLED" for request in account.runpod.requests.values()))
    gate.open()
    run = account.finish(process)
    assert run.status == 0, run.console
    assert set(account.runpod.requests) == known, run.console
    assert not account.runpod.pending()
    assert (account.root / "results/ben/three.txt").read_text() == "2\nben\n"
    assert not (account.root / "results/cleo/three.txt").exists()


def test_inputs_that_changed_meanwhile_are_not_taken_over(account: Site, gate):
    account.worker()
    process = account.start("--profile", "runpod", "results/ada/three.txt")
    gate.wait_for_job()
    os.killpg(process.pid, signal.SIGKILL)
    account.finish(process)
    write(account.root / "inputs" / "ada.txt", "changed\n")
    gate.open()
    run = account.run("--rerun-incomplete", "--nolock", "results/ada/three.txt")
    assert run.status == 0, run.console
    assert (account.root / "results/ada/three.txt").read_text() == "2\nchanged\n"
    assert not account.runpod.pending()


def test_the_cap_stops_submitting(account: Site):
    account.worker()
    assert account.run("results/ada/three.txt").status == 0
    (account.root / "results/ada/one.tsv").write_text("s\n600\n")
    price = ["--runpod-price-per-second", "0.001"]
    run = account.run(*price, "--runpod-max-cost", "0.5", "--keep-going")
    assert run.status != 0
    assert any("runpod-max-cost" in sentence for sentence in run.sentences), run.console
    assert len(account.runpod.requests) == 1
    assert "600.0" in run.console and "at least 0.60" in run.console
    run = account.run(*price, "--runpod-max-cost", "50")
    assert run.status == 0, run.console
    assert "USD" in run.console.splitlines()[-2] + run.console.splitlines()[-1] + run.console


def test_folders_can_stay_at_the_remote(account: Site):
    account.worker()
    run = account.run("--runpod-keep-remote", "frames")
    assert run.status == 0, run.console
    assert [path.name for path in (account.root / "results/ada/frames").glob("[!.]*")] == ["stayed-at-remote.json"]
    (account.root / "results/ada/three.txt").unlink()
    run = account.run("--runpod-keep-remote", "frames")
    assert run.status == 0, run.console
    assert (account.root / "results/ada/three.txt").read_text() == "2\nada\n"
    assert len(account.runpod.requests) == 3
    bring = [sys.executable, "-m", "snakemake_executor_plugin_runpod.bring", "results/ada/frames"]
    subprocess.run(bring, cwd=account.root, env={**os.environ, **account.s3.environment}, check=True)
    assert (account.root / "results/ada/frames/a b.txt").read_text() == "ada\n"
    assert not (account.root / "results/ada/frames/stayed-at-remote.json").exists()


def test_the_settings_of_a_run_that_was_killed_are_not_taken_over(account: Site, gate):
    account.replace("Snakefile", "echo said", "echo said {config[word]}")
    account.worker()
    process = account.start("--profile", "runpod", "results/ada/three.txt", "--config", "word=one")
    gate.wait_for_job()
    os.killpg(process.pid, signal.SIGKILL)
    account.finish(process)
    gate.open()
    run = account.run("--rerun-incomplete", "--nolock", "results/ada/three.txt", "--config", "word=two")
    assert run.status == 0, run.console
    assert (account.root / "results/ada/one.log").read_text() == "said two\n"
    assert not account.runpod.pending()


def test_groups_of_the_same_character_are_told_apart(account: Site):
    text = (account.root / "Snakefile").read_text().replace("{name}/", "{name}/{view}/")
    text = text.replace("inputs/{name}/{view}/", "inputs/{name}").replace("inputs/{name}.txt", "inputs/{name}.txt")
    text = text.replace('three.txt", name=names', 'three.txt", name=names, view=list("abcd")')
    write(account.root / "Snakefile", text)
    profile = account.root / "runpod" / "config.yaml"
    write(profile, profile.read_text() + "group-components: [name=2]\n")
    account.worker()
    account.worker()
    run = account.run()
    assert run.status == 0, run.console
    assert len(account.runpod.requests) == 4
    assert len(list(account.root.glob("results/*/*/three.txt"))) == 8


def test_another_snakemake_in_the_same_folder_waits_for_its_turn(account: Site, gate):
    account.worker()
    process = account.start("--profile", "runpod", "results/ada/three.txt")
    gate.wait_for_job()
    other = account.run("results/ben/three.txt")
    assert other.status != 0 and "Another Snakemake" in other.console
    gate.open()
    run = account.finish(process)
    assert run.status == 0, run.console
    assert [entry.state for entry in account.ledger()] == ["succeeded"]


def test_what_is_sent_for_all_jobs_is_sent_once(account: Site):
    (account.root / ".gitignore").write_text(".snakemake/\nresults/\nmodels/\nkeys.py\n")
    write(account.root / "models" / "weights.bin", "0" * 2_000_000)
    write(account.root / "keys.py", "a secret")
    account.worker()
    with proxy(account.s3) as between:
        account.environment |= {name: between.environment[name] for name in ("R2_ENDPOINT",)}
        run = account.run("--runpod-carry", "models")
    assert run.status == 0, run.console
    digest = hashlib.sha256(b"0" * 2_000_000).hexdigest()
    assert [method for method, path in between.requests if digest in path].count("PUT") == 1
    assert not [path for path in account.s3.root.rglob("*") if path.is_file() and b"a secret" in path.read_bytes()]


def test_a_remote_that_is_away_for_the_results_is_waited_for(account: Site, gate):
    account.worker()
    process = account.start("--profile", "runpod", "results/ada/three.txt")
    gate.wait_for_job()
    with account.runpod._changed:  # nothing is asked meanwhile
        gate.open()
        wait_until(lambda: list(account.s3.root.rglob("exit.json")))
        account.s3.stop()
    time.sleep(5)
    account.s3.start()
    run = account.finish(process)
    assert run.status == 0, run.console
    assert len(account.ledger()) == 1


def test_outputs_elsewhere_are_refused_before_anything_is_sent(account: Site, tmp_path):
    account.replace("Snakefile", '"results/{name}/one.log"', f'"{tmp_path}/elsewhere/{{name}}.log"')
    run = account.run("results/ada/three.txt")
    assert run.status != 0 and any("not below the working directory" in sentence for sentence in run.sentences)
    assert not account.runpod.requests


def test_code_that_git_does_not_know_is_named(account: Site):
    write(account.root / "helper.py", "")
    run = account.run()
    assert run.status != 0 and "helper.py" in run.console and "git add" in run.console
    assert not account.runpod.requests


def test_no_key_is_written_anywhere(account: Site):
    worker = account.worker()
    write(account.root / "inputs" / "ben.txt", "bad\n")
    run = account.run("--keep-going", "--verbose")
    secrets = [*account.s3.secrets, account.runpod.key]
    places = [path.read_text(errors="replace") for path in account.root.rglob("*") if path.is_file()]
    places += [path.read_text(errors="replace") for path in account.s3.root.rglob("*") if path.is_file()]
    places += [run.console, account.runpod.worker_log(worker)]
    assert len(places) > 20
    for secret in secrets:
        assert not [text for text in places if secret in text]


def test_a_wrong_key_is_one_sentence(account: Site):
    account.environment["RUNPOD_API_KEY"] = "wrong"
    run = account.run("--keep-going")
    assert run.status != 0
    assert all("RUNPOD_API_KEY" in sentence for sentence in run.sentences) and len(run.sentences) == 2, run.console
    assert "Traceback" not in run.console


def test_a_dry_run_touches_no_network(account: Site):
    account.s3.stop()
    account.runpod.stop()
    run = account.run("--dry-run")
    assert run.status == 0, run.console
    account.runpod.start()
