"""The fitted body of one person -> a motion as .bvh, .glb or .fbx."""

from pathlib import Path

from pose_factory.blender.fitted_character import export
from pose_factory.bodies.motion import forward_kinematics
from pose_factory.files import atomic
from pose_factory.fitting.fitted import read_bodies
from pose_factory.job import job
from pose_factory.motion_export.bvh import bvh
from pose_factory.motion_export.upright import choose, even, rate, stand

with job(snakemake):
    path, wanted = Path(snakemake.output[0]), snakemake.wildcards.track.removeprefix("_")
    bodies, fps = read_bodies(snakemake.input[0])
    track_id = choose(bodies, int(wanted) if wanted else None)
    fitted, missing = even(bodies[track_id])
    if missing:
        print(f"Track {track_id} lacks {len(missing)} frames, which are made from those around them: {missing}")
    motion, fps = stand(fitted), rate(fitted, fps)
    with atomic(path) as temporary:
        if path.suffix == ".bvh":
            temporary.write_text(bvh(fitted.body, *forward_kinematics(fitted.body, motion), fps))
        else:
            export(fitted.body, motion, fps, f"track {track_id}", temporary)
