"""Shared by the experiments: runs the program, keeps results in docs/results.md, draws a chart. Standard library only."""

import html
import json
import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHARACTERS = ROOT / "models/shakespeare-char"
TRAIN_END, VALIDATION_END = 892315, 1003854


class Program:
    """The twofold program, called with --json."""

    def __init__(self, path):
        self.path = Path(path)
        if not self.path.exists():
            sys.exit(f"{path}: not there; build it first: ./run build")

    def run(self, *arguments):
        command = [str(self.path), *map(str, arguments), "--quiet"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            sys.exit(f"{' '.join(command)}\nexit status {result.returncode}: {result.stderr.strip()}")
        return result.stdout

    def json(self, *arguments):
        return json.loads(self.run(*arguments, "--json"))


def recipe(roles, action):
    """A recipe that does `action` to these roles and keeps everything else as it is."""
    return {"rules": [{"roles": roles, **action}, {"keep": True}]}


def quantized(program, model, recipe_json, folder):
    """Quantizes into `folder`, returns what inspect says about it."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(recipe_json, file)
        file.flush()
        program.json("quantize", model, "-o", folder, "--recipe", file.name, "--force")
    return program.json("inspect", folder)


def character_texts(folder):
    """Writes the parts of the character model's text that it was trained and validated on; returns both paths."""
    text = (CHARACTERS / "input.txt").read_bytes()
    parts = {"train.txt": text[:TRAIN_END], "validation.txt": text[TRAIN_END:VALIDATION_END]}
    for name, part in parts.items():
        if not (folder / name).exists() or (folder / name).read_bytes() != part:  # finished rows belong to a file of this age
            (folder / name).write_bytes(part)
    return [folder / name for name in parts]


def replace_section(path, name, body):
    """Replaces what stands between <!-- name --> and <!-- /name --> in a Markdown file; appends the section if it is new."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    text = path.read_text() if path.exists() else "# Results\n\nEvery table stands below the command that makes it.\n"
    section = f"{start}\n{body.strip()}\n{end}"
    pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
    text = pattern.sub(lambda _: section, text) if pattern.search(text) else f"{text.rstrip()}\n\n{section}\n"
    path.write_text(text)


def markdown_table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _ticks(low, high):
    step = 10 ** math.floor(math.log10(max(high - low, 1e-9)))
    for factor in (0.2, 0.25, 0.5, 1, 2):
        if (high - low) / (step * factor) <= 6:
            step *= factor
            break
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def place_label(x, y, text, taken):
    """A place for a label of font size 10 beside a point, clear of the boxes in `taken`: (x, y, anchor)."""
    wide = 6.2 * len(text)
    for step in range(12):
        for dx, dy, anchor in ((9, 4, "start"), (-9, 4, "end"), (9, -8 - 11 * step, "start"), (9, 16 + 11 * step, "start"),
                               (-9, -8 - 11 * step, "end"), (-9, 16 + 11 * step, "end")):
            left = x + dx - (wide if anchor == "end" else 0)
            box = (left, y + dy - 9, left + wide, y + dy + 2)
            if all(box[2] <= b[0] or b[2] <= box[0] or box[3] <= b[1] or b[3] <= box[1] for b in taken):
                taken.append(box)
                return x + dx, y + dy, anchor
    return x + 9, y + 4, "start"


def write_chart(path, title, x_label, y_label, series, line=None):
    """Writes an SVG scatter chart. series: name -> [(x, y, label)]; line: (y, label) of a horizontal reference."""
    width, height, left, right, top, bottom = 760, 440, 70, 20, 40, 55
    points = [point for values in series.values() for point in values]
    xs = [point[0] for point in points]
    ys = [point[1] for point in points] + ([line[0]] if line else [])
    pad_x, pad_y = 0.06 * (max(xs) - min(xs) or 1), 0.08 * (max(ys) - min(ys) or 1)
    x_low, x_high, y_low, y_high = min(xs) - pad_x, max(xs) + 3 * pad_x, min(ys) - pad_y, max(ys) + pad_y
    to_x = lambda x: left + (x - x_low) / (x_high - x_low) * (width - left - right)
    to_y = lambda y: height - bottom - (y - y_low) / (y_high - y_low) * (height - top - bottom)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="24" font-size="15">{html.escape(title)}</text>',
    ]
    for x in _ticks(x_low, x_high):
        out.append(f'<line x1="{to_x(x):.1f}" y1="{top}" x2="{to_x(x):.1f}" y2="{height - bottom}" stroke="#eee"/>')
        out.append(f'<text x="{to_x(x):.1f}" y="{height - bottom + 18}" text-anchor="middle">{x:g}</text>')
    for y in _ticks(y_low, y_high):
        out.append(f'<line x1="{left}" y1="{to_y(y):.1f}" x2="{width - right}" y2="{to_y(y):.1f}" stroke="#eee"/>')
        out.append(f'<text x="{left - 8}" y="{to_y(y) + 4:.1f}" text-anchor="end">{y:g}</text>')
    middle = (top + height - bottom) / 2
    out.append(f'<text x="{(left + width - right) / 2}" y="{height - 12}" text-anchor="middle">{html.escape(x_label)}</text>')
    out.append(f'<text x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">{html.escape(y_label)}</text>')
    if line:
        y = to_y(line[0])
        out.append(f'<line x1="{left}" y1="{y:.1f}" x2="{width - right}" y2="{y:.1f}" stroke="#444" stroke-dasharray="5 4"/>')
        out.append(f'<text x="{left + 4}" y="{y + 15:.1f}" fill="#444">{html.escape(line[1])}</text>')
    taken = [(to_x(x) - 5, to_y(y) - 5, to_x(x) + 5, to_y(y) + 5) for x, y, _ in points]
    taken.append((-width, 0, left, height))  # the axis and its numbers
    if line:
        taken.append((left, to_y(line[0]) - 2, width, to_y(line[0]) + 2))
        taken.append((left, to_y(line[0]), left + 4 + 7 * len(line[1]), to_y(line[0]) + 18))
    for index, (name, values) in enumerate(series.items()):
        color = ("#0b6fb8", "#c2410c", "#15803d", "#7e22ce")[index % 4]
        out.append(f'<circle cx="{width - right - 190}" cy="{top + 12 + 18 * index}" r="5" fill="{color}"/>')
        out.append(f'<text x="{width - right - 178}" y="{top + 16 + 18 * index}">{html.escape(name)}</text>')
        for x, y, label in values:
            out.append(f'<circle cx="{to_x(x):.1f}" cy="{to_y(y):.1f}" r="5" fill="{color}" fill-opacity="0.8"/>')
            text_x, text_y, anchor = place_label(to_x(x), to_y(y), label, taken)
            out.append(f'<text x="{text_x:.1f}" y="{text_y:.1f}" text-anchor="{anchor}" fill="{color}" font-size="10">{html.escape(label)}</text>')
    path.write_text("\n".join(out + ["</svg>"]) + "\n")
