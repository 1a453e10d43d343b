# Labels of every pixel of each view, where render.passes asks for them, and their check against the other labels.


rule passes:
    input:
        blend=rules.prepare.output.blend,
        facts=rules.prepare.output.facts,
        camera=rules.camera.output[0],
        labels=rules.ground_truth.output.labels,
        boxes=rules.ground_truth.output.boxes,
    output:
        images=directory(view("passes")),
        facts=view("passes.json"),
    log:
        view("logs/passes.log"),
    benchmark:
        view("benchmarks/passes.tsv")
    conda:
        "../envs/blender.yaml"
    params:
        frames=CONFIG["render"]["frames"],
        passes=PASSES,
        limits=CONFIG["validation"]["passes"],
        code=code("passes.py"),
    script:
        "../workflow/scripts/passes.py"
