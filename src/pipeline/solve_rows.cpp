#include "pipeline/solve_rows.h"

#include <algorithm>

#include "base/aligned_buffer.h"
#include "base/checked_math.h"
#include "pipeline/dense_weights.h"
#include "quant/proxy_loss.h"
#include "quant/row_chunks.h"

namespace twofold {
namespace {

PackedSolution pack_whole(const MethodChoice& choice, const Slot& slot, uint64_t seed,
                          const Context& ctx) {
  const AlignedBuffer<float> weight = load_matrix(slot, ctx);
  const Problem problem{.weight = {weight.data(), slot.shape[0], slot.shape[1]},
                        .seed = seed,
                        .input_name = slot.input,
                        .matrix_name = slot.name,
                        .known_finite = true};
  return pack_solution(solve(choice, problem, ctx), ctx.pool);
}

PackedSolution pack_chunks(const MethodChoice& choice, const Slot& slot, uint64_t seed,
                           const Context& ctx) {
  const int64_t rows = slot.shape[0], cols = slot.shape[1];
  const std::unique_ptr<RowSource> source = make_row_source(*slot.tensor, slot.view);
  PackedSolution whole;
  whole.packed = new_packed(format_for(scheme_for(choice, rows, cols)), rows, cols);
  const int64_t chunks = ceil_div(rows, kRowChunk);
  std::vector<ProxyLoss> losses(static_cast<size_t>(chunks));
  std::vector<AlignedBuffer<float>> rooms(static_cast<size_t>(ctx.pool.size()));
  ctx.pool.run(chunks, [&](int64_t chunk, int worker) {
    ctx.check_cancelled();
    ThreadPool alone(1, false);
    const Context own{.pool = alone, .isa = ctx.isa, .cancel = ctx.cancel};
    const int64_t begin = chunk * kRowChunk, count = std::min(kRowChunk, rows - begin);
    AlignedBuffer<float>& room = rooms[static_cast<size_t>(worker)];
    room.ensure(static_cast<size_t>(count * cols));
    source->decode_rows(begin, count, room.data(), cols);
    Solution part = solve(choice,
                          {.weight = {room.data(), count, cols},
                           .seed = seed,
                           .input_name = slot.input,
                           .matrix_name = slot.name},
                          own);
    put_rows(pack(part.q), begin, whole.packed);
    losses[static_cast<size_t>(chunk)] = {part.loss, part.energy};
    if (chunk == 0) {
      whole.transform = std::move(part.q.transform);
      whole.notes = std::move(part.notes);
    }
  });
  ProxyLoss sum;  // in order
  for (const ProxyLoss& part : losses) {
    sum.loss += part.loss;
    sum.energy += part.energy;
  }
  whole.proxy_loss = sum.relative();
  return whole;
}

}  // namespace

PackedSolution pack_solution(Solution solution, ThreadPool& pool) {
  return {.packed = pack(solution.q, pool),
          .transform = std::move(solution.q.transform),
          .proxy_loss = solution.proxy_loss,
          .explore_seconds = solution.explore_seconds,
          .notes = std::move(solution.notes)};
}

PackedSolution solve_by_rows(const MethodChoice& choice, const Slot& slot, uint64_t seed,
                             const Context& ctx) {
  try {
    return pack_chunks(choice, slot, seed, ctx);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kUnsupported) throw;
    return pack_whole(choice, slot, seed, ctx);  // a chunk does not know the numbers of its rows
  }
}

}  // namespace twofold
