#include "model_input.h"

#include <fmt/ranges.h>

#include <set>

#include "base/error.h"
#include "interrupt.h"
#include "io/file.h"
#include "kernels/select.h"

namespace twofold::cli {

std::shared_ptr<const Model> load_model(const std::string& path, Session& session) {
  std::shared_ptr<const Model> model = Model::load(path);
  if (session.ctx().activations == Activations::kFloat) return model;
  std::set<std::string> slow;
  for (const Slot& slot : model->files().slots) {
    if (slot.format.empty()) continue;
    const Kernel* kernel = select_kernel(parse_format(slot.format), 1, session.ctx().isa);
    if (kernel == nullptr || kernel->isa == Isa::kScalar) slow.insert(slot.format);
  }
  if (!slow.empty()) {
    session.ctx().note(fmt::format("{}: {}: no fast kernel for this CPU ({})", path,
                                   fmt::join(slow, ", "), isa_name(session.ctx().isa)));
  }
  return model;
}

std::string read_input(const std::filesystem::path& path) {
  return read_text_file(path, &interrupted());
}

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
