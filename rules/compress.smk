"""Checkpoints: the base, the teacher's outputs, and the stages.

Two files of a checkpoint are declared: the manifest, small and compared by its bytes, and the
weights, which are read through it.
"""


rule base:
    """The uncompressed model as a checkpoint."""
    input:
        manifest=f"{STUDY.model}/asset.json",
        model=ancient(f"{STUDY.model}/model.safetensors"),
        sources=sources("src/base.py"),
        lock=LOCK,
    output:
        manifest="results/{study}/seed{seed}/checkpoints/base/checkpoint.json",
        model="results/{study}/seed{seed}/checkpoints/base/model.safetensors",
    log:
        "logs/{study}/seed{seed}/base.log",
    resources:
        mem_mb=3000,
    params:
        model=folder_of("manifest"),
    shell:
        r"""
        python src/base.py \
            --model {params.model:q} \
            --seed {wildcards.seed} \
            --threads {threads} \
            --costs results/{wildcards.study}/seed{wildcards.seed}/costs/base \
            --out results/{wildcards.study}/seed{wildcards.seed}/checkpoints/base \
            2>&1 | tee {log:q}
        """


rule teach:
    """The teacher's outputs on the training split, for all stages of one token."""
    input:
        manifest=f"{BASE}/checkpoint.json",
        model=ancient(f"{BASE}/model.safetensors"),
        text=STUDY.chat,
        splits="results/{study}/splits.json",
        sources=sources("src/teach.py"),
        lock=LOCK,
    output:
        "results/{study}/teacher/{token}.safetensors",
    log:
        "logs/{study}/teacher.{token}.log",
    wildcard_constraints:
        token="|".join(map(re.escape, STUDY.of_kind("distill"))) or r"(?!)",
    resources:
        mem_mb=3000,
    params:
        model=folder_of("manifest"),
        flags=lambda w: STUDY.teacher_flags(w.token),
    shell:
        r"""
        python src/teach.py \
            --model {params.model:q} \
            --text {input.text:q} \
            --splits {input.splits:q} \
            --threads {threads} \
            {params.flags:q} \
            --costs results/{wildcards.study}/costs/teacher.{wildcards.token} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


rule compress:
    """One stage on one parent; its script is that of its kind: prune, distill or quantize."""
    input:
        unpack(teacher_input),
        manifest=parent_manifest,
        model=parent_weights,
        text=STUDY.chat,
        splits="results/{study}/splits.json",
        sources=stage_sources,
        lock=LOCK,
    output:
        manifest="results/{study}/seed{seed}/checkpoints/{pipeline}/checkpoint.json",
        model="results/{study}/seed{seed}/checkpoints/{pipeline}/model.safetensors",
    log:
        "logs/{study}/seed{seed}/{pipeline}.log",
    wildcard_constraints:
        pipeline=orderings.ending_in(STUDY.stages),
    resources:
        mem_mb=6500,
    params:
        script=stage_script,
        parent=parent_folder,
        flags=stage_flags,
    shell:
        r"""
        python {params.script} \
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
