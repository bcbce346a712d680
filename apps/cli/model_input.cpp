#include "model_input.h"

#include "base/error.h"

namespace twofold::cli {

std::unique_ptr<Tokenizer> require_tokenizer(const Model& model, const std::string& given) {
  if (!given.empty()) return open_tokenizer(given, model.config());
  std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(model.files());
  if (tokenizer == nullptr) {
    fail(ErrorCode::kIo, model.files().path.string(),
         "expected a tokenizer beside the model, found none; give --tokenizer or --token-ids");
  }
  return tokenizer;
}

}  // namespace twofold::cli
