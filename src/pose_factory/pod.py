"""The workflow on a rented RunPod pod, from the first job to the pod's own end: setup/pod.sh calls this.

A pod's disk goes with the pod. So it is only ended once all results are at the remote, by hash, also those of
characters that could not be finished; where that cannot be had, it stays, and says so.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pose_factory import gpus, storage
from pose_factory.config import load
from pose_factory.errors import PoseFactoryError
from pose_factory.storage import results

TERMINATE = "--terminate"
ATTEMPTS = 6
STAYS = "THE POD KEEPS RUNNING AND COSTS MONEY: end it yourself, at https://console.runpod.io/pods, when"


def main(arguments: list[str]) -> int:
    """Run Snakemake with these arguments and the profile `pod`, then copy to the remote whatever is not there yet.

    With `--terminate` among them the pod is ended, too, whether all jobs worked or not; unless something of the results
    could not be copied, or the run was interrupted. Returns the exit status.
    """
    terminate = TERMINATE in arguments
    arguments = [argument for argument in arguments if argument != TERMINATE]
    try:
        config, dry = _read(arguments)
        _check(config["storage"]["remote"], terminate)
    except PoseFactoryError as error:
        _say(f"Error: {error}")
        return 1
    interrupted, status = _snakemake(arguments)
    if dry:
        return status
    if interrupted:
        _say(f"Interrupted. {STAYS} you have what you need." if terminate else "Interrupted.")
        return status
    folder, remote = Path(config["results"]), config["storage"]["remote"]
    if not remote:
        _say(f"The results are in {folder} on this pod alone: the config's storage.remote is empty.")
        return status
    try:
        count = save(folder, remote, config["storage"]["frames"])
    except PoseFactoryError as error:
        _say(f"Error: {error}")
        _say(f"Error: not all results are at {remote}. {STAYS if terminate else 'Keep the pod until'} they are saved.")
        return status or 1
    _say(f"All {count} files of {folder} are at {remote}, compared by hash.")
    if terminate and status and not count:
        _say(f"Error: nothing was made. {STAYS} you have seen why.")
        return status
    if terminate:
        try:
            end()
        except PoseFactoryError as error:
            _say(f"Error: {error} {STAYS} you have seen this.")
            return status or 1
    return status


def save(folder: Path, remote: str, frames: bool) -> int:
    """Copy all of the results in this folder that the remote does not have, and compare all by hash.

    What is fetched from the remote itself is left out, and so are the pictures and passes unless `frames` are wanted;
    an exported dataset is copied whole. Returns the number of files at the remote. Raises PoseFactoryError if one could
    not be copied.
    """
    folders = [path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_dir()]
    folders = [path.relative_to(folder) for path in folders if path.name != "source"]
    pictures = [path for pattern in ("*/*/frames", "*/*/passes") for path in folder.glob(pattern)] if frames else []
    files = results.files_of(folder, map(str, folders), [folder / "export", *pictures])
    return len(results.push(remote, folder, files, storage.progress("copying results", _say))["files"])


def end() -> None:
    """End the pod that this runs on, which deletes it. Raises PoseFactoryError if RunPod does not do it."""
    import requests
    import runpod
    from runpod.api.graphql import run_graphql_query
    from runpod.api.mutations.pods import generate_pod_terminate_mutation
    from runpod.error import AuthenticationError, RunPodError

    runpod.api_key = os.environ["RUNPOD_API_KEY"]
    pod = os.environ["RUNPOD_POD_ID"]
    _say(f"Ending the pod {pod}.")
    reason = ""
    for attempt in range(ATTEMPTS):
        time.sleep(2**attempt - 1)
        try:
            # As runpod.terminate_pod does, which takes any answer for a yes, such as that RunPod is busy.
            answer = run_graphql_query(generate_pod_terminate_mutation(pod))
        except AuthenticationError as error:
            raise PoseFactoryError(
                f"RunPod refused the key in RUNPOD_API_KEY, so that the pod is not ended: {error}"
            ) from None
        except (requests.RequestException, RunPodError) as error:
            reason = str(error).partition("\n")[0]
            continue
        if "podTerminate" in (answer.get("data") or {}):
            return
        reason = str(answer)
    raise PoseFactoryError(f"RunPod did not end the pod: {reason}.")


def _read(arguments: list[str]) -> tuple[dict, bool]:
    """The config that Snakemake would go by with these arguments, and whether it would run nothing."""
    from snakemake.cli import parse_args, parse_config
    from snakemake.common.configfile import load_configfile
    from snakemake.utils import update_config
    from snakemake_interface_common.exceptions import WorkflowError

    _, options = parse_args(["--profile", "pod", *arguments])
    try:
        config = {}
        for file in ["config/config.yaml", *options.configfile]:
            update_config(config, load_configfile(file))
        update_config(config, parse_config(options.config))
    except (WorkflowError, ValueError) as error:
        raise PoseFactoryError(f"Config: {error}") from None
    return load(config, Path.cwd()), options.dryrun


def _check(remote: str, terminate: bool) -> None:
    """Raise PoseFactoryError now where results could not be saved, or the pod not be ended, hours later."""
    from snakemake_executor_plugin_runpod.remote import Remote

    if terminate and not remote:
        raise PoseFactoryError(f"{TERMINATE} would delete the results with the pod: set the config's storage.remote.")
    missing = [name for name in ("RUNPOD_POD_ID", "RUNPOD_API_KEY") if not os.environ.get(name)]
    if terminate and missing:
        raise PoseFactoryError(
            f"{TERMINATE} needs {' and '.join(missing)} in the environment, which RunPod sets on its pods."
        )
    if remote:
        with storage.told():
            Remote(remote).listing(["results"])


def _snakemake(arguments: list[str]) -> tuple[bool, int]:
    """Run Snakemake to its end; whether it was interrupted, by Ctrl-C or SIGTERM, and its exit status."""
    count = len(gpus.visible())
    resources = ["--resources", f"gpu={count}"] if count else []
    command = [sys.executable, "-m", "snakemake", "--profile", "pod", *resources, *arguments]
    interrupted = False

    def interrupt(*_) -> None:
        nonlocal interrupted
        interrupted = True
        os.killpg(process.pid, signal.SIGINT)

    process = subprocess.Popen(command, start_new_session=True)  # so that a Ctrl-C reaches it once, from here
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    status = process.wait()
    for number, handler in before.items():
        signal.signal(number, handler)
    return interrupted, status


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
