// The inner loops of rows.cpp, compiled once per instruction set (see each_isa.h).
//
// A tile is some neighbouring columns of a table, NV vectors of L floats wide; its rows lie `stride` apart. Sums run
// over entries in their order, so a result depends on nothing but its inputs.

#include "sums.h"

// out[r] = bias + Σ weights[n] · tile[indices[n]], rows first..last-1.
template <int NV>
inline void sum_rows(const SumRows& job, const float* tile, int64_t stride, int64_t start, int64_t first,
                     int64_t last) {
  constexpr bool PAIRS = NV <= 4;  // few sums: two of each, so that one multiply-add need not wait for the one before
  for (int64_t r = first; r < last; ++r) {
    V even[NV], odd[NV];
    for (int j = 0; j < NV; ++j) {
      even[j] = job.bias ? load(job.bias + start + j * L) : V{};
      odd[j] = V{};
    }
    int64_t n = job.offsets[r];
    const int64_t end = job.offsets[r + 1];
    for (; PAIRS && n + 1 < end; n += 2) {
      const float* a = tile + job.indices[n] * stride;
      const float* b = tile + job.indices[n + 1] * stride;
      for (int j = 0; j < NV; ++j) {
        even[j] += load(a + j * L) * job.weights[n];
        odd[j] += load(b + j * L) * job.weights[n + 1];
      }
    }
    for (; n < end; ++n) {
      const float* a = tile + job.indices[n] * stride;
      for (int j = 0; j < NV; ++j) even[j] += load(a + j * L) * job.weights[n];
    }
    for (int j = 0; j < NV; ++j) {
      store(job.out + r * job.width + start + j * L, PAIRS ? even[j] + odd[j] : even[j], job.stream);
    }
  }
}

template <int NV>
inline void sum_rows_tile(const SumRows& job, int64_t start, int64_t first, int64_t last, float* room) {
  if (room == nullptr) return sum_rows<NV>(job, job.table + start, job.width, start, first, last);
  pack<NV>(job.table + start, job.width, job.num_table, room);
  sum_rows<NV>(job, room, NV * L, start, first, last);
}

// `room`: where the tile is packed first; null: it is read where it is.
void sum_rows(const SumRows& job, Tile tile, int64_t first, int64_t last, float* room) {
  switch (tile.vectors) {
    case 16: return sum_rows_tile<16>(job, tile.start, first, last, room);
    case 8: return sum_rows_tile<8>(job, tile.start, first, last, room);
    case 4: return sum_rows_tile<4>(job, tile.start, first, last, room);
    case 2: return sum_rows_tile<2>(job, tile.start, first, last, room);
    case 1: return sum_rows_tile<1>(job, tile.start, first, last, room);
  }
  for (int64_t r = first; r < last; ++r)
    for (int64_t c = tile.start; c < job.width; ++c) {
      float sum = job.bias ? job.bias[c] : 0.0f;
      for (int64_t n = job.offsets[r]; n < job.offsets[r + 1]; ++n)
        sum += job.weights[n] * job.table[job.indices[n] * job.width + c];
      job.out[r * job.width + c] = sum;
    }
}

// dots[n] = ⟨left[r], table[indices[n]]⟩ over the entries of rows first..last-1.
void dot_rows(const DotRows& job, int64_t first, int64_t last) {
  Waiting waiting;
  waiting.to = job.dots + job.offsets[first];
  for (int64_t r = first; r < last; ++r)
    for (int64_t n = job.offsets[r]; n < job.offsets[r + 1]; ++n)
      waiting.push(product(job.left + r * job.width, job.table + job.indices[n] * job.width, job.width));
  waiting.flush();
}
