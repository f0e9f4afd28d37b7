// The inner loops of rows.cpp, compiled once per instruction set (see each_isa.h).
//
// A tile is some neighbouring columns of a table, NV vectors of L floats wide; its rows lie `stride` apart. Sums run
// over entries in their order, so a result depends on nothing but its inputs.

#include "vectors.h"

// [a0 + a1, a2 + a3, …, b0 + b1, …]: neighbours added, first those of a, then those of b.
inline V add_neighbours(V a, V b) {
#if LX_VEC == 64
#define LX_EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define LX_ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#elif LX_VEC == 32
#define LX_EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define LX_ODD 1, 3, 5, 7, 9, 11, 13, 15
#else
#define LX_EVEN 0, 2, 4, 6
#define LX_ODD 1, 3, 5, 7
#endif
#if defined(__clang__)
  return __builtin_shufflevector(a, b, LX_EVEN) + __builtin_shufflevector(a, b, LX_ODD);
#else
  typedef int32_t Index __attribute__((vector_size(LX_VEC)));
  return __builtin_shuffle(a, b, Index{LX_EVEN}) + __builtin_shuffle(a, b, Index{LX_ODD});
#endif
#undef LX_EVEN
#undef LX_ODD
}

// The L sums over the L lanes of vectors[0..L-1], in their order.
inline V sums_of(const V* vectors) {
  V level[L];
  for (int64_t i = 0; i < L; ++i) level[i] = vectors[i];
  for (int64_t count = L; count > 1; count /= 2)
    for (int64_t i = 0; i < count / 2; ++i) level[i] = add_neighbours(level[2 * i], level[2 * i + 1]);
  return level[0];
}

// NV vectors of every row of a table, copied to lie side by side.
template <int NV>
inline void pack(const float* table, int64_t width, int64_t num_rows, float* tile) {
  for (int64_t r = 0; r < num_rows; ++r)
    for (int j = 0; j < NV; ++j) store(tile + (r * NV + j) * L, load(table + r * width + j * L));
}

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

// Dot products whose lanes are not added yet; L of them are added at a time, in their order.
struct Waiting {
  V products[L];
  int64_t count = 0;
  float* to;

  inline void push(V product) {
    products[count++] = product;
    if (count < L) return;
    store(to, sums_of(products));
    to += L;
    count = 0;
  }
  inline void flush() {
    if (count == 0) return;
    for (int64_t i = count; i < L; ++i) products[i] = V{};
    const V sums = sums_of(products);
    for (int64_t i = 0; i < count; ++i) to[i] = sums[i];
  }
};

// out[f] = Σ weights[n] · tile[rows[n]] over the entries n of column f, columns first..last-1, and where there is a
// `left`, dots[n] = ⟨left[f], tile[rows[n]]⟩.
template <int NV, bool WITH_DOTS>
inline void sum_columns(const SumColumns& job, float* dots, const float* tile, int64_t stride, int64_t start,
                        int64_t first, int64_t last) {
  Waiting waiting;
  waiting.to = dots;
  for (int64_t f = first; f < last; ++f) {
    const float* left = WITH_DOTS ? job.left + f * job.width + start : nullptr;
    float* out = job.out + f * job.width + start;
    V row[NV], even[NV], odd[NV];
    for (int j = 0; j < NV; ++j) {
      if (WITH_DOTS) {
        row[j] = load(left + j * L);
        __builtin_prefetch(left + AHEAD * job.width + j * L);
      }
      if (!job.stream) __builtin_prefetch(out + AHEAD * job.width + j * L, 1);
      even[j] = odd[j] = V{};
    }
    const auto dot = [&](const float* a) {
      V product = row[0] * load(a);
      for (int j = 1; j < NV; ++j) product += row[j] * load(a + j * L);
      waiting.push(product);
    };
    int64_t n = job.columns[f];
    const int64_t end = job.columns[f + 1];
    for (; n + 1 < end; n += 2) {
      const float* a = tile + job.rows[n] * stride;
      const float* b = tile + job.rows[n + 1] * stride;
      for (int j = 0; j < NV; ++j) {
        even[j] += load(a + j * L) * job.weights[n];
        odd[j] += load(b + j * L) * job.weights[n + 1];
      }
      if (WITH_DOTS) {
        dot(a);
        dot(b);
      }
    }
    if (n < end) {
      const float* a = tile + job.rows[n] * stride;
      for (int j = 0; j < NV; ++j) even[j] += load(a + j * L) * job.weights[n];
      if (WITH_DOTS) dot(a);
    }
    for (int j = 0; j < NV; ++j) store(out + j * L, even[j] + odd[j], job.stream);
  }
  if (WITH_DOTS) waiting.flush();
}

