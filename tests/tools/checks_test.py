"""The checks find what they are for: each is run on text with one fault and on the same text without."""

import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import check_docs  # noqa: E402
import check_isa_objects  # noqa: E402
import check_layers  # noqa: E402
import check_names  # noqa: E402
import cpp_source  # noqa: E402
import list_skipped  # noqa: E402
import wikitext_join  # noqa: E402


def violations_of(check, *args):
    found = []
    check(*args, lambda name, line, text: found.append((line, text)))
    return found


class Layers(unittest.TestCase):
    def setUp(self):
        self.table = check_layers.read_table()

    def includes(self, name, layer, text):
        return violations_of(check_layers.check_includes, name, layer, text, self.table)

    def test_a_lower_layer_may_not_include_a_higher_one(self):
        text = '#include "base/error.h"\n#include "engine/model.h"\n'
        self.assertEqual([line for line, _ in self.includes("src/tensor/x.cpp", "tensor", text)], [2])
        self.assertEqual(self.includes("src/pipeline/x.cpp", "pipeline", text), [])

    def test_a_library_outside_its_row_is_found(self):
        self.assertEqual(len(self.includes("src/tensor/x.cpp", "tensor", "#include <CLI/CLI.hpp>\n")), 1)
        self.assertEqual(self.includes("apps/cli/x.cpp", "apps", "#include <CLI/CLI.hpp>\n"), [])

    def test_isa_files_include_no_standard_library(self):
        text = "#include <immintrin.h>\n#include <algorithm>\n"
        self.assertEqual([line for line, _ in self.includes("src/kernels/avx2/x.cpp", "kernels", text)], [2])
        self.assertEqual([line for line, _ in self.includes("src/kernels/x.cpp", "kernels", text)], [1])

    def test_printing_and_exiting_are_found_but_not_in_comments_or_strings(self):
        text = 'void f() {\n  // printf("x") is not called\n  g("std::cout abort()");\n  std::abort();\n}\n'
        self.assertEqual([line for line, _ in violations_of(check_layers.check_text, "src/io/x.cpp", text)], [4])
        self.assertEqual(violations_of(check_layers.check_text, "apps/cli/x.cpp", text), [])

    def test_intrinsics_belong_to_isa_folders(self):
        text = "__m256 v = _mm256_setzero_ps();\n"
        self.assertEqual(len(violations_of(check_layers.check_text, "src/tensor/x.cpp", text)), 1)
        self.assertEqual(violations_of(check_layers.check_text, "src/tensor/simd/avx2/x.cpp", text), [])
        self.assertEqual(violations_of(check_layers.check_text, "src/kernels/avx512vnni/x.h", text), [])


class Names(unittest.TestCase):
    def lines(self, name, text):
        found = check_names.violations(name, text, check_names.comparison_with({"rtn", "llama.cpp-512"}))
        return [int(violation.split(":")[1]) for violation in found]

    def test_comparisons_with_registered_names_are_found(self):
        text = 'if (method == "rtn") f();\nif ("rtn" != method) f();\nif (format.starts_with("r16-t")) f();\nif (p ==\n    "llama.cpp-512") f();\n'
        self.assertEqual(self.lines("src/pipeline/x.cpp", text), [1, 2, 3, 4])
        self.assertEqual(self.lines("apps/cli/x.cpp", text), [1, 2, 3, 4])

    def test_owners_data_comments_and_other_names_are_in_order(self):
        self.assertEqual(self.lines("src/quant/grids/x.cpp", 'if (name == "rtn") f();\n'), [])
        text = '// name == "rtn"\nMethod m{.name = "rtn"};\nif (name == "rtn2" || name == "llamaXcpp-512") f();\n'
        self.assertEqual(self.lines("src/pipeline/x.cpp", text), [])


class Notice(unittest.TestCase):
    TEXT = "Title\n\na/b/\n    one, two.x\n        From there. Licence: MIT.\n\nc/\n        All made here. Licence: ours.\n"

    def faults(self, text, paths):
        return list(check_docs.missing_notices(text, paths))

    def test_files_are_covered_by_path(self):
        self.assertEqual(self.faults(self.TEXT, ["a/b/one", "a/b/two.x", "c/x", "c/d/y"]), [])

    def test_a_name_in_another_folder_does_not_cover_a_file(self):
        self.assertEqual(len(self.faults(self.TEXT, ["a/b/one", "a/b/two.x", "c/x", "a/one"])), 1)
        self.assertEqual(len(self.faults(self.TEXT, ["a/b/one", "a/b/two.x", "c/x", "a/b/three"])), 1)

    def test_entries_without_file_or_licence_are_found(self):
        self.assertEqual(len(self.faults(self.TEXT, ["a/b/one", "c/x"])), 1)
        self.assertEqual(len(self.faults(self.TEXT.replace("Licence: ours", ""), ["a/b/one", "a/b/two.x", "c/x"])), 1)


