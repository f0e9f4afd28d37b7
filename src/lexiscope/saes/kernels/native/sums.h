// Sums of products over columns of a table, for files that each_isa.h includes. No include guard: one copy per set.

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

// The dot product of two rows, its lanes not added yet.
inline V product(const float* a, const float* b, int64_t width) {
  const int64_t whole = width / (2 * L) * (2 * L);
  V even = V{}, odd = V{};
  for (int64_t c = 0; c < whole; c += 2 * L) {
    even += load(a + c) * load(b + c);
    odd += load(a + c + L) * load(b + c + L);
  }
  V sum = even + odd;
  for (int64_t c = whole; c < width; ++c) sum[(c - whole) % L] += a[c] * b[c];
  return sum;
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

// NV vectors of every row of a table, copied to lie side by side.
template <int NV>
inline void pack(const float* table, int64_t width, int64_t num_rows, float* tile) {
  for (int64_t r = 0; r < num_rows; ++r)
    for (int j = 0; j < NV; ++j) store(tile + (r * NV + j) * L, load(table + r * width + j * L));
}
