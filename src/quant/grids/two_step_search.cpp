// With x = w / s0, v = c - z and s = k s0, the loss of a codebook c_0 <= ... <= c_m is, in units of
// s0^2, a sum over the bins u of the histogram of its row:
//
//   E = sum h x^2 - 2 k sum v(u) H1(u) + k^2 sum v(u)^2 H0(u),   H0 = sum of h, H1 = sum of h x.
//
// Bins between two neighbouring elements meet at t = floor((c_j + c_j+1) / 2) + 1, so with running
// sums P0(t), P1(t) over the bins below t
//
//   E = T(c_m) + sum over j of D(c_j, c_j+1),
//   D(c, c') = k (v - v') (k (v + v') P0(t) - 2 P1(t)),
//   T(c)     = sum h x^2 - 2 k v P1(N + 1) + k^2 v^2 P0(N + 1):
//
// D and T are small tables of a row and factor; a codebook costs 2^b additions. kSearchRows rows
// are the lanes of the inner loop.
#include "quant/grids/two_step_search.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "quant/grids/sorted_row.h"
#include "quant/round_half_even.h"

namespace twofold {
namespace {

constexpr size_t kLanes = kSearchRows;
using Lanes = std::array<float, kLanes>;

// Four lanes at once, as the vector types of GCC and Clang: any machine has an equivalent.
typedef float Four __attribute__((vector_size(16)));
typedef int32_t FourInts __attribute__((vector_size(16)));

Four four(const Lanes& lanes, size_t part) {
  Four out;
  std::memcpy(&out, lanes.data() + 4 * part, sizeof(out));
  return out;
}

/// Calls visit(d) for each d_1 >= ... >= d_b >= 1 with sum <= N, d_1 ascending first.
template <class Visit>
void for_each_step_set(int n_max, int bits, int i, int sum, std::array<int, kMaxPlanes>& d,
                       const Visit& visit) {
  if (i == bits || i == kMaxPlanes) {
    visit(d, sum);
    return;
  }
  const int rest = bits - i - 1;  // each of them at least 1
  const int largest = std::min(i > 0 ? d[static_cast<size_t>(i - 1)] : n_max, n_max - sum - rest);
  for (int step = 1; step <= largest; ++step) {
    d[static_cast<size_t>(i)] = step;
    for_each_step_set(n_max, bits, i + 1, sum + step, d, visit);
  }
}

/// Calls visit(element) for the 2^b elements of a codebook, in no order.
template <class Visit>
void for_each_element(const Codebook& codebook, int bits, const Visit& visit) {
  for (unsigned code = 0; code < 1u << bits; ++code) {
    int element = codebook.low;
    for (size_t p = 0; p < codebook.d.size(); ++p) {
      if ((code >> p & 1u) != 0) element += codebook.d[p];
    }
    visit(element);
  }
}

bool valid(const Codebook& codebook, int n_max, int bits) {
  int top = codebook.low;
  if (codebook.low < 0) return false;
  for (size_t p = 0; p < static_cast<size_t>(bits); ++p) {
    top += codebook.d[p];
    if (codebook.d[p] < 1 || (p > 0 && codebook.d[p] > codebook.d[p - 1])) return false;
  }
  return top <= n_max;
}

/// Calls visit(codebook) for what single steps lead to: l or a d_i by one, or both in opposite
/// directions.
template <class Visit>
void for_each_neighbour(const Codebook& codebook, int n_max, int bits, const Visit& visit) {
  for (int step : {-1, 1}) {
    Codebook low = codebook;
    low.low -= step;
    if (valid(low, n_max, bits)) visit(low);
    for (size_t p = 0; p < static_cast<size_t>(bits); ++p) {
      Codebook one = codebook, both = low;
      one.d[p] += step;
      both.d[p] += step;
      if (valid(one, n_max, bits)) visit(one);
      if (valid(both, n_max, bits)) visit(both);
    }
  }
}

/// A row in units of its own: x = w / s0, importance relative to its mean.
struct Row {
  double s0 = 0, zero = 0, energy = 0;  // energy: sum h x^2
  SortedRow sorted;
};

/// Running sums of a row's histogram for one factor; [N + 2] each.
struct Histogram {
  std::vector<double> mass, moment;
};

class Search {
 public:
  Search(const CodebookList& list, Matrix<const float> weight, std::span<const float> importance)
      : list_(list),
        weight_(weight),
        importance_(importance),
        n_max_((1 << list.step_bits()) - 1),
        pairs_(static_cast<size_t>(pair_place(n_max_, n_max_)) + 1),
        tops_(static_cast<size_t>(n_max_) + 1) {
    double sum = 0;
    for (float h : importance) sum += h;
    unit_ = sum > 0 ? static_cast<double>(importance.size()) / sum : 1.0;
    for (size_t lane = 0; lane < static_cast<size_t>(weight.rows); ++lane) prepare_row(lane);
    for (Histogram& histogram : histograms_) {
      histogram.mass.assign(static_cast<size_t>(n_max_) + 2, 0.0);
      histogram.moment.assign(static_cast<size_t>(n_max_) + 2, 0.0);
    }
  }