// dots[n] = ⟨left[r], table[indices[n]]⟩ over the entries of rows first..last-1.
inline void dot_rows(const DotRows& job, int64_t first, int64_t last) {
  const int64_t whole = job.width / (2 * L) * (2 * L);
  Waiting waiting;
  waiting.to = job.dots + job.offsets[first];
  for (int64_t r = first; r < last; ++r) {
    const float* a = job.left + r * job.width;
    for (int64_t n = job.offsets[r]; n < job.offsets[r + 1]; ++n) {
      const float* b = job.table + job.indices[n] * job.width;
      V even = V{}, odd = V{};
      for (int64_t c = 0; c < whole; c += 2 * L) {
        even += load(a + c) * load(b + c);
        odd += load(a + c + L) * load(b + c + L);
      }
      V sum = even + odd;
      for (int64_t c = whole; c < job.width; ++c) sum[(c - whole) % L] += a[c] * b[c];
      waiting.push(sum);
    }
  }
  waiting.flush();
}

template <int NV>
inline void sum_rows_tile(const SumRows& job, int64_t start, int64_t first, int64_t last, float* room) {
  if (room == nullptr) return sum_rows<NV>(job, job.table + start, job.width, start, first, last);
  pack<NV>(job.table + start, job.width, job.num_table, room);
  sum_rows<NV>(job, room, NV * L, start, first, last);
}

template <int NV>
inline void sum_columns_tile(const SumColumns& job, float* dots, int64_t start, int64_t first, int64_t last,
                             float* room) {
  const float* tile = job.right + start;
  int64_t stride = job.width;
  if (room != nullptr) {
    pack<NV>(tile, stride, job.num_rows, room);
    tile = room;
    stride = NV * L;
  }
  if (dots != nullptr)
    sum_columns<NV, true>(job, dots, tile, stride, start, first, last);
  else
    sum_columns<NV, false>(job, dots, tile, stride, start, first, last);
}

int64_t lanes() { return L; }

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

// `dots`: where the part of this tile goes, for the entries from columns[first] on; null: none are asked for.
void sum_columns(const SumColumns& job, float* dots, Tile tile, int64_t first, int64_t last, float* room) {
  switch (tile.vectors) {
    case 4: return sum_columns_tile<4>(job, dots, tile.start, first, last, room);
    case 2: return sum_columns_tile<2>(job, dots, tile.start, first, last, room);
    case 1: return sum_columns_tile<1>(job, dots, tile.start, first, last, room);
  }
  for (int64_t f = first; f < last; ++f) {
    float* out = job.out + f * job.width;
    for (int64_t c = tile.start; c < job.width; ++c) out[c] = 0;
    for (int64_t n = job.columns[f]; n < job.columns[f + 1]; ++n) {
      const float* right = job.right + job.rows[n] * job.width;
      float dot = 0;
      for (int64_t c = tile.start; c < job.width; ++c) {
        out[c] += job.weights[n] * right[c];
        if (dots) dot += job.left[f * job.width + c] * right[c];
      }
      if (dots) dots[n - job.columns[first]] = dot;
    }
  }
}
