"""Checkpoints: the base, and the stages.

Two files of a checkpoint are declared: the manifest, small and compared by its bytes, and the
weights, which are read through it.
"""


rule base:
    """The uncompressed model as a checkpoint."""
    input:
        manifest=f"{STUDY.model}/asset.json",
        model=ancient(f"{STUDY.model}/model.safetensors"),
        script=of_workflow("src/base.py"),
        lock=LOCK,
    output:
        manifest="results/{study}/seed{seed}/checkpoints/base/checkpoint.json",
        model="results/{study}/seed{seed}/checkpoints/base/model.safetensors",
    log:
        "logs/{study}/seed{seed}/base.log",
    resources:
        **asked("base"),
    params:
        model=folder_of("manifest"),
        sources=sources_of("base.py"),
    shell:
        r"""
        python {input.script:q} \
            --model {params.model:q} \
            --seed {wildcards.seed} \
            --threads {threads} \
            --costs results/{wildcards.study}/seed{wildcards.seed}/costs/base \
            --out results/{wildcards.study}/seed{wildcards.seed}/checkpoints/base \
            2>&1 | tee {log:q}
        """


rule compress:
    """One stage on one parent; its script is that of its kind: prune, distill or quantize."""
    input:
        unpack(teacher_input),
        manifest=parent_manifest,
        model=parent_weights,
        text=STUDY.chat,
        splits=lambda w: STUDY.splits(w.seed),
        script=stage_script,
        lock=stage_lock,
        arithmetic=ARITHMETIC,
    output:
        manifest="results/{study}/seed{seed}/checkpoints/{pipeline}/checkpoint.json",
        model="results/{study}/seed{seed}/checkpoints/{pipeline}/model.safetensors",
    log:
        "logs/{study}/seed{seed}/{pipeline}.log",
    wildcard_constraints:
        pipeline=orderings.ending_in(STUDY.stages),
    threads: stage_devices
    resources:
        **asked("{pipeline}", stage_devices),
        gpu=lambda w: STUDY.gpus * stage_devices(w),
    params:
        launcher=lambda w: environments.launcher(stage_method(w), stage_devices(w)),
        parent=parent_folder,
        flags=stage_flags,
        sources=stage_sources,
    shell:
        r"""
        {params.launcher} {input.script:q} \
            --parent {params.parent:q} \
            --pipeline {wildcards.pipeline:q} \
            --text {input.text:q} \
            --splits {input.splits:q} \
            --seed {wildcards.seed} \
            --threads {threads} \
            {params.flags:q} \
            --work work/{wildcards.study}/seed{wildcards.seed}/{wildcards.pipeline:q} \
            --costs results/{wildcards.study}/seed{wildcards.seed}/costs/{wildcards.pipeline:q} \
            --out results/{wildcards.study}/seed{wildcards.seed}/checkpoints/{wildcards.pipeline:q} \
            2>&1 | tee {log:q}
        """
