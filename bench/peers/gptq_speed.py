#!/usr/bin/env python3
"""3-bit GPTQ of SmolLM2-135M by twofold and by the PyTorch loop of gptq_torch.py, by turns: time and peak memory.

    tools/get-smollm2 && ./run build
    bench/peers/gptq_speed.py --python PYTHON          # a Python with torch and transformers

Both quantize all linear layers of the blocks per row, on the same windows (32 of 2048 tokens from the start of the text), with the same
number of threads. twofold's time is that of the whole process, reading and writing included; PyTorch's leaves out imports, loading and
writing. --gptqt adds the method gptqt, whose search may cost at most as much again. Prints each round, ratios of the medians, and the
loss of both results on text (--score); limits are printed as met or missed; exit status 1 if one is missed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PEERS = Path(__file__).resolve().parent
ROOT = PEERS.parent.parent
QUIET = {**os.environ, "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}
LEAST_SPEED, MOST_MEMORY, MOST_SEARCH = 1.3, 0.5, 2.0


def run_measured(command):
    """Output of a command, its seconds, and the peak resident memory of that process alone in bytes."""
    with tempfile.TemporaryFile() as out:
        start = time.perf_counter()
        process = subprocess.Popen(list(map(str, command)), stdout=out, env=QUIET)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"{' '.join(map(str, command))}: exit status {process.returncode}")
        out.seek(0)
        return out.read().decode(), seconds, 1024 * usage.ru_maxrss


def twofold_run(args, folder, method):
    command = [args.twofold, "quantize", args.model, "-o", folder, "--force", "--method", method, "--bits", args.bits, "--explore", "weights",
               "--head", "keep", "--embeddings", "keep", "--calibration", args.text, "--samples", args.samples, "--context", args.context,
               "--sampling", "consecutive", "--threads", args.threads, "--no-score", "--no-resume", "--quiet"]
    _, seconds, peak = run_measured(command)
    return seconds, peak


def torch_run(args, folder, output):
    command = [args.python, PEERS / "gptq_torch.py", folder, args.text, "--bits", args.bits, "--samples", args.samples,
               "--context", args.context, "--threads", args.threads, *(["--output", output] if output else [])]
    result = json.loads(run_measured(command)[0].splitlines()[-1])
    return result["seconds"], result["peak_bytes"]


def loss(args, model):
    command = [args.twofold, "eval", model, "--text", args.score, "--protocol", "gptq-2048", "--windows", args.windows, "--json", "--quiet"]
    return json.loads(run_measured(command)[0])["nats_per_token"]


def verdict(name, value, limit, met):
    print(f"{name}: {value:.2f} (limit {limit}): {'met' if met else 'MISSED'}")
    return met


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="a Python with torch and transformers")
    parser.add_argument("--twofold", type=Path, default=ROOT / "build/release/twofold")
    parser.add_argument("--model", type=Path, default=ROOT / "models/downloads/SmolLM2-135M-Instruct.gguf")
    parser.add_argument("--text", type=Path, default=ROOT / "data/calibration/c4.lines.txt", help="calibration text")
    parser.add_argument("--score", type=Path, default=ROOT / "tests/data/text/wiki.test.raw")
    parser.add_argument("--windows", type=int, default=2, help="windows to score; 0: none")
    parser.add_argument("--bits", type=int, default=3)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gptqt", action="store_true", help="also time gptqt")
    return parser.parse_args()


def main():
    args = arguments()
    for path in (args.twofold, args.model, args.text):
        if not path.exists():
            sys.exit(f"{path}: not there")
    ours, theirs, searched = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        subprocess.run([args.twofold, "import", args.model, "-o", work / "float", "--dtype", "f32", "--quiet"], check=True,
                       stdout=subprocess.DEVNULL)
        for number in range(args.rounds):
            ours.append(twofold_run(args, work / "ours", "gptq"))
            theirs.append(torch_run(args, work / "float", work / "theirs" if number == 0 and args.windows else None))
            line = f"round {number + 1}: twofold {ours[-1][0]:.1f} s, {ours[-1][1] / 1e6:.0f} MB; PyTorch {theirs[-1][0]:.1f} s, {theirs[-1][1] / 1e6:.0f} MB"
            if args.gptqt:
                searched.append(twofold_run(args, work / "gptqt", "gptqt"))
                line += f"; gptqt {searched[-1][0]:.1f} s"
            print(line, flush=True)
        if args.windows:
            print(f"loss on {args.windows} windows: float {loss(args, args.model):.4f}, twofold {loss(args, work / 'ours'):.4f}, "
                  f"PyTorch {loss(args, work / 'theirs'):.4f}")
    middle = lambda runs, what: statistics.median(run[what] for run in runs)
    speed = middle(theirs, 0) / middle(ours, 0)
    memory = middle(ours, 1) / middle(theirs, 1)
    met = [verdict("times as fast as PyTorch", speed, f"at least {LEAST_SPEED}", speed >= LEAST_SPEED),
           verdict("share of PyTorch's peak memory", memory, f"below {MOST_MEMORY}", memory < MOST_MEMORY)]
    if args.gptqt:
        search = middle(searched, 0) / middle(ours, 0)
        met.append(verdict("time of gptqt over that of gptq", search, f"at most {MOST_SEARCH}", search <= MOST_SEARCH))
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
