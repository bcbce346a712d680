// How attention is cut.
//   group   a block of at most kQueryBlock queries of the heads that share a key-value head (fewer
//           heads where they would be more than kMaxRows rows together)
//   part    a block of kKeyBlock keys; a group's softmax over one is complete in itself, and parts
//           are joined by their largest scores and sums of exponentials, in order
//   item    a group with all its parts or, if its queries are few, a group with one part; threads
//           take items
// All sizes follow from shapes, so every number is made the same way by any number of threads.
#include "engine/attention.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/checked_math.h"
#include "base/finite.h"
#include "tensor/gemm.h"
#include "tensor/ops.h"

namespace twofold {
namespace {

constexpr int64_t kQueryBlock = 64;
constexpr int64_t kMaxRows = 256;
constexpr int64_t kFewQueries = 8;
// Rows lie an odd number of cache lines apart.
constexpr int64_t kScoreStride = kKeyBlock + 16;
static_assert(kKeyBlock % kPanelCols == 0);
constexpr int64_t kSerialJoin = 1 << 14;  // numbers whose joining is not worth waking a thread
constexpr float kNone = -std::numeric_limits<float>::infinity();

struct Group {
  const AttentionInput* in;
  int64_t kv_head, head, heads;  // query heads [head, head + heads)
  int64_t query, queries;        // rows [query, query + queries) of in->q
  int64_t visible;               // keys that the last of the queries sees
  int64_t first_part;            // the one with the first key that any query sees
  bool split;                    // every part is an item
  int64_t first_row = 0;         // split: of its rows in the store of parts

  int64_t rows() const { return heads * queries; }
  int64_t end_part() const { return ceil_div(visible, kKeyBlock); }
  int64_t parts() const { return end_part() - first_part; }
};

struct Item {
  int64_t group, part;
};

/// What a softmax over some keys leaves: outputs and what joins them to those of other keys.
struct Part {
  Matrix<float> out;  // [rows, head_dim]
  float* top;         // [rows] largest scaled score
  float* total;       // [rows] sum of exponentials relative to it
};

struct Scratch {
  AlignedBuffer<float> queries;  // [rows, head_dim + 16]
  AlignedBuffer<float> scores;   // [rows, kScoreStride]
  AlignedBuffer<float> panel;    // [head_dim, kPanelCols]
  AlignedBuffer<float> values;   // [kKeyBlock, head_dim]
  AlignedBuffer<float> part;     // rows of one part
};
Scratch& scratch() {
  thread_local Scratch buffers;
  return buffers;
}

size_t floats(int64_t count) { return static_cast<size_t>(count); }

/// Floats that a part of `rows` rows takes: outputs, top, total.
int64_t part_floats(int64_t rows, int64_t head_dim) { return rows * (head_dim + 2); }

Part part_at(float* memory, int64_t rows, int64_t head_dim) {
  float* top = memory + rows * head_dim;
  return {{memory, rows, head_dim}, top, top + rows};
}

std::vector<Group> make_groups(std::span<const AttentionInput> sequences, const ModelConfig& c,
                               int64_t window) {
  std::vector<Group> groups;
  const int64_t sharing = c.heads / c.kv_heads;
  for (const AttentionInput& in : sequences) {
    const int64_t tokens = in.q.rows, past = in.kv->positions() - tokens;
    const int64_t most_heads = std::max<int64_t>(kMaxRows / std::min(tokens, kQueryBlock), 1);
    // Longest blocks first, so that the last items to finish are short.
    for (int64_t b = ceil_div(tokens, kQueryBlock) - 1; b >= 0; --b) {
      const int64_t query = b * kQueryBlock;
      const int64_t queries = std::min(kQueryBlock, tokens - query);
      const int64_t first_key = window > 0 ? std::max<int64_t>(past + query + 1 - window, 0) : 0;
      for (int64_t h = 0; h < c.heads;) {
        const int64_t kv_head = h / sharing;
        const int64_t heads = std::min(most_heads, (kv_head + 1) * sharing - h);
        groups.push_back({&in, kv_head, h, heads, query, queries, past + query + queries,
                          first_key / kKeyBlock, tokens <= kFewQueries});
        h += heads;
      }
    }
  }
  return groups;
}

class Attention {
 public:
  Attention(std::span<const AttentionInput> sequences, const ModelConfig& config,
            const AttentionRules& rules, Isa isa)
      : head_dim_(config.head_dim),
        rules_(rules),
        isa_(isa),
        op_(ops(isa)),
        groups_(make_groups(sequences, config, rules.window)) {
    int64_t rows = 0;
    for (Group& group : groups_) {
      const int64_t count = group.split ? group.parts() : 1;
      for (int64_t p = 0; p < count; ++p) {
        items_.push_back({&group - groups_.data(), group.first_part + p});
      }
      group.first_row = rows;
      if (group.split) rows += group.rows() * group.parts();
    }
    parts_.ensure(floats(part_floats(rows, head_dim_)));
  }

