#include "text/pre_tokenizer.h"

#include <algorithm>

#include "text/regex.h"
#include "text/unicode.h"

namespace twofold {

namespace {

using PreTokenizerPtr = std::unique_ptr<PreTokenizer>;

/// What becomes of the matches of a pattern that cuts text.
enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
constexpr struct {
  std::string_view name;
  Behavior behavior;
} kBehaviors[] = {{"Removed", Behavior::kRemoved},
                  {"Isolated", Behavior::kIsolated},
                  {"MergedWithPrevious", Behavior::kMergedWithPrevious},
                  {"MergedWithNext", Behavior::kMergedWithNext},
                  {"Contiguous", Behavior::kContiguous}};

Behavior get_behavior(const JsonNode& node) {
  const std::string name = node.get_string("behavior");
  std::string known;
  for (const auto& row : kBehaviors) {
    if (row.name == name) return row.behavior;
    append_name(known, row.name);
  }
  node.child("behavior").unsupported("'" + name + "' is not one of: " + known);
}

struct Section {
  size_t begin, end;
  bool match;
};

/// Cuts a text of `size` bytes at `matches` and joins sections as `behavior` says.
void cut(size_t size, const std::vector<TextSpan>& matches, Behavior behavior, bool invert,
         std::vector<Section>& result) {
  std::vector<Section> sections;
  size_t done = 0;
  for (const TextSpan& match : matches) {
    if (done != match.begin) sections.push_back({done, match.begin, invert});
    sections.push_back({match.begin, match.end, !invert});
    done = match.end;
  }
  if (done != size) sections.push_back({done, size, invert});
  result.clear();
  const auto joins_previous = [&](const Section& section, bool previous_match) {
    if (result.empty()) return false;
    if (behavior == Behavior::kContiguous) return section.match == previous_match;
    return behavior == Behavior::kMergedWithPrevious && section.match && !previous_match;
  };
  bool previous_match = false;
  for (size_t i = 0; i < sections.size(); ++i) {
    const Section& section = sections[i];
    if (behavior == Behavior::kRemoved && section.match) continue;
    if (joins_previous(section, previous_match)) {
      result.back().end = section.end;
    } else if (behavior == Behavior::kMergedWithNext && section.match && i + 1 < sections.size() &&
               !sections[i + 1].match) {
      result.push_back({section.begin, sections[i + 1].end, false});
      ++i;
    } else {
      result.push_back(section);
    }
    previous_match = section.match;
  }
}

class Split : public PreTokenizer {
 public:
  explicit Split(const JsonNode& node)
      : pattern_(std::make_unique<Pattern>(node.child("pattern"))),
        behavior_(get_behavior(node)),
        invert_(node.get_bool("invert", false)) {
    node.expect_keys({"type", "pattern", "behavior", "invert"});
  }
  Split(std::string_view pattern, Behavior behavior, const JsonNode& node, bool invert = false)
      : regex_(std::make_unique<Regex>(pattern, node.where())),
        behavior_(behavior),
        invert_(invert) {}

  void apply(Pieces& pieces) const override {
    std::vector<Pieces::Piece> result;
    std::vector<TextSpan> matches;
    std::vector<Section> sections;
    for (const Pieces::Piece& piece : pieces.pieces) {
      matches.clear();
      const std::string_view text = pieces.view(piece);
      if (regex_) {
        regex_->find_all(text, matches);
      } else {
        pattern_->find_all(text, matches);
      }
      cut(text.size(), matches, behavior_, invert_, sections);
      for (const Section& section : sections) {
        if (section.begin == section.end) continue;
        result.push_back({piece.begin + section.begin, piece.begin + section.end,
                          piece.first && section.begin == 0});
      }
    }
    pieces.pieces = std::move(result);
  }

 private:
  std::unique_ptr<Pattern> pattern_;  // of the file, or
  std::unique_ptr<Regex> regex_;      // of a named pre-tokenizer
  Behavior behavior_;
  bool invert_;
};

class Sequence : public PreTokenizer {
 public:
  explicit Sequence(const JsonNode& node) {
    node.expect_keys({"type", "pretokenizers"});
    for (const JsonNode& member : node.get_list("pretokenizers")) {
      if (member.is_null()) member.corrupt("expected an object, found null");
      members_.push_back(make_pre_tokenizer(member));
    }
  }
  void apply(Pieces& pieces) const override {
    for (const PreTokenizerPtr& member : members_) member->apply(pieces);
  }
  bool is_byte_level() const override {
    for (const PreTokenizerPtr& member : members_) {
      if (member->is_byte_level()) return true;
    }
    return false;
  }

 private:
  std::vector<PreTokenizerPtr> members_;
};

class ByteLevel : public PreTokenizer {
 public:
  explicit ByteLevel(const JsonNode& node)
      : add_prefix_space_(node.get_bool("add_prefix_space", true)) {
    node.expect_keys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    if (node.get_bool("use_regex", true)) {
      split_ = std::make_unique<Split>(kGpt2Pattern, Behavior::kIsolated, node);
    }
  }
  void apply(Pieces& pieces) const override {
    if (add_prefix_space_) add_spaces(pieces);
    if (split_) split_->apply(pieces);
    std::string characters;
    characters.reserve(pieces.text.size() + pieces.text.size() / 4);
    for (Pieces::Piece& piece : pieces.pieces) {
      const size_t begin = characters.size();
      append_byte_characters(characters, pieces.view(piece));
      piece = {begin, characters.size(), piece.first};
    }
    pieces.text = std::move(characters);
  }
  bool is_byte_level() const override { return true; }

