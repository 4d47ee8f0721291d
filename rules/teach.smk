"""The teacher's outputs on the training split, for all distillations that share them.

Once for a study where the base or a model of its own teaches; once for a seed where the seed's
checkpoint of a pipeline does, or where each seed draws its own conversations.
"""


rule teach:
    """The outputs of the base, or of a model of its own."""
    input:
        unpack(teacher_weights),
        manifest=f"{BASE}/checkpoint.json",
        model=ancient(f"{BASE}/model.safetensors"),
        text=STUDY.chat,
        splits="results/{study}/splits.json",
        script=of_workflow("src/teach.py"),
        lock=LOCK,
        arithmetic=ARITHMETIC,
    output:
        "results/{study}/teacher/{token}.safetensors",
    log:
        "logs/{study}/teacher.{token}.log",
    wildcard_constraints:
        token=one_of(caches(of_each_seed=False)),
    resources:
        **asked("teacher {token}"),
        gpu=STUDY.gpus,
    params:
        student=folder_of("manifest"),
        flags=teacher_flags,
        costs="results/{study}/costs/teacher.{token}",
        sources=teacher_sources,
    shell:
        r"""
        python {input.script:q} \
            --student {params.student:q} \
            --text {input.text:q} \
            --splits {input.splits:q} \
            --threads {threads} \
            {params.flags:q} \
            --costs {params.costs:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


use rule teach as teach_of_a_seed with:
    # the outputs of the seed's checkpoint of a pipeline, or on the conversations of the seed
    input:
        unpack(teacher_weights),
        manifest="results/{study}/seed{seed}/checkpoints/base/checkpoint.json",
        model=ancient("results/{study}/seed{seed}/checkpoints/base/model.safetensors"),
        text=STUDY.chat,
        splits=lambda w: STUDY.splits(w.seed),
        script=of_workflow("src/teach.py"),
        lock=LOCK,
        arithmetic=ARITHMETIC,
    output:
        "results/{study}/seed{seed}/teacher/{token}.safetensors",
    log:
        "logs/{study}/seed{seed}/teacher.{token}.log",
    wildcard_constraints:
        token=one_of(caches(of_each_seed=True)),
    params:
        student=folder_of("manifest"),
        flags=teacher_flags,
        costs="results/{study}/seed{seed}/costs/teacher.{token}",
        sources=teacher_sources,
