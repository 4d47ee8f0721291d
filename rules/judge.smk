"""A judge's verdicts on generated answers, where the study names a judge."""

if STUDY.judge:

    rule answers:
        """One checkpoint's answers to the prompts of the study."""
        input:
            manifest="results/{study}/seed{seed}/checkpoints/{pipeline}/checkpoint.json",
            model=ancient(
                "results/{study}/seed{seed}/checkpoints/{pipeline}/model.safetensors"
            ),
            base=f"{BASE}/checkpoint.json",
            base_model=ancient(f"{BASE}/model.safetensors"),
            text=STUDY.judged_text,
            splits="results/{study}/splits.json",
            script=of_workflow("src/answers.py"),
            lock=LOCK,
            arithmetic=ARITHMETIC,
        output:
            "results/{study}/seed{seed}/evaluations/{pipeline}/answers.json",
        log:
            "logs/{study}/seed{seed}/{pipeline}.answers.log",
        resources:
            **asked("answers {pipeline}"),
            gpu=STUDY.gpus,
        params:
            checkpoint=folder_of("manifest"),
            reference=folder_of("base"),
            flags=STUDY.answer_flags(),
            sources=sources_of_reader("answers.py"),
        shell:
            r"""
            python {input.script:q} \
                --checkpoint {params.checkpoint:q} \
                --reference {params.reference:q} \
                --text {input.text:q} \
                --seed {wildcards.seed} \
                --threads {threads} \
                {params.flags:q} \
                --costs results/{wildcards.study}/seed{wildcards.seed}/costs/{wildcards.pipeline:q} \
                --out {output:q} \
                2>&1 | tee {log:q}
            """

    rule judge_steps:
        """The judge's evaluation steps, the same for every answer."""
        input:
            script=of_workflow("src/judge.py"),
            lock=of_workflow("envs/judge.lock"),
        output:
            "results/{study}/judge/steps.json",
        log:
            "logs/{study}/judge_steps.log",
        # a cluster node may not reach the endpoint
        localrule: True
        params:
            flags=STUDY.judge_flags(),
            sources=sources_of("judge.py"),
        shell:
            r"""
            "$PYTHON_JUDGE" {input.script:q} steps \
                {params.flags:q} \
                --out {output:q} \
                2>&1 | tee {log:q}
            """

    rule judge:
        """The judge's verdicts on one checkpoint's answers."""
        input:
            answers="results/{study}/seed{seed}/evaluations/{pipeline}/answers.json",
            steps="results/{study}/judge/steps.json",
            text=STUDY.judged_text,
            splits="results/{study}/splits.json",
            script=of_workflow("src/judge.py"),
            lock=of_workflow("envs/judge.lock"),
        output:
            "results/{study}/seed{seed}/evaluations/{pipeline}/judge.json",
        log:
            "logs/{study}/seed{seed}/{pipeline}.judge.log",
        localrule: True
        params:
            flags=[*STUDY.judge_flags(), *STUDY.prompt_flags()],
            sources=sources_of("judge.py"),
        shell:
            r"""
            "$PYTHON_JUDGE" {input.script:q} verdicts \
                --answers {input.answers:q} \
                --steps {input.steps:q} \
                --text {input.text:q} \
                {params.flags:q} \
                --out {output:q} \
                2>&1 | tee {log:q}
            """
