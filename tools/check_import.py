#!/usr/bin/env python3
"""Imports every GGUF file of tests/data/tiny-models and compares the logits that the transformers library computes from the folder.

Needs PyTorch, transformers 5.x and a built twofold (no test and no build runs it):
    python3 tools/check_import.py build/release/twofold [FILE.gguf ...]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

TINY_MODELS = Path(__file__).resolve().parent.parent / "tests" / "data" / "tiny-models"
BOUND = 1e-4


def difference(folder, expected):
    """The largest one of a logit, over all sequences; nan if one is no number."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    worst = torch.tensor(0.0)
    for sequence in expected["sequences"]:
        with torch.no_grad():
            logits = model(torch.tensor([sequence["ids"]])).logits[0]
        if "logits" in sequence:
            wanted = torch.tensor(sequence["logits"])
        else:
            logits, wanted = logits[-1], torch.tensor(sequence["last_logits"])
        worst = torch.maximum(worst, (logits - wanted).abs().max())
    return worst.item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("twofold", type=Path)
    parser.add_argument("files", nargs="*", type=Path)
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    files = args.files or sorted(path for path in TINY_MODELS.glob("*.gguf") if "-00002-of-" not in path.name)
    bad = []
    for path in files:
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "model"
            subprocess.run([args.twofold, "import", path, "-o", output, "--dtype", "f32", "--quiet"], check=True,
                           stdout=subprocess.DEVNULL)
            expected = json.loads((path.parent / path.stem.split("-00001-of-")[0] / "expected.json").read_text())
            worst = difference(output, expected)
            if not worst <= BOUND:
                bad.append(path.name)
            print(f"{path.name}: largest difference of a logit {worst:.2e}", flush=True)
    sys.exit(f"beyond {BOUND}: {', '.join(bad)}" if bad else 0)


if __name__ == "__main__":
    main()
