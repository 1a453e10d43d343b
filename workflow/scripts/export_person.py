"""The recorded motion of one person -> .bvh, .trc, .c3d, or the parameters of an Anny body."""

from pathlib import Path

from pose_factory.errors import PoseFactoryError
from pose_factory.export.body_parameters import write_body
from pose_factory.export.markers import trc, write_c3d
from pose_factory.export.recording import read_recording
from pose_factory.files import atomic
from pose_factory.job import job
from pose_factory.motion_export.bvh import bvh

with job(snakemake):
    path, suffix = Path(snakemake.output[0]), snakemake.wildcards.suffix
    person = int(snakemake.wildcards.person.removeprefix(".") or 0)
    recording, first, fps = read_recording(snakemake.input[0], person)
    if suffix == "body.npz":
        if not snakemake.params.anny:
            raise PoseFactoryError(f"{path.name} is of a character from a file: only described bodies have parameters.")
        write_body(path, recording, snakemake.params.anny, first, fps)
    else:
        with atomic(path) as temporary:
            if suffix == "bvh":
                temporary.write_text(bvh(recording, recording.turns, recording.places, fps))
            elif suffix == "trc":
                temporary.write_text(trc(recording.joints, first, fps, path.name))
            else:
                write_c3d(temporary, recording.joints, first, fps)
