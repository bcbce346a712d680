#include "quant/trellis_feedback.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace twofold {
namespace {

constexpr int kColumns = kTrellisFeedbackColumns;
constexpr int kMostDoublings = 6;
constexpr int kRounds = 12;  // of alternating least squares

using Column = std::array<double, kColumns>;

/// a_i b_j nearest to R_ij for i < j.
struct Product {
  Column a{}, b{};
};

double quotient(double above, double below) { return below > 0 ? above / below : 0; }

Product nearest_product(Matrix<const double> lower) {
  const int n = static_cast<int>(lower.rows);
  Product product;
  int largest = 0;
  double most = -1;
  for (int j = 0; j < n; ++j) {  // begin with the column that has most
    double sum = 0;
    for (int i = 0; i < j; ++i) sum += lower.at(j, i) * lower.at(j, i);
    if (sum > most) {
      most = sum;
      largest = j;
    }
  }
  for (int i = 0; i < n; ++i) {
    product.a[static_cast<size_t>(i)] = i < largest ? lower.at(largest, i) : lower.at(largest, 0);
  }
  for (int round = 0; round < kRounds; ++round) {
    for (int j = 0; j < n; ++j) {
      double above = 0, below = 0;
      for (int i = 0; i < j; ++i) {
        const double a = product.a[static_cast<size_t>(i)];
        above += lower.at(j, i) * a;
        below += a * a;
      }
      product.b[static_cast<size_t>(j)] = quotient(above, below);
    }
    for (int i = 0; i < n; ++i) {
      double above = 0, below = 0;
      for (int j = i + 1; j < n; ++j) {
        const double b = product.b[static_cast<size_t>(j)];
        above += lower.at(j, i) * b;
        below += b * b;
      }
      product.a[static_cast<size_t>(i)] = quotient(above, below);
    }
  }
  return product;
}

/// Share of the loss of equal errors that feeding back the product saves, and then weights that
/// make the errors of all columns count alike.
double saving(Matrix<const double> lower, const Product& product) {
  double before = 0, after = 0, own = 0, logs = 0;
  for (int64_t j = 0; j < lower.rows; ++j) {
    own += lower.at(j, j) * lower.at(j, j);
    logs += 2 * std::log(lower.at(j, j));
    for (int64_t i = 0; i <= j; ++i) {
      const double r = lower.at(j, i);
      const double left =
          i < j ? r - product.a[static_cast<size_t>(i)] * product.b[static_cast<size_t>(j)] : r;
      before += r * r;
      after += left * left;
    }
  }
  const double n = static_cast<double>(lower.rows);
  const double weighted = own > 0 ? n * std::exp(logs / n) : 0;
  return quotient(before - after + own - weighted, before);
}

double largest_of(const Column& column) {
  double most = 0;
  for (const double x : column) most = std::max(most, std::abs(x));
  return most;
}

int16_t in_fixed_point(double x) {
  constexpr double kOne = 0x8000, kMost = 0x7fff;
  return static_cast<int16_t>(std::nearbyint(std::clamp(x * kOne, -kMost, kMost)));
}

/// R_jj / the largest, doubled until those of middling columns are at least 1.
TrellisFeedback weights(Matrix<const double> lower) {
  double largest = 0, logs = 0;
  for (int64_t j = 0; j < lower.rows; ++j) {
    largest = std::max(largest, lower.at(j, j));
    logs += std::log(lower.at(j, j));
  }
  const double spread = largest / std::exp(logs / static_cast<double>(lower.rows));
  TrellisFeedback feedback{};
  while (feedback.weight_doublings < kMostWeightDoublings &&
         std::ldexp(1.0, feedback.weight_doublings) < spread) {
    ++feedback.weight_doublings;
  }
  for (int64_t j = 0; j < lower.rows; ++j) {
    feedback.weight[j] = in_fixed_point(lower.at(j, j) / largest);
  }
  return feedback;
}

}  // namespace

std::optional<TrellisFeedback> fit_trellis_feedback(Matrix<const double> lower) {
  Product product = nearest_product(lower);
  if (!(saving(lower, product) >= kLeastSaving)) return std::nullopt;
  TrellisFeedback feedback = weights(lower);
  for (int64_t j = 0; j < lower.rows; ++j) product.b[static_cast<size_t>(j)] /= lower.at(j, j);
  const double most = largest_of(product.b);
  double factor = most;  // of `from`, so that all of both are at most 1
  while (feedback.doublings < kMostDoublings && factor * largest_of(product.a) > 1) {
    ++feedback.doublings;
    factor /= 2;
  }
  for (size_t i = 0; i < product.a.size(); ++i) {
    feedback.from[i] = in_fixed_point(product.a[i] * factor);
    feedback.to[i] = in_fixed_point(quotient(product.b[i], most));
  }
  return feedback;
}

}  // namespace twofold
