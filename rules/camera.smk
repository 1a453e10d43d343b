# Once per view: the camera that frames the whole motion exactly.


rule camera:
    input:
        bounds=rules.bounds.output[0],
    output:
        view("camera.json"),
    log:
        view("logs/camera.log"),
    benchmark:
        view("benchmarks/camera.tsv")
    conda:
        "../envs/blender.yaml"
    params:
        angle=lambda wildcards: ANGLES[wildcards.camera_angle],
        variation=drawn("camera", "occluders"),
        code=code("camera.py"),
    script:
        "../workflow/scripts/camera.py"