 private:
  static void add_spaces(Pieces& pieces) {
    std::string spaced;
    spaced.reserve(pieces.text.size() + pieces.pieces.size());
    for (Pieces::Piece& piece : pieces.pieces) {
      const size_t begin = spaced.size();
      const std::string_view text = pieces.view(piece);
      if (text.front() != ' ') spaced += ' ';
      spaced += text;
      piece = {begin, spaced.size(), piece.first};
    }
    pieces.text = std::move(spaced);
  }

  bool add_prefix_space_;
  std::unique_ptr<Split> split_;
};

class Metaspace : public PreTokenizer {
 public:
  explicit Metaspace(const JsonNode& node)
      : symbol_(node.get_character("replacement", kSpaceSymbol)),
        split_(node.get_bool("split", true)) {
    node.expect_keys(
        {"type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"});
    const bool old_prefix = node.get_bool("add_prefix_space", true);
    const std::string scheme =
        node.optional_string("prepend_scheme").value_or(old_prefix ? "always" : "never");
    if (scheme != "always" && scheme != "first" && scheme != "never") {
      node.child("prepend_scheme")
          .unsupported("'" + scheme + "' is not one of: always, first, never");
    }
    always_ = scheme == "always";
    at_first_ = scheme == "first";
  }
  void apply(Pieces& pieces) const override {
    Pieces result;
    result.text.reserve(pieces.text.size() + pieces.text.size() / 2);
    for (const Pieces::Piece& piece : pieces.pieces) {
      const size_t begin = result.text.size();
      const std::string_view text = pieces.view(piece);
      const bool starts = text.front() == ' ' || text.substr(0, symbol_.size()) == symbol_;
      if (!starts && (always_ || (at_first_ && piece.first))) result.text += symbol_;
      for (const char byte : text) {
        if (byte == ' ') {
          result.text += symbol_;
        } else {
          result.text += byte;
        }
      }
      add_pieces(result, begin, piece.first);
    }
    pieces = std::move(result);
  }

 private:
  // Each symbol starts a piece, together with what follows it.
  void add_pieces(Pieces& result, size_t begin, bool first) const {
    const size_t size = result.text.size();
    while (begin < size) {
      const size_t next = split_ ? result.text.find(symbol_, begin + 1) : std::string::npos;
      const size_t end = std::min(next, size);
      result.pieces.push_back({begin, end, first});
      first = false;
      begin = end;
    }
  }

  std::string symbol_;
  bool split_;
  bool always_ = false;
  bool at_first_ = false;
};

PreTokenizerPtr make_whitespace_split(const JsonNode& node) {
  node.expect_keys({"type"});
  return std::make_unique<Split>(R"(\s)", Behavior::kRemoved, node);
}

/// Words and runs of other characters; white space goes. Words as Unicode has them (UTS 18), which
/// is not Oniguruma's \w.
PreTokenizerPtr make_whitespace(const JsonNode& node) {
  node.expect_keys({"type"});
  const std::string word =
      R"(\p{L}\p{Nl}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}\x{24B6}-\x{24E9}\x{1F130}-\x{1F149})"
      R"(\x{1F150}-\x{1F169}\x{1F170}-\x{1F189})";
  return std::make_unique<Split>("[" + word + "]+|[^" + word + R"(\s]+)", Behavior::kRemoved, node,
                                 true);
}

PreTokenizerPtr make_digits(const JsonNode& node) {
  node.expect_keys({"type", "individual_digits"});
  const bool individual = node.get_bool("individual_digits", false);
  return std::make_unique<Split>(R"(\p{N})",
                                 individual ? Behavior::kIsolated : Behavior::kContiguous, node);
}

constexpr std::string_view kPunctuation = R"([!-/:-@\[-`{-~\p{P}])";

PreTokenizerPtr make_punctuation(const JsonNode& node) {
  node.expect_keys({"type", "behavior"});
  const Behavior behavior = node.has("behavior") ? get_behavior(node) : Behavior::kIsolated;
  return std::make_unique<Split>(kPunctuation, behavior, node);
}

/// White space goes, and each punctuation character is a piece.
class Bert : public PreTokenizer {
 public:
  explicit Bert(const JsonNode& node)
      : words_(R"(\s)", Behavior::kRemoved, node),
        punctuation_(kPunctuation, Behavior::kIsolated, node) {
    node.expect_keys({"type"});
  }
  void apply(Pieces& pieces) const override {
    words_.apply(pieces);
    punctuation_.apply(pieces);
  }

 private:
  Split words_, punctuation_;
};

PreTokenizerPtr make_delimiter(const JsonNode& node) {
  node.expect_keys({"type", "delimiter"});
  const std::string delimiter = node.get_character("delimiter");
  const bool means_more =
      std::string_view(R"(\^$.|?*+()[]{})").find(delimiter) != std::string::npos;
  std::string pattern(means_more ? 1 : 0, '\\');
  pattern += delimiter;
  return std::make_unique<Split>(pattern, Behavior::kRemoved, node);
}

template <class T>
PreTokenizerPtr make(const JsonNode& node) {
  return std::make_unique<T>(node);
}

constexpr JsonKind<PreTokenizer> kPreTokenizers[] = {
    {"Sequence", make<Sequence>},
    {"ByteLevel", make<ByteLevel>},
    {"Split", make<Split>},
    {"Digits", make_digits},
    {"Metaspace", make<Metaspace>},
    {"Whitespace", make_whitespace},
    {"WhitespaceSplit", make_whitespace_split},
    {"Punctuation", make_punctuation},
    {"CharDelimiterSplit", make_delimiter},
    {"BertPreTokenizer", make<Bert>},
};

}  // namespace

PreTokenizerPtr make_pre_tokenizer(const JsonNode& node) {
  return node.is_null() ? nullptr : make_kind(kPreTokenizers, node);
}

}  // namespace twofold
