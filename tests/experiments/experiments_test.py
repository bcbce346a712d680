"""Runs both experiments small and checks what they write.   python3 experiments_test.py PROGRAM"""

import importlib.machinery
import importlib.util
import json
import math
import random
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
EXPERIMENTS = ROOT / "experiments"
GOLDEN = ROOT / "tests/data/tiny-models/gpt2"
PROGRAM = None

sys.path.insert(0, str(EXPERIMENTS))
sys.dont_write_bytecode = True


def load(name):
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), str(EXPERIMENTS / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def run(*command):
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise AssertionError(f"{command}: {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result.stdout


def loss_of(logits, target):
    """-ln softmax(logits)[target]"""
    top = max(logits)
    return top + math.log(sum(math.exp(value - top) for value in logits)) - logits[target]


def table_rows(markdown):
    rows = [line.strip("| ").split(" | ") for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


class Experiment(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.work = Path(folder.name)
        self.results, self.chart = self.work / "results.md", self.work / "chart.svg"
        self.outputs = ["--twofold", PROGRAM, "--results", self.results, "--chart", self.chart]


class PotGpt2(Experiment):
    def setUp(self):
        super().setUp()
        draw = random.Random(7)
        self.ids = [draw.randrange(96) for _ in range(700)]
        self.id_file = self.work / "ids.txt"
        self.id_file.write_text(" ".join(map(str, self.ids)))

    def experiment(self, *more):
        run(EXPERIMENTS / "pot-gpt2", GOLDEN, "--token-ids", self.id_file, *self.outputs, "--predictions", 40, "--ranges", 7, *more)
        return table_rows(self.results.read_text())

    def test_the_source_row_is_the_mean_loss_of_the_last_position_alone(self):
        loss = float(self.experiment("--seed", 5)[0][3].split()[0])
        windows = load("pot-gpt2").windows_of(self.ids, 40, 5)
        prompts, logits_file = self.work / "prompts.txt", self.work / "logits.json"
        prompts.write_text("\n".join(" ".join(map(str, window[:-1])) for window in windows) + "\n")
        run(PROGRAM, "logits", GOLDEN, "--token-ids", prompts, "--json", logits_file)
        logits = json.loads(logits_file.read_text())["logits"]
        losses = [loss_of(row, window[-1]) for window, row in zip(windows, logits, strict=True)]
        self.assertAlmostEqual(loss, sum(losses) / len(losses), delta=1e-4)

    def test_the_loss_is_the_one_of_the_logits_of_the_transformers_library(self):
        study = load("pot-gpt2")
        sequences = json.loads((GOLDEN / "expected.json").read_text())["sequences"]
        window, = (sequence for sequence in sequences if len(sequence["ids"]) == study.WINDOW)
        for target in (0, 41, 95):
            self.id_file.write_text(" ".join(map(str, [*window["ids"], target])))
            result = study.score(study.Program(PROGRAM), GOLDEN, self.id_file)
            self.assertAlmostEqual(result["nats_per_token"], loss_of(window["last_logits"], target), delta=1e-5)
        source = self.experiment()[0]  # one place to draw: every prediction is the last target
        self.assertAlmostEqual(float(source[3].split()[0]), loss_of(window["last_logits"], 95), delta=1e-4)

    def test_every_quantizer_runs_with_float_and_quantized_tables(self):
        rows = self.experiment()
        self.assertEqual(len(rows), 1 + 2 * len(load("pot-gpt2").quantizers([7])))
        divergence = {row[0]: float(row[5]) for row in rows[1:]}
        self.assertLess(divergence["integers [-127, 127], tables float"], divergence["PoT 2^7, eps 0, tables float"])
        self.assertIn("</svg>", self.chart.read_text())

    def test_windows_come_from_the_seed(self):
        windows_of = load("pot-gpt2").windows_of
        self.assertEqual(windows_of(self.ids, 9, 1), windows_of(self.ids, 9, 1))
        self.assertNotEqual(windows_of(self.ids, 9, 1), windows_of(self.ids, 9, 2))
        self.assertTrue(all(len(window) == 65 for window in windows_of(self.ids[:66], 50, 1)))

    def test_nanogpt_files_are_16_bit_numbers(self):
        path = self.work / "val.bin"
        path.write_bytes(bytes([1, 0, 0, 1, 95, 0]))
        self.assertEqual(load("pot-gpt2").read_ids(path), [1, 256, 95])


class PotShakespeare(Experiment):
    def test_a_row_for_each_quantizer_and_one_section_after_two_runs(self):
        command = [EXPERIMENTS / "pot-shakespeare", *self.outputs, "--windows", 40, "--only", "[-16, 16], per"]
        run(*command)
        first = self.results.read_text()
        run(*command)
        self.assertEqual(self.results.read_text(), first)
        rows = table_rows(first)
        self.assertEqual([row[0] for row in rows], ["float32", "PoT up, [-16, 16], per tensor",
                                                    "PoT nearest, [-16, 16], per tensor", "PoT nearest, [-16, 16], per row"])
        losses = [float(re.match(r"[\d.]+", row[3]).group()) for row in rows]
        self.assertEqual(losses, sorted(losses[:1]) + sorted(losses[1:], reverse=True))  # float, then ever better ones
        self.assertLess(losses[0], losses[-1])

    def test_the_reference_has_a_row_for_each_quantizer(self):
        study = load("pot-shakespeare")
        reference = study.reference_values()
        self.assertEqual(len(reference["float32"]), 4)
        self.assertEqual(len(reference[study.TRAIN_ROW]), 2)
        for name in study.QUANTIZERS:
            self.assertEqual(len(reference[name]), 8, name)


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
