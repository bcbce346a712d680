// Tensor: dense numbers with a type and a shape, row-major and contiguous. TensorView does not own;
// Tensor keeps the heap block or the file mapping alive. Matrix is the typed two-dimensional view
// that algorithms use.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace twofold {

using Shape = std::vector<int64_t>;

/// "[576, 192]".
std::string shape_text(const Shape& shape);
/// Number of elements. @throws Error(kCorruptFile) naming `where` on overflow or a negative side.
int64_t element_count(const Shape& shape, std::string_view where);

struct TensorView {
  DType dtype = DType::kF32;
  Shape shape;
  std::span<const std::byte> bytes;
};

struct Tensor {
  TensorView view;
  std::shared_ptr<const void> owner;  // keeps view.bytes alive
};

/// Typed view of rows x cols numbers; row r starts at data + r * stride.
template <class T>
struct Matrix {
  T* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;  // elements between row starts, >= cols

  Matrix() = default;
  Matrix(T* data_, int64_t rows_, int64_t cols_) : Matrix(data_, rows_, cols_, cols_) {}
  Matrix(T* data_, int64_t rows_, int64_t cols_, int64_t stride_)
      : data(data_), rows(rows_), cols(cols_), stride(stride_) {}
  operator Matrix<const T>() const { return {data, rows, cols, stride}; }

  std::span<T> row(int64_t r) const { return {data + r * stride, static_cast<size_t>(cols)}; }
  T& at(int64_t r, int64_t c) const { return data[r * stride + c]; }
};

}  // namespace twofold
