"""What a study may say of a training and of a teacher's outputs. Pure Python."""

from typing import Annotated, Literal

from pydantic import Field

from compression_order.common.declare import Role, Settings

SeqLen = Annotated[
    int, Field(ge=8, description="longest conversation, tokens; the rest is cut"), Role.TEACHER
]
MaskPrompt = Annotated[
    bool, Field(description="train on the assistant's tokens only"), Role.TEACHER
]
CountPadding = Annotated[
    bool,
    Field(description="pad every conversation to seq_len and let the padding count, as published"),
    Role.TEACHER,
]
Conversations = Annotated[
    int,
    Field(ge=0, description="use this many, the first of the part; 0 = all"),
    Role.TEACHER,
]
Part = Annotated[
    Literal["train", "recovery", "both"],
    Field(
        description="part of the chat text that is read: train, recovery (which no other training "
        "then reads), or both"
    ),
    Role.TEACHER,
]
TopK = Annotated[
    int,
    Field(
        ge=0,
        description="0 = the whole vocabulary: the exact divergence; else the ids of the teacher "
        "kept a token, with the others as one bucket",
    ),
    Role.TEACHER,
    Role.TEACHING,
]
TeacherName = Annotated[
    str,
    Field(
        pattern=r"^([A-Za-z0-9][A-Za-z0-9_.-]*)?$",
        description="what it learns from, base or a pipeline of the study; none = the study's "
        "`teacher`",
    ),
    Role.TEACHER,
    Role.TEACHING,
]
TeacherWeights = Annotated[
    Literal["bf16", "int8"],
    Field(description="the teacher's weights, bf16 or int8 (bitsandbytes)"),
    Role.TEACHER,
    Role.TEACHING,
]


class Training(Settings):
    """How long and how fast to train; 0 steps is no training."""

    steps: Annotated[int, Field(ge=0, description="optimizer steps; 0 = no training")] = 0
    part: Part = "train"
    conversations: Conversations = 0
    batch_size: Annotated[int, Field(ge=1, description="conversations a batch")] = 4
    accumulation: Annotated[int, Field(ge=1, description="batches a step")] = 1
    seq_len: SeqLen = 256
    mask_prompt: MaskPrompt = True
    count_padding: CountPadding = False
    weights: Annotated[
        Literal["float32", "bfloat16"],
        Field(
            description="dtype of the weights that the optimizer changes; float32 computes in bf16 "
            "by autocast"
        ),
    ] = "float32"
    optimizer: Annotated[
        Literal["adamw", "adamw-8bit"],
        Field(
            description="AdamW with moments in the dtype of `weights`, or in 8 bits (bitsandbytes)"
        ),
    ] = "adamw"
    learning_rate: Annotated[
        float, Field(gt=0, lt=1, description="peak learning rate of AdamW")
    ] = 5e-5
    warmup_steps: Annotated[int, Field(ge=0, description="steps of linear warm-up")] = 4
    schedule: Annotated[
        Literal["linear", "cosine", "constant"],
        Field(description="decay of the learning rate to 0 after the warm-up"),
    ] = "linear"
    weight_decay: Annotated[float, Field(ge=0, description="decoupled weight decay of AdamW")] = 0.0
    max_grad_norm: Annotated[
        float, Field(gt=0, description="gradients are clipped to this L2 norm")
    ] = 1.0
    devices: Annotated[
        int,
        Field(
            ge=1,
            description="GPUs of one machine, or CPU processes, that share the training",
        ),
    ] = 1


class Teaching(Settings):
    """What decides a teacher's outputs: not the temperature, not the weight in the loss."""

    seq_len: SeqLen = 256
    mask_prompt: MaskPrompt = True
    count_padding: CountPadding = False
    part: Part = "train"
    conversations: Conversations = 0
    top_k: TopK = 0
    teacher_weights: TeacherWeights = "bf16"
