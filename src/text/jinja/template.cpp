#include "text/jinja/template.h"

#include "text/jinja/evaluator.h"
#include "text/jinja/parser.h"

namespace twofold::jinja {
namespace {

Value from_json(Run& run, const OrderedJson& json) {
  const Run::Deeper deeper(run);
  switch (json.type()) {
    case OrderedJson::value_t::null:
      return {};
    case OrderedJson::value_t::boolean:
      return json.get<bool>();
    case OrderedJson::value_t::number_integer:
      return json.get<int64_t>();
    case OrderedJson::value_t::number_unsigned:
      if (json.get<uint64_t>() > INT64_MAX) run.fail("expected integers of 64 bits");
      return json.get<int64_t>();
    case OrderedJson::value_t::number_float:
      return json.get<double>();
    case OrderedJson::value_t::string:
      return run.text(json.get<std::string>());
    case OrderedJson::value_t::array: {
      std::vector<Value> items;
      for (const OrderedJson& item : json) items.push_back(from_json(run, item));
      return run.list(std::move(items));
    }
    case OrderedJson::value_t::object: {
      std::vector<std::pair<Value, Value>> entries;
      for (const auto& [key, value] : json.items()) {
        entries.emplace_back(run.text(key), from_json(run, value));
      }
      return run.dict(std::move(entries));
    }
    case OrderedJson::value_t::binary:
    case OrderedJson::value_t::discarded:
      break;
  }
  run.fail("expected a value of JSON");
}

}  // namespace

Template::Template(std::string_view source, std::string name)
    : name_(std::move(name)), body_(std::make_unique<const Body>(parse_template(source, name_))) {}
Template::~Template() = default;
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;

std::string Template::render(const OrderedJson& variables, const RenderOptions& options) const {
  Run run(name_, options.limits, options.clock);
  auto scope = std::make_shared<Scope>();
  for (const auto& [key, value] : variables.items()) {
    scope->names.insert_or_assign(key, from_json(run, value));
  }
  return Evaluator(run, std::move(scope)).render(*body_);
}

}  // namespace twofold::jinja
