"""Snakemake executor plugin for RunPod Serverless.

Jobs, or groups of them, become requests to an endpoint. Its workers fetch what they need from a remote, run Snakemake,
and leave the results at the remote, from where they come home.
"""

import shlex
from dataclasses import dataclass, field
from typing import Optional

from snakemake_interface_executor_plugins.settings import CommonSettings, ExecutorSettingsBase

from .executor import Executor

__all__ = ["Executor", "ExecutorSettings", "common_settings"]


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    """On the command line `--runpod-endpoint` and so on; in a profile `runpod-endpoint:`. The API key is none of them:
    it comes from RUNPOD_API_KEY. (Snakemake understands Optional, but not `| None`.)"""

    endpoint: Optional[str] = field(  # noqa: UP045
        default=None, metadata={"help": "id of the serverless endpoint", "env_var": True}
    )
    remote: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "folder that this machine and the workers exchange files through, as rclone names it, such as "
            "r2:my-bucket/exchange; the remote r2 needs no rclone configuration, only R2_ACCOUNT_ID, R2_ACCESS_KEY_ID "
            "and R2_SECRET_ACCESS_KEY",
            "env_var": True,
        },
    )
    price_per_second: Optional[float] = field(  # noqa: UP045
        default=None, metadata={"help": "USD for a second of a worker, for estimates and the cap"}
    )
    max_cost: Optional[float] = field(  # noqa: UP045
        default=None, metadata={"help": "USD; what could pass it is not submitted"}
    )
    carry: Optional[list[str]] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "files and folders not in git that every job needs, parted by spaces; those that exist travel",
            "parse_func": shlex.split,
            "unparse_func": shlex.join,
        },
    )
    keep_remote: Optional[list[str]] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "names of output folders, parted by spaces, that stay at the remote, with a list of them here",
            "parse_func": shlex.split,
            "unparse_func": shlex.join,
        },
    )
    misses: int = field(default=20, metadata={"help": "questions in a row without an answer that end a job"})


common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=True,
    job_deploy_sources=False,  # with can_transfer_local_files they are the plugin's to carry
    pass_default_storage_provider_args=False,
    pass_envvar_declarations_to_cmd=False,  # commands are stored at the remote, and workers have secrets of their own
    auto_deploy_default_storage_provider=False,
    pass_group_args=True,
    can_transfer_local_files=True,
)
