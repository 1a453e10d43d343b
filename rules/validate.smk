# What the tracker got right: per view, and without the rig's bias, which takes all views of a character.


rule validate:
    input:
        labels=rules.ground_truth.output.labels,
        boxes=rules.ground_truth.output.boxes,
        tracks=rules.track.output[0],
        camera=rules.camera.output[0],
        character=rules.prepare.output.facts,
    output:
        validation=report(
            view("validation.json"),
            caption="../workflow/report/validation.rst",
            category="{character}",
            subcategory="scores",
            labels={"view": "{camera_angle}", "what": "scores"},
        ),
        joints=view("joints.parquet"),
    log:
        view("logs/validate.log"),
    benchmark:
        view("benchmarks/validate.tsv")
    conda:
        "../envs/analysis.yaml"
    params:
        thresholds=CONFIG["validation"]["thresholds"],
        code=code("validate.py"),
    script:
        "../workflow/scripts/validate.py"


rule rig_bias:
    input:
        labels=views_of("ground_truth.parquet"),
        boxes=views_of("boxes.parquet"),
        tracks=views_of("tracks.parquet"),
        cameras=views_of("camera.json"),
        character=rules.prepare.output.facts,
    output:
        f"{RESULTS}/{{character}}/rig_bias.json",
    log:
        f"{RESULTS}/{{character}}/logs/rig_bias.log",
    benchmark:
        f"{RESULTS}/{{character}}/benchmarks/rig_bias.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        angles=list(ANGLES),
        code=code("rig_bias.py"),
    script:
        "../workflow/scripts/rig_bias.py"