  void run(ThreadPool& pool) {
    pool.run(std::ssize(items_), [&](int64_t i, int) { run_item(items_[static_cast<size_t>(i)]); });
    if (parts_.empty()) return;
    const int64_t count = std::ssize(groups_);
    if (static_cast<int64_t>(parts_.size()) <= kSerialJoin) {
      for (int64_t g = 0; g < count; ++g) join_split(groups_[static_cast<size_t>(g)]);
    } else {
      pool.run(count, [&](int64_t g, int) { join_split(groups_[static_cast<size_t>(g)]); });
    }
  }

 private:
  Part stored_part(const Group& group, int64_t part) {
    const int64_t row = group.first_row + (part - group.first_part) * group.rows();
    return part_at(parts_.data() + part_floats(row, head_dim_), group.rows(), head_dim_);
  }

  void run_item(const Item& item) {
    const Group& group = groups_[static_cast<size_t>(item.group)];
    const Matrix<float> queries = gather_queries(group);
    if (group.split) {
      attend(group, queries, item.part, stored_part(group, item.part));
      return;
    }
    AlignedBuffer<float>& memory = scratch().part;
    memory.ensure(floats(part_floats(group.rows(), head_dim_)));
    const Part part = part_at(memory.data(), group.rows(), head_dim_);
    std::vector<float> top(floats(group.rows())), total(top.size());
    for (int64_t p = group.first_part; p < group.end_part(); ++p) {
      attend(group, queries, p, part);
      join(group, part, p == group.first_part, top, total);
    }
    finish(group);
  }

  void join_split(const Group& group) {
    if (!group.split) return;
    std::vector<float> top(floats(group.rows())), total(top.size());
    for (int64_t p = group.first_part; p < group.end_part(); ++p) {
      join(group, stored_part(group, p), p == group.first_part, top, total);
    }
    finish(group);
  }

  float* out_row(const Group& group, int64_t row) const {
    const int64_t head = group.head + row / group.queries;
    return group.in->out.row(group.query + row % group.queries).data() + head * head_dim_;
  }

  /// Each block of the vector is multiplied by the orthonormal Hadamard matrix, its own inverse.
  void rotate(const Group& group, float* x) const {
    const int64_t side = group.in->kv->rotation();
    if (side == 1) return;
    op_.hadamard(x, head_dim_, side);
    op_.scale(static_cast<float>(1.0 / std::sqrt(static_cast<double>(side))), x, head_dim_);
  }

  /// The group's queries head by head, in the basis of the keys: [rows, head_dim].
  Matrix<float> gather_queries(const Group& group) const {
    AlignedBuffer<float>& memory = scratch().queries;
    const int64_t stride = round_up(head_dim_, 16) + 16;
    memory.ensure(floats(group.rows() * stride));
    const Matrix<float> queries(memory.data(), group.rows(), head_dim_, stride);
    for (int64_t r = 0; r < group.rows(); ++r) {
      const int64_t head = group.head + r / group.queries;
      const float* from =
          group.in->q.row(group.query + r % group.queries).data() + head * head_dim_;
      std::copy_n(from, head_dim_, queries.row(r).data());
      rotate(group, queries.row(r).data());
    }
    return queries;
  }

