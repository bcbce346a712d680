#!/usr/bin/env python3
"""Perplexity of models beside the transformers library (float32), on the same windows of the same text.

    tools/get-smollm2 && ./run build
    bench/perplexity.py --python PYTHON                      # a Python with torch and transformers
    bench/perplexity.py --python PYTHON MODEL ...            # any model that twofold reads

Without MODEL: SmolLM2-135M-Instruct as GGUF file and as the folder that `twofold import` makes of it, and stories260K. The library runs the
folder that `twofold import --dtype f32` writes, a Hugging Face folder as it is; both tokenize the text themselves. Exit status 1 if
perplexities differ by more than 0.1 %, or token counts at all.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = 0.001
SMOLLM2 = ROOT / "models/downloads/SmolLM2-135M-Instruct.gguf"

WORKER = r"""
import json, math, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, text, window, windows, threads = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
torch.set_num_threads(threads)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
window = min(window, model.config.max_position_embeddings)
tokens = AutoTokenizer.from_pretrained(folder)(open(text, newline="").read(), add_special_tokens=False)["input_ids"]
count = min(windows or len(tokens) // window, len(tokens) // window)
losses = []
with torch.inference_mode():
    for ids in torch.tensor(tokens[: window * count]).view(count, 1, window):
        logits = model(ids).logits[0, :-1]
        losses.append(torch.nn.functional.cross_entropy(logits, ids[0, 1:]).item())
print(json.dumps({"tokens": len(tokens), "window": window, "windows": count, "perplexity": math.exp(sum(losses) / count)}))
"""


def output_of(command):
    result = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command[:3]))}: exit status {result.returncode}")
    return result.stdout


def is_plain_folder(model):
    return (model / "config.json").is_file() and "quantization_config" not in json.loads((model / "config.json").read_text())


def compare(args, model, folder):
    """One line of the table; False if the two disagree."""
    theirs = json.loads(output_of([args.python, "-c", WORKER, folder, args.text, args.window, args.windows, args.threads]))
    ours = json.loads(output_of([args.twofold, "eval", model, "--text", args.text, "--protocol", "gptq-2048", "--window", theirs["window"],
                                 "--windows", theirs["windows"], "--threads", args.threads, "--json", "--quiet"]))
    difference = ours["perplexity"] / theirs["perplexity"] - 1
    same_tokens = ours["windows"] == theirs["windows"]
    fine = abs(difference) <= ALLOWED and same_tokens
    shown = model.relative_to(ROOT) if model.is_relative_to(ROOT) else model.name
    print(f"| {shown} | {theirs['windows']} x {theirs['window']} | {ours['perplexity']:.4f} | {theirs['perplexity']:.4f} | "
          f"{100 * difference:+.4f} % | {'met' if fine else '**missed**'} |", flush=True)
    return fine


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--text", type=Path, default=ROOT / "tests/data/text/wiki.test.raw")
    parser.add_argument("--window", type=int, default=2048, help="at most the model's context")
    parser.add_argument("--windows", type=int, default=10, help="0: all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--twofold", type=Path, default=ROOT / "build/release/twofold")
    args = parser.parse_args()
    fine = True
    print("| model | windows | twofold | transformers | difference | limit 0.1 % |\n|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="twofold-perplexity-") as scratch:
        for model in args.models or [SMOLLM2, ROOT / "models/stories260k/stories260K.bin"]:
            folder = model
            if not is_plain_folder(model):
                folder = Path(scratch) / model.stem
                output_of([args.twofold, "import", model, "-o", folder, "--dtype", "f32", "--quiet"])
            fine &= compare(args, model, folder)
            if folder != model and not args.models:
                fine &= compare(args, folder, folder)
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
