# A free body for each person that was tracked: fitted per view and per video, held against the ground truth where there
# is one, and on demand as a motion that other programs open. hmr2's own bodies are in people.parquet.


rule fit_body:
    input:
        tracks=rules.track.output.tracks,
        people=rules.track.output.people,
        facts=rules.render.output.facts,
        image=rules.camera.output[0],
    output:
        body=view("body.npz"),
        report=view("body.json"),
        angles=view("joint_angles.parquet"),
    log:
        view("logs/fit_body.log"),
    benchmark:
        view("benchmarks/fit_body.tsv")
    conda:
        "../envs/blender.yaml"
    params:
        code=code("fit_body.py"),
    script:
        "../workflow/scripts/fit_body.py"


use rule fit_body as fit_body_video with:
    input:
        tracks=rules.track_video.output.tracks,
        people=rules.track_video.output.people,
        facts=rules.track_video.output.facts,
        image=rules.track_video.output.facts,
    output:
        body=film("body.npz"),
        report=film("body.json"),
        angles=film("joint_angles.parquet"),
    log:
        film("logs/fit_body.log"),
    benchmark:
        film("benchmarks/fit_body.tsv")


rule validate_body:
    input:
        labels=rules.ground_truth.output.labels,
        boxes=rules.ground_truth.output.boxes,
        tracks=rules.track.output.tracks,
        camera=rules.camera.output[0],
        body=rules.fit_body.output.body,
        # The true body is known where it was made here.
        motion=lambda wildcards: recorded(wildcards.character),
    output:
        report(
            view("body_validation.json"),
            caption="../workflow/report/body_validation.rst",
            category="{character}",
            subcategory="scores",
            labels={"view": "{camera_angle}", "what": "scores of the fitted body"},
        ),
    log:
        view("logs/validate_body.log"),
    benchmark:
        view("benchmarks/validate_body.tsv")
    conda:
        "../envs/blender.yaml"
    params:
        anny=lambda wildcards: CHARACTERS[wildcards.character].get("anny"),
        code=code("validate_body.py"),
    script:
        "../workflow/scripts/validate_body.py"


# Nothing else asks for it: `snakemake --cores 1 results/ada/front/motion.bvh`, or .glb or .fbx, for whoever is there
# longest, and motion_3.bvh for track 3.
rule export_motion:
    input:
        rules.fit_body.output.body,
    output:
        view("motion{track}.{format}"),
    log:
        view("logs/export_motion{track}_{format}.log"),
    wildcard_constraints:  # not among the output's, whose "?" a storage provider takes for a query
        track="(_[0-9]+)?",
        format="bvh|glb|fbx",
    localrule: True  # for who asks for it, and done in seconds
    conda:
        "../envs/blender.yaml"
    params:
        code=code("export_motion.py"),
    script:
        "../workflow/scripts/export_motion.py"


use rule export_motion as export_motion_video with:
    input:
        rules.fit_body_video.output.body,
    output:
        film("motion{track}.{format}"),
    log:
        film("logs/export_motion{track}_{format}.log"),
