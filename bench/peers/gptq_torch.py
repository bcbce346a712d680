#!/usr/bin/env python3
"""GPTQ in PyTorch (float32, CPU): the loop that bench/peers/gptq_speed.py measures twofold against.

    python gptq_torch.py MODEL_FOLDER CALIBRATION_TEXT --bits 3 --samples 32 --context 2048 --threads 2 [--output FOLDER]

Written to be as fast as the textbook algorithm allows without kernels of its own:
- one second moment per distinct input (query, key and value share one, so do gate and up), one Cholesky factor per moment, and
  matrices that share an input are rounded together as one matrix of more rows (rows are independent);
- columns in lazy blocks of 128: rank-1 updates inside a block, one matrix product for all later columns after it;
- moments from the already quantized prefix, one sequence per forward pass, nothing kept that is not needed;
- min-max grid per row (integer zero), natural order, damping 0.01: the method `gptq` of twofold without its scale search.
Prints one line of JSON: seconds (calibration and rounding; loading and imports are left out) and peak resident memory.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

BLOCK = 128
DAMPING = 0.01


class FirstBlockReached(Exception):
    pass


def calibration_windows(tokenizer, text, samples, context):
    ids = tokenizer(Path(text).read_text(encoding="utf-8"), add_special_tokens=False)["input_ids"]
    if len(ids) < samples * context:
        raise SystemExit(f"{text}: expected {samples * context} tokens, found {len(ids)}")
    return torch.tensor(ids[: samples * context]).view(samples, context)


def block_inputs(model, windows):
    """Hidden states before the first block, [samples][1, context, hidden], and what every block is called with besides."""
    hidden, others = [], {}

    def catch(_, args, kwargs):
        hidden.append((args[0] if args else kwargs["hidden_states"]).clone())
        others.update({key: value for key, value in kwargs.items() if key != "hidden_states"})
        raise FirstBlockReached

    hook = model.model.layers[0].register_forward_pre_hook(catch, with_kwargs=True)
    for window in windows:
        try:
            model.model(window[None], use_cache=False)
        except FirstBlockReached:
            pass
    hook.remove()
    return hidden, others


def run_block(block, hidden, others):
    out = block(hidden, **others)
    return out[0] if isinstance(out, tuple) else out


def groups_of(block):
    """Linear layers that read one input."""
    attention, mlp = block.self_attn, block.mlp
    return [[attention.q_proj, attention.k_proj, attention.v_proj], [attention.o_proj], [mlp.gate_proj, mlp.up_proj], [mlp.down_proj]]


def second_moments(block, groups, hidden, others):
    """Sum of x^T x over all tokens of each group's input, [in, in]."""
    moments = [torch.zeros(linears[0].in_features, linears[0].in_features) for linears in groups]
    hooks = []
    for linears, moment in zip(groups, moments):
        def add(_, args, moment=moment):
            x = args[0].reshape(-1, args[0].shape[-1])
            moment.addmm_(x.T, x)
        hooks.append(linears[0].register_forward_pre_hook(add))
    for states in hidden:
        run_block(block, states, others)
    for hook in hooks:
        hook.remove()
    return moments


def inverse_factor(moment):
    """Upper Cholesky factor of the inverse of the damped moment, [in, in]; columns that were always 0 are left alone."""
    diagonal = moment.diagonal()
    dead = diagonal == 0
    diagonal[dead] = 1
    diagonal += DAMPING * diagonal.mean()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(moment))
    return torch.linalg.cholesky(inverse, upper=True)


def round_columns(weight, factor, bits):
    """GPTQ (arXiv:2210.17323, algorithm 1) on weight [rows, in], in place. Works on the transpose, where a column is contiguous."""
    top = 2**bits - 1
    low, high = weight.amin(1).clamp(max=0), weight.amax(1).clamp(min=0)
    scale = (high - low).clamp(min=1e-9) / top
    zero = torch.round(-low / scale)
    columns = weight.T.contiguous()
    count = len(columns)
    for begin in range(0, count, BLOCK):
        end = min(begin + BLOCK, count)
        part, local = columns[begin:end], factor[begin:end, begin:end]
        pivots = local.diagonal().tolist()
        errors = torch.empty_like(part)
        for j in range(end - begin):
            value = (part[j] / scale).round_().clamp_(-zero, top - zero).mul_(scale)
            error = torch.sub(part[j], value, out=errors[j]).div_(pivots[j])
            if j + 1 < end - begin:
                part[j + 1 :].addr_(local[j, j + 1 :], error, alpha=-1)
            part[j] = value
        if end < count:
            columns[end:].addmm_(factor[begin:end, end:].T, errors, alpha=-1)
    weight.copy_(columns.T)


def quantize(model, windows, bits):
    hidden, others = block_inputs(model, windows)
    for block in model.model.layers:
        groups = groups_of(block)
        moments = second_moments(block, groups, hidden, others)
        for linears, moment in zip(groups, moments):
            rows = torch.cat([linear.weight for linear in linears])
            round_columns(rows, inverse_factor(moment), bits)
            for linear, part in zip(linears, rows.split([linear.out_features for linear in linears])):
                linear.weight.copy_(part)
        del moments
        for index, states in enumerate(hidden):
            hidden[index] = run_block(block, states, others)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--bits", type=int, default=3)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="writes the result as a folder of floats, to score it")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="sdpa").eval()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    windows = calibration_windows(tokenizer, args.text, args.samples, args.context)
    start = time.perf_counter()
    quantize(model, windows, args.bits)
    seconds = time.perf_counter() - start
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if args.output:
        model.save_pretrained(args.output)
        tokenizer.save_pretrained(args.output)
    print(json.dumps({"seconds": seconds, "peak_bytes": peak, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