  const Row& row(size_t lane) const { return rows_[lane]; }

  /// The first codebook of least loss of each row for `factor`, and its loss in float64.
  void run(double factor) {
    prepare(factor);
    dispatch([&](auto elements) { choose<elements()>(0, list_.size()); });
    for (size_t lane = 0; lane < static_cast<size_t>(weight_.rows); ++lane) {
      loss[lane] = exact_loss(lane, factor, list_[static_cast<size_t>(choice[lane])]);
    }
  }

  /// Adds the kKept codebooks of least loss of each row for `factor` to its candidates.
  void collect(double factor) {
    prepare(factor);
    for (auto& heap : kept_) heap.clear();
    dispatch([&](auto elements) { choose_several<elements()>(); });
    for (size_t lane = 0; lane < kLanes; ++lane) {
      for (const Scored& scored : kept_[lane]) {
        candidates_[lane].push_back({list_[static_cast<size_t>(scored.second)], factor});
      }
    }
  }

  /// A row's candidates for `factor`, with their integers or with their values, the best of them
  /// changed by single steps as long as that helps.
  std::pair<Codebook, double> refine(size_t lane, double factor) {
    fill_histogram(lane, factor);
    std::vector<std::pair<double, Codebook>> starts;
    for (const Candidate& candidate : candidates_[lane]) {
      const Codebook moved = moved_to(factor, candidate, rows_[lane].zero);
      for (const Codebook& codebook : {candidate.codebook, moved}) {
        if (!valid(codebook, n_max_, list_.bits())) continue;
        starts.emplace_back(exact_loss(lane, factor, codebook), codebook);
      }
    }
    const size_t count = std::min(kStarts, starts.size());
    std::partial_sort(starts.begin(), starts.begin() + static_cast<std::ptrdiff_t>(count),
                      starts.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::pair<double, Codebook> best = starts.front();
    for (size_t i = 0; i < count; ++i) {
      descend(lane, factor, starts[i]);
      if (starts[i].first < best.first) best = starts[i];
    }
    return {best.second, best.first};
  }

  std::array<int32_t, kLanes> choice = {};
  std::array<double, kLanes> loss = {};  // in units of s0^2 and the mean importance

  double loss_unit(size_t lane) const { return rows_[lane].s0 * rows_[lane].s0 / unit_; }

 private:
  using Scored = std::pair<float, int32_t>;  // loss and index of a codebook
  struct Candidate {
    Codebook codebook;
    double factor = 1;  // that it suits
  };
  static constexpr size_t kKept = 16, kRun = 64, kStarts = 4;

  /// Histograms and tables of all rows for `factor`.
  void prepare(double factor) {
    for (size_t lane = 0; lane < static_cast<size_t>(weight_.rows); ++lane) {
      fill_histogram(lane, factor);
    }
    fill_tables(factor);
  }

  /// Calls body with the number of elements of a codebook as a constant.
  template <class Body>
  void dispatch(const Body& body) {
    switch (list_.bits()) {
      case 1:
        return body(std::integral_constant<size_t, 2>());
      case 2:
        return body(std::integral_constant<size_t, 4>());
      case 3:
        return body(std::integral_constant<size_t, 8>());
      default:
        return body(std::integral_constant<size_t, 16>());
    }
  }

  void prepare_row(size_t lane) {
    Row& row = rows_[lane];
    row.sorted.assign(weight_.row(static_cast<int64_t>(lane)), importance_);
    const size_t n = row.sorted.size();
    const float lo = std::min(0.0f, row.sorted[0]), hi = std::max(0.0f, row.sorted[n - 1]);
    row.s0 = (static_cast<double>(hi) - lo) / n_max_;
    if (!(row.s0 > 0)) return;
    row.zero = std::nearbyint(-lo / row.s0);
    row.energy = row.sorted.energy(0, n) * unit_ / (row.s0 * row.s0);
  }

  /// Bin u of weights begins at the first with round(w / s) + z >= u.
  void fill_histogram(size_t lane, double factor) {
    Histogram& histogram = histograms_[lane];
    const Row& row = rows_[lane];
    if (!(row.s0 > 0)) return;
    const SortedRow& sorted = row.sorted;
    const size_t n = sorted.size();
    const float scale = static_cast<float>(row.s0 * factor);
    const float zero = static_cast<float>(row.zero);
    const double per_s0 = unit_ / row.s0;
    size_t begin = 0;
    for (int u = 1; u <= n_max_; ++u) {
      const float bin = static_cast<float>(u);
      const auto reaches = [&](size_t i) {
        return round_half_even(sorted[i] / scale) + zero >= bin;
      };
      size_t at = sorted.first_at_least(static_cast<double>(scale) * (bin - zero - 0.5), begin, n);
      // Rounding of the quotient and ties decide about the neighbours of the bound.
      while (at > begin && reaches(at - 1)) --at;
      while (at < n && !reaches(at)) ++at;
      histogram.mass[static_cast<size_t>(u)] = sorted.mass(0, at) * unit_;
      histogram.moment[static_cast<size_t>(u)] = sorted.moment(0, at) * per_s0;
      begin = at;
    }
    histogram.mass.back() = sorted.mass(0, n) * unit_;
    histogram.moment.back() = sorted.moment(0, n) * per_s0;
  }

  static double pair_cost(const Histogram& histogram, const Row& row, double k, int c, int next) {
    const size_t t = static_cast<size_t>((c + next) / 2 + 1);
    return k * (c - next) *
           (k * (c + next - 2 * row.zero) * histogram.mass[t] - 2 * histogram.moment[t]);
  }

  static double top_cost(const Histogram& histogram, const Row& row, double k, int c) {
    const double v = k * (c - row.zero);
    return row.energy - 2 * v * histogram.moment.back() + v * v * histogram.mass.back();
  }

  void fill_tables(double k) {
    for (size_t lane = 0; lane < static_cast<size_t>(weight_.rows); ++lane) {
      const Histogram& histogram = histograms_[lane];
      const Row& row = rows_[lane];
      for (int next = 0; next <= n_max_; ++next) {
        for (int c = 0; c <= next; ++c) {
          pairs_[static_cast<size_t>(pair_place(c, next))][lane] =
              static_cast<float>(pair_cost(histogram, row, k, c, next));
        }
        tops_[static_cast<size_t>(next)][lane] =
            static_cast<float>(top_cost(histogram, row, k, next));
      }
    }
  }

  /// The first codebook of least loss in each lane, of those from `begin` to `end`, and its loss in
  /// float32.
  template <size_t kElements>
  void choose(size_t begin, size_t end) {
    constexpr size_t kParts = kLanes / 4;
    std::array<Four, kParts> best;
    std::array<FourInts, kParts> index = {};
    for (Four& part : best) part = Four{} + std::numeric_limits<float>::infinity();
    const uint16_t* places = list_.places(begin);
    for (size_t i = begin; i < end; ++i, places += kElements) {
      for (size_t part = 0; part < kParts; ++part) {
        Four sum = four(tops_[places[kElements - 1]], part);
        for (size_t j = 0; j + 1 < kElements; ++j) sum += four(pairs_[places[j]], part);
        const FourInts less = sum < best[part];
        best[part] = less ? sum : best[part];
        index[part] = less ? FourInts{} + static_cast<int32_t>(i) : index[part];
      }
    }
    std::memcpy(choice.data(), index.data(), sizeof(choice));
    std::memcpy(rough_loss_.data(), best.data(), sizeof(rough_loss_));
  }

  /// The kKept best of the best ones of each kRun codebooks in a row, which are alike.
  template <size_t kElements>
  void choose_several() {
    for (size_t begin = 0; begin < list_.size(); begin += kRun) {
      choose<kElements>(begin, std::min(begin + kRun, list_.size()));
      for (size_t lane = 0; lane < kLanes; ++lane) {
        std::vector<Scored>& heap = kept_[lane];
        const Scored scored(rough_loss_[lane], choice[lane]);
        if (heap.size() < kKept || scored < heap.front()) keep(heap, scored);
      }
    }
  }

  /// @param heap the worst kept one first.
  static void keep(std::vector<Scored>& heap, Scored scored) {
    if (heap.size() == kKept) {
      std::pop_heap(heap.begin(), heap.end());
      heap.pop_back();
    }
    heap.push_back(scored);
    std::push_heap(heap.begin(), heap.end());
  }

  /// The codebook whose values at `factor` are nearest to those of a candidate at its own.
  Codebook moved_to(double factor, const Candidate& candidate, double zero) const {
    const double ratio = candidate.factor / factor;
    const Codebook& from = candidate.codebook;
    Codebook to;
    to.low = static_cast<int>(std::nearbyint(zero + (from.low - zero) * ratio));
    for (size_t p = 0; p < static_cast<size_t>(list_.bits()); ++p) {
      to.d[p] = static_cast<int>(std::nearbyint(from.d[p] * ratio));
    }
    return to;
  }

  void descend(size_t lane, double factor, std::pair<double, Codebook>& best) const {
    for (bool moved = true; moved;) {
      moved = false;
      const Codebook from = best.second;
      for_each_neighbour(from, n_max_, list_.bits(), [&](const Codebook& to) {
        const double found = exact_loss(lane, factor, to);
        if (!(found < best.first)) return;
        best = {found, to};
        moved = true;
      });
    }
  }

  double exact_loss(size_t lane, double k, const Codebook& codebook) const {
    std::array<int, 1 << kMaxPlanes> elements = {};
    size_t count = 0;
    for_each_element(codebook, list_.bits(), [&](int element) { elements[count++] = element; });
    std::sort(elements.begin(), elements.begin() + static_cast<std::ptrdiff_t>(count));
    double sum = top_cost(histograms_[lane], rows_[lane], k, elements[count - 1]);
    for (size_t j = 0; j + 1 < count; ++j) {
      sum += pair_cost(histograms_[lane], rows_[lane], k, elements[j], elements[j + 1]);
    }
    return sum;
  }

  const CodebookList& list_;
  Matrix<const float> weight_;
  std::span<const float> importance_;
  int n_max_;
  double unit_ = 1;  // 1 / mean importance
  std::array<Row, kLanes> rows_;
  std::array<Histogram, kLanes> histograms_;
  std::vector<Lanes> pairs_;  // [pairs]
  std::vector<Lanes> tops_;   // [N + 1]
  Lanes rough_loss_ = {};
  std::array<std::vector<Scored>, kLanes> kept_;
  std::array<std::vector<Candidate>, kLanes> candidates_;
};

constexpr size_t kCoarseStep = 3;

}  // namespace

int64_t count_codebooks(int step_bits, int bits) {
  // sets[m]: step sets of sum m, by adding parts of size 1, 2, ...: partitions into `bits` parts.
  const int n_max = (1 << step_bits) - 1;
  std::vector<std::vector<int64_t>> sets(static_cast<size_t>(bits) + 1);
  for (auto& row : sets) row.assign(static_cast<size_t>(n_max) + 1, 0);
  sets[0][0] = 1;
  for (int part = 1; part <= n_max; ++part) {
    for (size_t parts = 1; parts < sets.size(); ++parts) {
      for (size_t sum = static_cast<size_t>(part); sum < sets[parts].size(); ++sum) {
        sets[parts][sum] += sets[parts - 1][sum - static_cast<size_t>(part)];
      }
    }
  }
  int64_t count = 0;
  for (int sum = 0; sum <= n_max; ++sum) {
    count += sets[static_cast<size_t>(bits)][static_cast<size_t>(sum)] * (n_max - sum + 1);
  }
  return count;
}

CodebookList::CodebookList(int step_bits, int bits) : step_bits_(step_bits), bits_(bits) {
  const int n_max = (1 << step_bits) - 1;
  const size_t count = size_t{1} << bits;
  std::array<int, kMaxPlanes> steps = {};
  for_each_step_set(n_max, bits, 0, 0, steps, [&](const auto& d, int sum) {
    for (int low = 0; low + sum <= n_max; ++low) {
      codebooks_.push_back({low, d});
      std::array<int, 1 << kMaxPlanes> elements = {};
      size_t filled = 0;
      for_each_element(codebooks_.back(), bits, [&](int element) { elements[filled++] = element; });
      std::sort(elements.begin(), elements.begin() + static_cast<std::ptrdiff_t>(count));
      for (size_t j = 0; j + 1 < count; ++j) {
        places_.push_back(static_cast<uint16_t>(pair_place(elements[j], elements[j + 1])));
      }
      places_.push_back(static_cast<uint16_t>(elements[count - 1]));
    }
  });
}

void search_two_step(const CodebookList& list, Matrix<const float> weight,
                     std::span<const float> importance, std::span<const double> factors,
                     ScaleSearch scales, std::span<TwoStepFit> fits) {
  Search search(list, weight, importance);
  const size_t rows = static_cast<size_t>(weight.rows);
  std::array<double, kLanes> least;
  least.fill(std::numeric_limits<double>::infinity());
  const auto offer = [&](size_t lane, double factor, const Codebook& codebook, double loss) {
    if (!(loss < least[lane])) return;
    least[lane] = loss;
    const Row& row = search.row(lane);
    fits[lane] = {.scale = row.s0 * factor,
                  .zero = row.zero,
                  .loss = loss * search.loss_unit(lane),
                  .codebook = codebook};
  };
  if (scales == ScaleSearch::kAll) {
    for (double factor : factors) {
      search.run(factor);
      for (size_t lane = 0; lane < rows; ++lane) {
        offer(lane, factor, list[static_cast<size_t>(search.choice[lane])], search.loss[lane]);
      }
    }
    return;
  }
  for (size_t i = 0; i < factors.size(); i += kCoarseStep) search.collect(factors[i]);
  for (size_t lane = 0; lane < rows; ++lane) {
    for (double factor : factors) {
      const auto [codebook, loss] = search.refine(lane, factor);
      offer(lane, factor, codebook, loss);
    }
  }
}

}  // namespace twofold