  /// The group's softmax over the keys of one part.
  void attend(const Group& group, Matrix<const float> queries, int64_t part, const Part& to) const {
    Scratch& memory = scratch();
    const KvSource& kv = *group.in->kv;
    const int64_t begin = part * kKeyBlock;
    const int64_t keys = std::min(kKeyBlock, group.visible - begin);
    memory.scores.ensure(floats(group.rows() * kScoreStride));
    memory.panel.ensure(floats(head_dim_ * kPanelCols));
    memory.values.ensure(floats(kKeyBlock * head_dim_));
    const Matrix<float> scores(memory.scores.data(), group.rows(), keys, kScoreStride);
    for (int64_t k = 0; k < keys; k += kPanelCols) {
      const float* panel = kv.keys(group.kv_head, begin + k, memory.panel.data(), isa_);
      multiply_panel(queries, panel, {scores.data + k, scores.rows, kPanelCols, scores.stride},
                     isa_);
    }
    for (int64_t r = 0; r < scores.rows; ++r) {
      const Seen seen = seen_keys(group, r, begin, keys);
      float* row = scores.row(r).data();
      const float factor = shape_scores(group, r, begin, seen, row);
      op_.softmax(factor, row + seen.begin, seen.count(), to.top + r, to.total + r);
      std::fill(row, row + seen.begin, 0.0f);
      std::fill(row + seen.end, row + keys, 0.0f);
    }
    const auto values = kv.values(group.kv_head, begin, keys, memory.values.data(), isa_);
    weigh(group, begin, scores, values, to.out);
  }

  /// A range of the keys of a part, counted from its first one.
  struct Seen {
    int64_t begin, end;
    int64_t count() const { return end - begin; }
  };

  /// Those of the keys [begin, begin + keys) that a row's query sees.
  Seen seen_keys(const Group& group, int64_t row, int64_t begin, int64_t keys) const {
    const int64_t later = group.queries - 1 - row % group.queries;
    const int64_t end = group.visible - later;
    const int64_t first = rules_.window > 0 ? end - rules_.window : 0;
    const int64_t seen_end = std::clamp<int64_t>(end - begin, 0, keys);
    return {std::clamp<int64_t>(first - begin, 0, seen_end), seen_end};
  }

  /// Caps the products and adds slopes. @return what the softmax is to multiply by.
  float shape_scores(const Group& group, int64_t row, int64_t begin, const Seen& seen,
                     float* scores) const {
    float factor = static_cast<float>(rules_.scale);
    if (rules_.softcap > 0) {
      op_.soft_cap(factor, static_cast<float>(rules_.softcap), scores + seen.begin, seen.count());
      factor = 1;
    }
    if (rules_.slopes.empty()) return factor;
    const float slope = rules_.slopes[floats(group.head + row / group.queries)];
    const int64_t own = group.visible - group.queries + row % group.queries;
    for (int64_t k = seen.begin; k < seen.end; ++k) {
      scores[k] = factor * scores[k] + slope * static_cast<float>(begin + k - own);
    }
    return 1;
  }

