// GPTQT's grid (Guo, Lang, Ren, arXiv:2407.02891, as reconstructed in docs/methods/gptqt.md):
// weights become integers of B bits first, then the nearest of 2^b of these integers with
// binary-coding structure; the scale is searched for again together with the choice. Both steps are
// merged into one table: with t_i = (1 + b_i)/2,
//
//   value = s (l + sum t_i d_i - z) = beta + (s/2) sum b_i d_i,  beta = s (l + (sum d_i)/2 - z),
//
// so n_i = d_i are GPTQT's own integers and only s/2 and beta are rounded, before any weight is.
#include <cmath>

#include "base/error.h"
#include "quant/grids/binary_coding.h"
#include "quant/grids/members.h"
#include "quant/grids/two_step_search.h"
#include "quant/row_chunks.h"

namespace twofold {
namespace {

// Above, scales are searched coarse to fine. Choices with l + sum d < N/2 are kept: they are 6 % of
// all, and without them rows of one sign lost more than 5 %.
constexpr int64_t kManyCodebooks = 20000;
constexpr int64_t kTooManyCodebooks = 2000000;  // refused

/// What the second step does with the integers of the first.
enum class SecondStep {
  kChoice,   // a choice of 2^b integers
  kRescale,  // the same, then s in closed form: s = sum h w v / sum h v^2, v = c - z
  kReal,     // real alphas fitted to u - z by binary coding
};

struct Options {
  int step_bits = 5;
  SecondStep second = SecondStep::kChoice;
  bool literal = false;  // rounding goes through u
  std::vector<double> factors;
};

class TwoStepGrid final : public RowTableGrid {
 public:
  TwoStepGrid(const GridRequest& request, Options options)
      : RowTableGrid(
            {.bits = request.bits,
             .group = request.group,
             .level_exponent = options.second == SecondStep::kReal ? -7 : -options.step_bits,
             .binary_coding = true,
             .planes = request.params.get_choice("storage") == "planes"},
            request.rows, request.cols, request.where),
        options_(std::move(options)) {
    if (options_.second != SecondStep::kReal) {
      const bool many = count_codebooks(options_.step_bits, request.bits) > kManyCodebooks;
      list_ = std::make_shared<const CodebookList>(options_.step_bits, request.bits);
      if (many) scales_ = ScaleSearch::kCoarseToFine;
    }
  }

  std::unique_ptr<FittedGrid> rescaled(float factor) const override {
    auto copy = std::make_unique<TwoStepGrid>(*this);
    copy->rescale(factor);
    return copy;
  }

  void fit(int64_t col_begin, int64_t row_begin, Matrix<const float> weight,
           std::span<const float> importance, ThreadPool& pool) override {
    for_row_chunks(pool, weight.rows, [&](int64_t begin, int64_t end) {
      if (options_.second == SecondStep::kReal) {
        for (int64_t r = begin; r < end; ++r) {
          fit_real(col_begin, row_begin + r, weight.row(r), importance);
        }
        return;
      }
      for (int64_t r = begin; r < end; r += kSearchRows) {
        const int64_t rows = std::min<int64_t>(kSearchRows, end - r);
        std::array<TwoStepFit, kSearchRows> fits;
        search_two_step(*list_, {weight.data + r * weight.stride, rows, weight.cols, weight.stride},
                        importance, options_.factors, scales_, fits);
        for (int64_t i = 0; i < rows; ++i) {
          const TwoStepFit& fit = fits[static_cast<size_t>(i)];
          merge(col_begin, row_begin + r + i, fit, weight.row(r + i), importance);
        }
      }
    });
  }

 private:
  /// Both steps as one table.
  void merge(int64_t col_begin, int64_t row, const TwoStepFit& fit, std::span<const float> weight,
             std::span<const float> importance) {
    const Codebook& codebook = fit.codebook;
    double scale = fit.scale;
    if (options_.second == SecondStep::kRescale) {
      scale = closed_form_scale(fit, codebook, weight, importance);
    }
    Table table;
    if (scale > 0) {
      int sum = 0;
      for (int d : codebook.d) sum += d;
      table.n = codebook.d;
      table.step = scale / 2;
      table.offset = scale * (codebook.low + sum / 2.0 - fit.zero);
    }
    const size_t set = set_of(row, col_begin);
    set_table(set, row, table);
    if (options_.literal) set_bounds(set, literal_bounds(scale, fit.zero, elements_of(codebook)));
  }

  std::vector<int> elements_of(const Codebook& codebook) const {
    std::vector<int> elements = {codebook.low};
    for (int i = 0; i < scheme().bits; ++i) {
      const size_t n = elements.size();
      for (size_t k = 0; k < n; ++k) {
        elements.push_back(elements[k] + codebook.d[static_cast<size_t>(i)]);
      }
    }
    std::sort(elements.begin(), elements.end());
    return elements;
  }

  /// Targets above s (m - z + 1/2), m the middle of two elements rounded down, have u > m.
  static std::vector<double> literal_bounds(double scale, double zero,
                                            const std::vector<int>& elements) {
    std::vector<double> bounds;
    for (size_t i = 0; i + 1 < elements.size(); ++i) {
      bounds.push_back(scale * ((elements[i] + elements[i + 1]) / 2 - zero + 0.5));
    }
    return bounds;
  }

  double closed_form_scale(const TwoStepFit& fit, const Codebook& codebook,
                           std::span<const float> weight, std::span<const float> importance) const {
    if (!(fit.scale > 0)) return fit.scale;
    const std::vector<int> elements = elements_of(codebook);
    const std::vector<double> bounds = literal_bounds(fit.scale, fit.zero, elements);
    double product = 0, square = 0;
    for (size_t c = 0; c < weight.size(); ++c) {
      const double h = importance.empty() ? 1.0 : importance[c];
      const auto rank = std::lower_bound(bounds.begin(), bounds.end(), weight[c]) - bounds.begin();
      const double v = elements[static_cast<size_t>(rank)] - fit.zero;
      product += h * weight[c] * v;
      square += h * v * v;
    }
    return product > 0 && square > 0 ? product / square : fit.scale;
  }

