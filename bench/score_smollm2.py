#!/usr/bin/env python3
"""Float scoring of SmolLM2-135M-Instruct beside PyTorch (float32), on the same processors, by turns in one run.

    tools/get-smollm2 && ./run build
    bench/score_smollm2.py --python PYTHON          # a Python with torch and transformers

Both score the first windows of 2048 tokens of wiki.test.raw (protocol gptq-2048). Prints the times of every round, the ratio of the
medians, the perplexity of both (which must agree to 0.1 %), the time to open the model and the peak resident memory of scoring it.
PyTorch runs the folder that `twofold import --dtype f32` writes; its head is applied in chunks, as a user with little memory would.
Every limit is printed as met or missed; exit status 1 if one is missed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WINDOW, ALLOWED_MB = 2048, 128

WORKER = r"""
import json, sys, time
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, text, window, windows, threads = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
torch.set_num_threads(threads)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
tokens = AutoTokenizer.from_pretrained(folder)(open(text, newline="").read(), add_special_tokens=False)["input_ids"]
batches = torch.tensor(tokens[: window * windows]).view(windows, 1, window)

@torch.inference_mode()
def window_loss(ids):
    hidden = model.model(ids).last_hidden_state[0, :-1]
    targets = ids[0, 1:]
    total = 0.0
    for first in range(0, window - 1, 256):
        logits = model.lm_head(hidden[first : first + 256])
        total += torch.nn.functional.cross_entropy(logits, targets[first : first + 256], reduction="sum").item()
    return total / (window - 1)

print(json.dumps({"tokens": len(tokens), "version": torch.__version__}), flush=True)
for line in sys.stdin:
    start = time.perf_counter()
    losses = [window_loss(ids) for ids in batches]
    print(json.dumps({"seconds": time.perf_counter() - start, "nats": sum(losses) / len(losses)}), flush=True)
"""


def run_measured(command):
    """Output of a command, and the peak resident memory of that process alone in bytes."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"{' '.join(map(str, command))}: exit status {process.returncode}")
        out.seek(0)
        return out.read().decode(), 1024 * usage.ru_maxrss


def start_worker(args, folder):
    command = [args.python, "-c", WORKER, folder, args.text, WINDOW, args.windows, args.threads]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads), "TOKENIZERS_PARALLELISM": "false"}
    worker = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    line = worker.stdout.readline()
    if not line:
        sys.exit(f"{args.python}: could not load the model with torch and transformers")
    return worker, json.loads(line)


def ask(worker):
    worker.stdin.write("run\n")
    worker.stdin.flush()
    return json.loads(worker.stdout.readline())


def kv_cache_bytes(folder):
    config = json.loads((folder / "config.json").read_text())
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * head_dim * WINDOW * 4


def report(args, ours, theirs, folders):
    """Prints every figure beside its limit; returns whether all were met."""
    median = {name: statistics.median(run["seconds"] for run in runs) for name, runs in (("ours", ours), ("torch", theirs))}
    ratio = median["torch"] / median["ours"]
    difference = abs(ours[0]["nats_per_token"] - theirs[0]["nats"])
    targets = args.windows * (WINDOW - 1)
    peak = max(run["peak"] for run in ours)
    size = args.model.stat().st_size
    limit = size + ALLOWED_MB * 2**20 + kv_cache_bytes(folders["f16"])
    speed = (f"scoring {args.windows} windows of {WINDOW}, {args.threads} threads, median of {args.rounds}: "
             f"twofold {median['ours']:.2f} s ({targets / median['ours']:.0f} tokens/s), PyTorch {median['torch']:.2f} s")
    memory = f"file {size / 1e6:.1f} MB + {ALLOWED_MB} MiB + KV cache = {limit / 1e6:.1f} MB"
    limits = [
        (f"perplexity: twofold {ours[0]['perplexity']:.4f}, PyTorch differs by {100 * difference:.4f} %", "at most 0.1 %", difference <= 1e-3),
        (f"{speed}; ratio {ratio:.3f}", "at least 1", ratio >= 1),
        (f"peak resident memory of scoring: {peak / 1e6:.1f} MB", f"at most {memory}", peak <= limit),
    ]
    for figure, wanted, met in limits:
        print(f"{figure}; {wanted}: {'met' if met else 'missed'}", flush=True)
    return opens_in_time(args, folders["f16"]) and all(met for _, _, met in limits)


def opens_in_time(args, folder):
    """Runs bench_open on a 270 MB folder of 16-bit weights, warm; it prints its limit and fails beyond it."""
    program = args.twofold.parent / "bench/bench_open"
    if not program.exists():
        sys.exit(f"{program}: not there; ./run build")
    return subprocess.run([program, folder], check=False).returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="Python with torch and transformers")
    parser.add_argument("--model", type=Path, default=ROOT / "models/downloads/SmolLM2-135M-Instruct.gguf")
    parser.add_argument("--text", type=Path, default=ROOT / "tests/data/text/wiki.test.raw")
    parser.add_argument("--twofold", type=Path, default=ROOT / "build/release/twofold")
    parser.add_argument("--windows", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpus", type=int, nargs="+", help="processors for both (default: those this process may use)")
    args = parser.parse_args()
    for path in (args.model, args.text, args.twofold):
        if not path.exists():
            sys.exit(f"{path}: not there (tools/get-smollm2, ./run build)")
    if args.cpus:
        os.sched_setaffinity(0, args.cpus)
    with tempfile.TemporaryDirectory() as work:
        folders = {dtype: Path(work) / dtype for dtype in ("f32", "f16")}
        for dtype, folder in folders.items():
            subprocess.run([args.twofold, "import", args.model, "-o", folder, "--dtype", dtype, "--quiet"], check=True, stdout=sys.stderr)
        worker, info = start_worker(args, folders["f32"])
        print(f"PyTorch {info['version']}, {len(os.sched_getaffinity(0))} processors")
        command = [args.twofold, "eval", args.model, "--text", args.text, "--protocol", "gptq-2048", "--windows", str(args.windows),
                   "--threads", str(args.threads), "--json", "--quiet"]
        ours, theirs = [], []
        for turn in range(args.rounds):
            output, peak = run_measured(command)
            ours.append({**json.loads(output), "peak": peak})
            theirs.append(ask(worker))
            print(f"round {turn + 1}: twofold {ours[-1]['seconds']:.2f} s, PyTorch {theirs[-1]['seconds']:.2f} s", flush=True)
        worker.stdin.close()
        worker.wait()
        met = report(args, ours, theirs, folders)
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
