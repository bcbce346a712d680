#!/usr/bin/env python3
"""GPTQ as its paper prints it (arXiv:2210.17323, Algorithm 1), in float64 NumPy: H^-1, its upper Cholesky factor, and
the update of all remaining weights. Independent of the library; prints the SHA-256 of the codes that
gptq_reference_test.cpp compares with.

Input, 768 x 3072, made of integers so that both sides get the same bits: number i of stream s is the top 16 bits of
splitmix64(s * 2^32 + i). Weights: the sum of 4 numbers less 131070, times 2^-21. Activations, 256 rows:
x_tj = s_j (sum over k < 8 of a_tk f_jk + e_tj), a and f in -8..7, e in -16..15, s_j in 1, 2, 4. H = sum of x x^T.
Grid, 3 bits: min-max, scale rounded to float16, targets cast to float32.
"""

import hashlib

import numpy as np

ROWS, COLS, SAMPLES, FACTORS, BLOCK, TOP = 768, 3072, 256, 8, 128, 7


def numbers(stream, count):
    z = np.arange(count, dtype=np.uint64) + np.uint64(stream << 32) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(48)).astype(np.int64)


def make_input():
    weight = sum(numbers(s, ROWS * COLS) for s in range(4)) - 131070
    a = (numbers(4, SAMPLES * FACTORS) % 16 - 8).reshape(SAMPLES, FACTORS)
    f = (numbers(5, COLS * FACTORS) % 16 - 8).reshape(COLS, FACTORS)
    e = (numbers(6, SAMPLES * COLS) % 32 - 16).reshape(SAMPLES, COLS)
    x = ((a @ f.T + e) * 2 ** (numbers(7, COLS) % 3)).astype(np.float64)
    return (weight * 2.0**-21).reshape(ROWS, COLS), x.T @ x


def fit(weight):
    """Scale and zero of each row, in float32 as they are stored."""
    weight = weight.astype(np.float32)
    lo, hi = np.minimum(weight.min(1), 0), np.maximum(weight.max(1), 0)
    scale = ((hi - lo) / np.float32(TOP)).astype(np.float16).astype(np.float32)
    return scale, np.clip(np.rint(-lo / scale), 0, TOP).astype(np.float32)


def gptq(weight, hessian, group=0, act_order=False):
    order = np.argsort(-np.diag(hessian), kind="stable") if act_order else np.arange(COLS)
    w, h = weight[:, order].copy(), hessian[np.ix_(order, order)].copy()
    h[np.diag_indices(COLS)] += 0.01 * np.mean(np.diag(hessian))
    t = np.linalg.cholesky(np.linalg.inv(h)).T  # H^-1 = T^T T
    codes = np.zeros((ROWS, COLS), np.uint8)
    scale, zero = fit(w)
    for start in range(0, COLS, BLOCK):
        end = start + BLOCK
        errors = np.zeros((ROWS, BLOCK))
        for k in range(start, end):
            if group and k % group == 0:
                scale, zero = fit(w[:, k : k + group])
            steps = np.rint(w[:, k].astype(np.float32) / scale) + zero
            codes[:, k] = np.clip(steps, 0, TOP)
            value = scale * (codes[:, k].astype(np.float32) - zero)
            errors[:, k - start] = (w[:, k] - value) / t[k, k]
            w[:, k:end] -= np.outer(errors[:, k - start], t[k, k:end])
        w[:, end:] -= errors @ t[start:end, end:]
    result = np.zeros_like(codes)
    result[:, order] = codes
    return result


def main():
    weight, hessian = make_input()
    for name, settings in (("rows", {}), ("groups", {"group": 128}), ("act-order", {"act_order": True})):
        print(name, hashlib.sha256(gptq(weight, hessian, **settings).tobytes()).hexdigest())


if __name__ == "__main__":
    main()