  /// Another reading of the second step: real alphas fitted to the integers u - z, no choice.
  void fit_real(int64_t col_begin, int64_t row, std::span<const float> weight,
                std::span<const float> importance) {
    const auto [least, largest] = std::minmax_element(weight.begin(), weight.end());
    const double lo = std::min(0.0f, *least), hi = std::max(0.0f, *largest);
    const double top = (1 << options_.step_bits) - 1, s0 = (hi - lo) / top;
    const size_t set = set_of(row, col_begin);
    if (!(s0 > 0)) {
      set_table(set, row, {});
      return;
    }
    const double zero = std::nearbyint(-lo / s0);
    SortedRow sorted, integers;
    sorted.assign(weight, importance);
    std::vector<float> u(weight.size());
    Alphas best = {};
    double least_loss = -1;
    for (double factor : options_.factors) {
      const double scale = s0 * factor;
      for (size_t c = 0; c < u.size(); ++c) {
        const double bin = std::clamp(std::nearbyint(weight[c] / scale) + zero, 0.0, top);
        u[c] = static_cast<float>(bin - zero);
      }
      integers.assign(u, importance);
      Alphas alphas = fit_alphas(integers, scheme().bits, 15);
      for (double& alpha : alphas) alpha *= scale;
      const double loss = alpha_loss(sorted, alphas, scheme().bits);
      if (least_loss < 0 || loss < least_loss) {
        best = alphas;
        least_loss = loss;
      }
    }
    const auto store = [&](double step) { return stored_step(step, row); };
    set_table(set, row, integer_alphas(best, scheme().bits, store));
  }

  Options options_;
  std::shared_ptr<const CodebookList> list_;  // null for kReal
  ScaleSearch scales_ = ScaleSearch::kAll;
};

Options options_of(const GridRequest& request) {
  const Params& params = request.params;
  Options options{.step_bits = static_cast<int>(params.get_int("step-bits")),
                  .second = SecondStep::kChoice,
                  .literal = params.get_choice("search") == "two-step",
                  .factors = {}};
  if (params.get_choice("second-step") == "rescale") options.second = SecondStep::kRescale;
  if (params.get_choice("second-step") == "real") options.second = SecondStep::kReal;
  const auto [lo, hi] = params.get_range("scale-percent");
  if (lo < 1 || hi < lo || hi > 400) {
    fail(ErrorCode::kInvalidArgument, "--scale-percent",
         "expected LO,HI within 1,400 in increasing order, found {},{}", lo, hi);
  }
  if (!may_search(params)) {
    options.factors = {1.0};
    return options;
  }
  const int64_t step = params.get_int("scale-step");
  for (int64_t percent = hi; percent >= lo; percent -= step) {
    options.factors.push_back(static_cast<double>(percent) / 100);
  }
  return options;
}

void check(const GridRequest& request) {
  check_bits(two_step_grid(), request);
  const Options options = options_of(request);
  if (options.step_bits < request.bits) {
    fail(ErrorCode::kInvalidArgument, "--step-bits",
         "the first step needs at least the {} bits of the second, found {}", request.bits,
         options.step_bits);
  }
  const int64_t count = count_codebooks(options.step_bits, request.bits);
  if (options.second != SecondStep::kReal && count > kTooManyCodebooks) {
    fail(ErrorCode::kInvalidArgument, "--step-bits",
         "{} step bits and {} bits have {} choices, more than {} to search", options.step_bits,
         request.bits, count, kTooManyCodebooks);
  }
  if (options.second == SecondStep::kReal && options.literal) {
    fail(ErrorCode::kInvalidArgument, "--search two-step", "does not go with --second-step real");
  }
}

std::unique_ptr<FittedGrid> make(const GridRequest& request) {
  check(request);
  return std::make_unique<TwoStepGrid>(request, options_of(request));
}

}  // namespace

const Grid& two_step_grid() {
  static const Grid kGrid = {
      .name = "two-step",
      .paper = "arXiv:2407.02891",
      .help = "2^b integers of a finer grid with binary-coding structure, chosen with the scale",
      .params =
          {{.name = "step-bits",
            .kind = ParamKind::kInt,
            .fallback = "5",
            .help = "bits of the linear grid of the first step",
            .choices = {},
            .min = 3,
            .max = 7},
           {.name = "scale-percent",
            .kind = ParamKind::kIntRange,
            .fallback = "40,110",
            .help =
                "scales tried with every choice, in percent of min-max; one alone: --explore off",
            .unread = search_unread},
           {.name = "scale-step",
            .kind = ParamKind::kInt,
            .fallback = "5",
            .help = "distance of these scales in percent",
            .choices = {},
            .min = 1,
            .max = 100,
            .unread = search_unread},
           {.name = "search",
            .kind = ParamKind::kChoice,
            .fallback = "nearest",
            .help = "round to the nearest value, or literally in two steps",
            .choices = {"nearest", "two-step"}},
           {.name = "second-step",
            .kind = ParamKind::kChoice,
            .fallback = "choice",
            .help = "choice: of 2^b integers; rescale: the same, then the best scale for it; "
                    "real: real factors fitted to the integers",
            .choices = {"choice", "rescale", "real"}},
           storage_param()},
      .min_bits = 2,
      .max_bits = kMaxPlanes,
      .groups = true,
      .needed_bits = bits_are_open,
      .check = check,
      .make = make};
  return kGrid;
}

}  // namespace twofold
