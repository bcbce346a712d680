#!/usr/bin/env python3
"""Writes tests/data/safetensors/python.safetensors with Python's safetensors package.

Needs: pip install safetensors torch. The file is committed.
"""

import pathlib

import torch
from safetensors.torch import save_file

folder = pathlib.Path(__file__).resolve().parent.parent / "tests/data/safetensors"
folder.mkdir(parents=True, exist_ok=True)
numbers = -0.5 * torch.arange(6).reshape(2, 3)
save_file(
    {
        "f32": numbers.float(),
        "f16": numbers.half(),
        "bf16": numbers.bfloat16(),
        "bool": numbers < -1,
        "\u00e9t\u00e9.i64": torch.arange(4),
    },
    folder / "python.safetensors",
    metadata={"format": "pt"},
)
