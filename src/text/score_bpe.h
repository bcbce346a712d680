// Byte-pair encoding by scores, as SentencePiece and llama2.c do it: any two neighbours whose
// joined text is a piece may join, the best score first, the leftmost of equals.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/bpe.h"

namespace twofold {

struct ScoredPiece {
  std::string text;
  double score = 0;
  bool joins = true;  // false: a token that text never becomes (control, unknown, byte)
};

/// The model whose token i is `pieces[i]`; options.unk_token and byte_fallback say what becomes of
/// other characters. @throws Error(kCorruptFile) naming `where` for scores that are no numbers and
/// texts that are not UTF-8.
std::unique_ptr<TokenModel> make_score_bpe(const std::vector<ScoredPiece>& pieces,
                                           BpeOptions options, std::string_view where);

}  // namespace twofold