class Functions(unittest.TestCase):
    def lengths(self, text):
        return [(first, last) for first, last, _ in cpp_source.functions(text)]

    def test_bodies_are_found_in_namespaces_and_classes(self):
        text = "namespace a {\nclass B {\n int f() const {\n  return 1;\n }\n};\nvoid g(int x,\n       int y) {\n}\n}\n"
        self.assertEqual(self.lengths(text), [(3, 5), (7, 9)])

    def test_a_lambda_counts_into_its_function(self):
        self.assertEqual(self.lengths("int f() {\n auto g = [](int x) {\n  return x;\n };\n return g(1);\n}\n"), [(1, 6)])

    def test_data_and_braces_in_literals_are_no_functions(self):
        text = 'constexpr int kTable[] = {1, 2};\nconst char* kText = R"json({"a": {)json";\nenum class E { kA };\n'
        self.assertEqual(self.lengths(text), [])

    def test_digit_separators_are_no_character_literals(self):
        self.assertEqual(self.lengths("int f() {\n return 1'000'000;\n}\nint g() {\n return 2'0;\n}\n"), [(1, 3), (4, 6)])


class IsaObjects(unittest.TestCase):
    GOOD = [("D", "_ZN7twofold8kOpsAvx2E"), ("U", "memcpy")]

    def check(self, table, sections=""):
        return list(check_isa_objects.check_isa_object("x.o", table, sections))

    def test_one_table_is_in_order(self):
        self.assertEqual(self.check(self.GOOD), [])

    def test_weak_symbols_initializers_and_the_library_are_found(self):
        self.assertEqual(len(self.check([*self.GOOD, ("W", "_ZSt3maxIfERKT_S2_S2_")])), 2)
        self.assertEqual(len(self.check(self.GOOD, "  5 .init_array 00000008")), 1)
        self.assertEqual(len(self.check([*self.GOOD, ("U", "_ZSt20__throw_length_errorPKc")])), 1)

    def test_avx_instructions_are_told_from_sse(self):
        wide = check_isa_objects.WIDE
        self.assertTrue(wide.search(b"   0:\tvaddps %ymm0,%ymm1,%ymm2\n"))
        self.assertTrue(wide.search(b"   0:\tvaddss %xmm0,%xmm1,%xmm2\n"))
        self.assertIsNone(wide.search(b"   0:\taddps  %xmm0,%xmm1\n   4:\tverr   %ax\n"))

    LOOP = """0000000000000000 <void gemv<4>(int)>:
   0:\tvmovdqa64 %zmm9,0x40(%rsp)
  10:\tvmovdqa32 0x40(%rsp),%zmm1
  18:\tvpdpbusd %zmm2,%zmm0,%zmm1
  20:\tvmovdqa64 %zmm1,0x40(%rsp)
  28:\tjg     10 <void gemv<4>(int)+0x10>
  30:\tret
"""

    def spills(self, *changes):
        text = self.LOOP
        for old, new in changes:
            self.assertIn(old, text)
            text = text.replace(old, new)
        return list(check_isa_objects.spills(text))

    def test_vectors_stored_and_read_again_in_a_hot_loop_are_found(self):
        self.assertEqual(self.spills(), [("void gemv<4>(int)", 2)])
        self.assertEqual(self.spills(("vmovdqa32 0x40(%rsp),%zmm1", "vpaddd 0x40(%rsp),%zmm3,%zmm1")), [("void gemv<4>(int)", 2)])

    def test_constants_on_the_stack_are_no_spills(self):
        self.assertEqual(self.spills(("  20:\tvmovdqa64 %zmm1,0x40(%rsp)\n", "")), [])

    def test_loops_without_products_and_outer_loops_are_not_hot(self):
        self.assertEqual(self.spills(("vpdpbusd", "vpaddd")), [])
        self.assertEqual(self.spills(("vmovdqa64 %zmm1,0x40(%rsp)", "jne    18 <x>\n  24:\tvmovdqa64 %zmm1,0x40(%rsp)")), [])

    def test_the_base_pointer_is_the_stack_only_where_it_is_set_to_it(self):
        self.assertEqual(self.spills(("%rsp", "%rbp")), [])
        self.assertEqual(len(self.spills(("%rsp", "%rbp"), ("   0:", "   0:\tmov    %rsp,%rbp\n   4:"))), 1)


class Skipped(unittest.TestCase):
    def test_skips_are_listed_with_their_reasons(self):
        log = ("[ RUN      ] A.Runs\n[       OK ] A.Runs (0 ms)\n[ RUN      ] B.Skips\nb_test.cpp:10: Skipped\nneeds x\nbelow y\n\n"
               "[  SKIPPED ] B.Skips (0 ms)\n[ RUN      ] C.Skips/0\nc_test.cpp:3: Skipped\n\n[  SKIPPED ] C.Skips/0 (12 ms)\n"
               "[==========] 3 tests\n[  SKIPPED ] 2 tests, listed below:\n[  SKIPPED ] B.Skips\n[  SKIPPED ] C.Skips/0\n")
        self.assertEqual(list_skipped.skipped(log), [("B.Skips", "needs x below y"), ("C.Skips/0", "no reason given")])


class WikitextJoin(unittest.TestCase):
    def test_lines_keep_their_newline_and_blank_lines_become_empty_rows(self):
        raw = b" \n = Title = \n \n Text .\n"
        self.assertEqual(wikitext_join.join_rows(raw), b"\n\n = Title = \n\n\n\n\n Text .\n")


if __name__ == "__main__":
    unittest.main()