  /// out = weights [rows, keys] values [keys, head_dim]. The weight 0 of an unseen key keeps only a
  /// finite value out, so others are left out of the product and added where they are seen.
  void weigh(const Group& group, int64_t begin, Matrix<const float> weights,
             Matrix<const float> values, Matrix<float> out) const {
    const int64_t keys = values.rows;
    // The first query sees the fewest at the end, the last one the fewest at the beginning.
    const int64_t end = seen_keys(group, 0, begin, keys).end;
    const Seen by_all{std::min(seen_keys(group, group.queries - 1, begin, keys).begin, end), end};
    const auto outside = [&](int64_t key) { return key < by_all.begin || key >= by_all.end; };
    bool finite_outside = true;
    for (int64_t k = 0; k < keys && finite_outside; ++k) {
      finite_outside = !outside(k) || all_finite(values.row(k));
    }
    if (finite_outside) {
      matmul_nn_serial(weights, values, out, isa_);
      return;
    }
    std::vector<float> copy(floats(keys * head_dim_));
    const Matrix<float> finite(copy.data(), keys, head_dim_);
    for (int64_t key = 0; key < keys; ++key) {
      std::ranges::transform(values.row(key), finite.row(key).begin(),
                             [&](float v) { return !outside(key) || std::isfinite(v) ? v : 0.0f; });
    }
    matmul_nn_serial(weights, finite, out, isa_);
    for (int64_t r = 0; r < out.rows; ++r) {
      const Seen seen = seen_keys(group, r, begin, keys);
      for (int64_t key = seen.begin; key < seen.end; ++key) {
        if (!outside(key)) continue;
        for (int64_t i = 0; i < head_dim_; ++i) {
          const float value = values.at(key, i);
          if (!std::isfinite(value)) out.at(r, i) += weights.at(r, key) * value;
        }
      }
    }
  }

  /// Joins a part to the outputs of those before it; top and total [rows] describe these.
  void join(const Group& group, const Part& part, bool first, std::span<float> top,
            std::span<float> total) const {
    for (int64_t r = 0; r < group.rows(); ++r) {
      float* out = out_row(group, r);
      const float* added = part.out.row(r).data();
      float& old_top = top[floats(r)];
      float& old_total = total[floats(r)];
      if (first) {
        std::copy_n(added, head_dim_, out);
        old_top = part.top[r];
        old_total = part.total[r];
        continue;
      }
      const float new_top = std::max(old_top, part.top[r]);
      if (new_top == kNone) continue;  // no finite score yet: all outputs are 0
      const float before = old_total * std::exp(old_top - new_top);
      const float here = part.total[r] * std::exp(part.top[r] - new_top);
      old_top = new_top;
      old_total = before + here;
      op_.mix(before / old_total, out, here / old_total, added, head_dim_);
    }
  }

  void finish(const Group& group) const {
    for (int64_t r = 0; r < group.rows(); ++r) rotate(group, out_row(group, r));
  }

  int64_t head_dim_;
  AttentionRules rules_;
  Isa isa_;
  const Ops& op_;
  std::vector<Group> groups_;
  std::vector<Item> items_;
  AlignedBuffer<float> parts_;  // of split groups, a part's rows together
};

}  // namespace

const float* KvRows::keys(int64_t head, int64_t begin, float* scratch, Isa isa) const {
  const int64_t count = std::min(kPanelCols, k_.rows - begin);
  pack_panel({k_.row(begin).data() + head * head_dim_, count, head_dim_, k_.stride}, scratch, isa);
  return scratch;
}

Matrix<const float> KvRows::values(int64_t head, int64_t begin, int64_t count, float*, Isa) const {
  return {v_.row(begin).data() + head * head_dim_, count, head_dim_, v_.stride};
}

std::vector<float> alibi_slopes(int64_t heads) {
  const int64_t power = int64_t{1} << (std::bit_width(static_cast<uint64_t>(heads)) - 1);
  std::vector<float> slopes;
  for (int64_t h = 0; h < heads; ++h) {
    const double step = h < power
                            ? static_cast<double>(h + 1) / static_cast<double>(power)
                            : (static_cast<double>(h - power) + 0.5) / static_cast<double>(power);
    slopes.push_back(static_cast<float>(std::exp2(-8 * step)));
  }
  return slopes;
}

void attention(std::span<const AttentionInput> sequences, const ModelConfig& config,
               const AttentionRules& rules, const Context& ctx) {
  Attention(sequences, config, rules, ctx.isa).run(ctx.pool);
}

}  // namespace twofold
