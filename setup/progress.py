"""Snakemake's output, from stdin, as a line for each finished job; all that is not routine passes unchanged."""

import re
import signal
import sys
import time

ROUTINE = re.compile(
    r"Select jobs to execute|Execute \d+ jobs|Assuming unrestricted|Building DAG|Using shell|Provided cores"
    r"|Rules claiming more threads|\[\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}\]$|$"
)
JOB = re.compile(r"(?:local)?(?:rule|checkpoint) (\w+):$")
FINISHED = re.compile(r"Finished jobid: (\d+) \(Rule: (\w+)\)(.*)$")
STEPS = re.compile(r"(\d+) of (\d+) steps \((.*)%\) done$")


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is Snakemake's; what it says about it is shown
    start, labels, rule, finished = time.monotonic(), {}, None, ""
    for line in map(str.rstrip, sys.stdin):
        if match := JOB.match(line):
            rule, label, job_id = match[1], match[1], None
        elif rule and line.startswith("    "):
            key, _, value = line.strip().partition(": ")
            if key == "jobid":
                job_id = value
            elif key == "wildcards":
                label = " ".join([rule, *(part.partition("=")[2] for part in value.split(", "))])
            labels[job_id] = label
        elif match := FINISHED.match(line):
            finished = labels.get(match[1], match[2])
            if match[3]:  # a job's own words, written while Snakemake was in the middle of a line
                print(match[3], flush=True)
        elif match := STEPS.match(line):
            minutes, seconds = divmod(int(time.monotonic() - start), 60)
            done, total = match[1].rjust(len(match[2])), match[2]
            print(f"{minutes:3}:{seconds:02}  {done} of {total}  {finished}", flush=True)
        elif ROUTINE.match(line):
            rule = None
        else:
            rule = None
            print(line, flush=True)


if __name__ == "__main__":
    main()
