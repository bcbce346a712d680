#include "calib/builtin_texts.h"

#include <array>

// The assembler puts the bytes of a file between two symbols of the read-only section.
// TWOFOLD_CALIBRATION_TEXTS is the folder data/calibration.
#define TWOFOLD_INCLUDE_BYTES(symbol, file)           \
  __asm__(                                            \
      ".pushsection .rodata\n"                        \
      ".globl " #symbol "_begin\n" #symbol            \
      "_begin:\n"                                     \
      ".incbin \"" TWOFOLD_CALIBRATION_TEXTS "/" file \
      "\"\n"                                          \
      ".globl " #symbol "_end\n" #symbol              \
      "_end:\n"                                       \
      ".byte 0\n"                                     \
      ".popsection\n");                               \
  extern "C" const char symbol##_begin[], symbol##_end[]

TWOFOLD_INCLUDE_BYTES(twofold_text_wikipedia, "wikipedia.txt");
TWOFOLD_INCLUDE_BYTES(twofold_text_c4, "c4.lines.txt");

namespace twofold {

std::span<const BuiltinText> builtin_texts() {
  static const std::array kTexts = {
      BuiltinText{.file_name = "wikipedia.txt",
                  .what = "2,349 articles of the English Wikipedia",
                  .source =
                      "turboderp-org/exllamav2, exllamav2/conversion/standard_cal_data/wiki.utf8 @ "
                      "da07facd10b5c7f35b03664c41a3090c9f093de5",
                  .licence = "CC BY-SA 3.0",
                  .sha256 = "d53fe0aeadf3355eb5d32b48bf8691575244c31caccae88ed46be8e1b40209c7",
                  .text = {twofold_text_wikipedia_begin, twofold_text_wikipedia_end}},
      BuiltinText{.file_name = "c4.lines.txt",
                  .what = "118 web pages of C4",
                  .source =
                      "turboderp-org/exllamav2, exllamav2/conversion/standard_cal_data/c4.utf8 @ "
                      "da07facd10b5c7f35b03664c41a3090c9f093de5",
                  .licence = "ODC-BY and the Common Crawl terms of use",
                  .sha256 = "baf09e746b3fa464c7cb20d4f206969657ce632283bf1d43b0b8d421ddb14505",
                  .text = {twofold_text_c4_begin, twofold_text_c4_end}},
  };
  return kTexts;
}

}  // namespace twofold
