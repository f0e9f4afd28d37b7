// Products of float32 matrices on AMX tiles, which multiply bfloat16 and add in float32.
//
// Every entry is cut into three bfloat16 that add up to it: v = hi + mid + lo, each what is left rounded to nearest, so
// that |mid| <= 2^-8 |v| and |lo| <= 2^-16 |v|. Of the nine products of two entries six are added up,
//     lo.hi + mid.hi + mid.mid + hi.mid + hi.hi + hi.lo;
// with u = 2^-24, the others are no more than 2.01 u |a b|, and the six together below 1.016 |a b|. A tile instruction
// adds up 32 products and the sum so far, in fused steps; 6 of them take 32 summands, and sums start anew after 512.
// No product is thus rounded more than 32 + 6 min(K / 32, 16) + K / 512 times (quotients rounded up), and
//     |error| < (40 + 7 min(K / 32, 16) + 2 K / 512) u (sum |a b| + |beta plus|),
// from K = 64 on less than the K u of a plain sum in float32. Tiles flush to zero what is below 2^-126, be it part,
// product or sum: K 2^-123 + 2^-124 sum (|a| + |b|) more at most. Entries from 2^128 - 2^119 on count as infinite, and
// an infinity or NaN gives infinities or NaN, not always the same one as float32 would.
//
// How rows are divided among threads has no influence on the result.
#include "amx.h"
#include "select_bf16.h"

#if defined(LX_HAS_AMX_COMPILER)

namespace lx {
namespace {

constexpr int64_t SIDE = 32;              // rows of A (columns of B) in a panel: two tiles
constexpr int64_t PART = SIDE * STEP;     // numbers in a step of one part: hi, mid or lo
constexpr int64_t SPLIT_STEP = 3 * PART;  // in a step of all three
constexpr int64_t DEPTH = 16;             // steps between two visits to the target
constexpr int64_t ROWS = 8;               // panels of A, 768 KB in parts, that a thread multiplies with all of B

// A matrix with `length` rows (of A) or columns (of B) to be multiplied over K summands. Summands lie side by side, or
// those of different rows do.
struct Source {
  const float* data;
  int64_t length, K;
  bool along_K;
};

// ---- entries in three parts ----------------------------------------------------------------------------------------

struct Parts {
  __m512i at[3];
};

// Sixteen pairs of summands, `low` and `high`, in parts.
VECTOR_CODE INLINE Parts split(__m512 low, __m512 high) {
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000)), half = _mm512_set1_epi32(0x8000);
  Parts parts;
  for (int p = 0; p < 3; ++p) {
    // What is left after two parts fits into the third as it is. Rounded up, some NaN would become zero.
    const __m512i to_low = p < 2 ? _mm512_add_epi32(_mm512_castps_si512(low), half) : _mm512_castps_si512(low);
    const __m512i to_high = p < 2 ? _mm512_add_epi32(_mm512_castps_si512(high), half) : _mm512_castps_si512(high);
    parts.at[p] = _mm512_ternarylogic_epi32(upper, to_high, _mm512_srli_epi32(to_low, 16), 0xca);
    low = _mm512_sub_ps(low, _mm512_castsi512_ps(_mm512_and_si512(to_low, upper)));
    high = _mm512_sub_ps(high, _mm512_castsi512_ps(_mm512_and_si512(to_high, upper)));
  }
  return parts;
}

INLINE __mmask16 first_lanes(int64_t count) {
  return count >= 16 ? 0xffff : count <= 0 ? 0 : static_cast<__mmask16>((1u << count) - 1);
}

// Sixteen rows from row `i` on, with 32 summands from summand `k` on, of which k + j and k + j + 16 are a pair: rows of
// pairs if they lie so in memory (along_K), else pairs of rows; or, if TURN, the other way round.
template <bool TURN>
VECTOR_CODE INLINE void pack_tile(const Source& source, int64_t i, int64_t k, uint16_t* out) {
  const bool along = source.along_K;
  const int64_t width = along ? source.K : source.length, rows = along ? source.length - i : source.K - k;
  const float* row = source.data + (along ? i * width + k : k * width + i);
  const float* other = row + (along ? 16 : 16 * width);
  const __mmask16 low = first_lanes(along ? width - k : width - i), high = along ? first_lanes(width - k - 16) : low;
  const int64_t high_rows = along ? rows : rows - 16;
  alignas(64) float turned[2][16][16];
  if (TURN) {
    __m512i r[16];
    for (int64_t j = 0; j < 16; ++j) r[j] = (__m512i)_mm512_maskz_loadu_ps(j < rows ? low : 0, row + j * width);
    transpose16(r);
    for (int64_t j = 0; j < 16; ++j) _mm512_store_si512(turned[0][j], r[j]);
    for (int64_t j = 0; j < 16; ++j)
      r[j] = (__m512i)_mm512_maskz_loadu_ps(j < high_rows ? high : 0, other + j * width);
    transpose16(r);
    for (int64_t j = 0; j < 16; ++j) _mm512_store_si512(turned[1][j], r[j]);
  }
  for (int64_t j = 0; j < 16; ++j) {
    const Parts parts = TURN ? split(_mm512_load_ps(turned[0][j]), _mm512_load_ps(turned[1][j]))
                             : split(_mm512_maskz_loadu_ps(j < rows ? low : 0, row + j * width),
                                     _mm512_maskz_loadu_ps(j < high_rows ? high : 0, other + j * width));
    for (int p = 0; p < 3; ++p) _mm512_store_si512(out + p * PART + j * 32, parts.at[p]);
  }
}

// tiles[panel, step, part, half, 16 units, 16 units, 2] of the panels begin..end-1, summands from k on, in the order in
// which they lie in memory.
VECTOR_CODE __attribute__((noinline)) void pack(const Source& source, bool turn, int64_t begin, int64_t end, int64_t k,
                                                int64_t steps, uint16_t* tiles) {
  const int64_t panels = end - begin;
  for (int64_t n = 0; n < panels * steps; ++n) {
    const int64_t panel = source.along_K ? n / steps : n % panels, step = source.along_K ? n % steps : n / panels;
    uint16_t* out = tiles + (panel * steps + step) * SPLIT_STEP;
    for (int64_t half = 0; half < 2; ++half) {
      const int64_t i = (begin + panel) * SIDE + half * 16;
      if (turn)
        pack_tile<true>(source, i, k + step * STEP, out + half * 512);
      else
        pack_tile<false>(source, i, k + step * STEP, out + half * 512);
    }
  }
}

// ---- products ------------------------------------------------------------------------------------------------------

// What becomes of the sums: out[M, N] = beta plus + A.B.
struct Target {
  float* out;
  const float* plus;
  int64_t M, N, plus_stride;  // stride 0: the same row for all
  float beta;
};

// SIDE x SIDE sums, [2 halves of the rows, 2 of the columns, 16, 16], that go to the target while the next are
// computed: its lines come from afar. `done` counts rows.
struct Sums {
  alignas(64) float at[SIDE * SIDE];
  int64_t row, column, done = SIDE;
};

VECTOR_CODE INLINE void finish_row(const Target& target, Sums& sums) {
  const int64_t row = sums.row + sums.done;
  const float* from = sums.at + sums.done / 16 * 512 + sums.done % 16 * 16;
  ++sums.done;
  if (row >= target.M) return;
  for (int64_t half = 0; half < 2; ++half) {
    const int64_t column = sums.column + half * 16;
    const __mmask16 lanes = first_lanes(target.N - column);
    __m512 sum = _mm512_load_ps(from + half * 256);
    if (target.beta != 0) {
      const __m512 plus = _mm512_maskz_loadu_ps(lanes, target.plus + row * target.plus_stride + column);
      sum = _mm512_fmadd_ps(_mm512_set1_ps(target.beta), plus, sum);
    }
    _mm512_mask_storeu_ps(target.out + row * target.N + column, lanes, sum);
  }
}

// Makes room in cache for the row that finish_row() will write.
INLINE void prepare_row(const Target& target, int64_t row, int64_t column) {
  const float* out = target.out + (row < target.M ? row : target.M - 1) * target.N + column;
  __builtin_prefetch(out, 1);
  __builtin_prefetch(out + SIDE / 2, 1);
  __builtin_prefetch(out + SIDE - 1, 1);
}

// The four products of two tiles of A in registers 4 and 5 with two of B in 6 and 7. Those of A stream from the second
// level of cache, those of B stay in the first.
#define LOAD_A(part)                            \
  _tile_stream_loadd(4, a + part * PART, 64); \
  _tile_stream_loadd(5, a + part * PART + 512, 64);
#define LOAD_B(part)                     \
  _tile_loadd(6, b + part * PART, 64); \
  _tile_loadd(7, b + part * PART + 512, 64);
#define MULTIPLY             \
  _tile_dpbf16ps(0, 4, 6); \
  _tile_dpbf16ps(1, 4, 7); \
  _tile_dpbf16ps(2, 5, 6); \
  _tile_dpbf16ps(3, 5, 7);

// Sums of a panel of A and one of B over some steps. Meanwhile `waiting` goes to the target, and `lines` lines from
// `next` on are fetched at each step.
TILE_CODE INLINE void multiply(const Target& target, const uint16_t* a, const uint16_t* b, int64_t steps, Sums& sums,
                               Sums& waiting, const char* next, int64_t lines) {
  const int64_t rows = ceil_div(SIDE, steps);
  int64_t row = 0;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t s = 0; s < steps; ++s, a += SPLIT_STEP, b += SPLIT_STEP) {
    LOAD_A(2) LOAD_B(0) MULTIPLY  // lo.hi
    for (int64_t line = 0; line < lines; ++line, next += 64) _mm_prefetch(next, _MM_HINT_T1);
    LOAD_A(1) MULTIPLY            // mid.hi
    for (int64_t r = 0; r < rows && row < SIDE; ++r, ++row) prepare_row(target, sums.row + row, sums.column);
    LOAD_B(1) MULTIPLY            // mid.mid
    for (int64_t r = 0; r < rows && waiting.done < SIDE; ++r) finish_row(target, waiting);
    LOAD_A(0) MULTIPLY            // hi.mid
    LOAD_B(0) MULTIPLY            // hi.hi
    LOAD_B(2) MULTIPLY            // hi.lo
  }
  _tile_stored(0, sums.at, 64);
  _tile_stored(1, sums.at + 256, 64);
  _tile_stored(2, sums.at + 512, 64);
  _tile_stored(3, sums.at + 768, 64);
  __asm__ volatile("" ::: "memory");  // the compiler does not know that tile instructions read and write memory
  sums.done = 0;
}
#undef LOAD_A
#undef LOAD_B
#undef MULTIPLY

// Rows of a block: `a` its panels, `b` all of B, both over the same steps.
TILE_CODE __attribute__((noinline)) void multiply_block(const Target& target, const uint16_t* a, const uint16_t* b,
                                                        int64_t begin, int64_t end, int64_t steps) {
  Sums sums[2];
  TileConfig before, config;
  for (int i = 0; i < 8; ++i) config.row_bytes[i] = 64, config.rows[i] = 16;
  _tile_storeconfig(&before);  // other libraries rely on theirs
  _tile_loadconfig(&config);
  const int64_t columns = ceil_div(target.N, SIDE), size = steps * SPLIT_STEP;
  const int64_t lines = ceil_div(SPLIT_STEP * sizeof(uint16_t) / 64, end - begin);  // of the next panel, at each step
  int64_t n = 0;
  __asm__ volatile("" ::: "memory");
  for (int64_t j = 0; j < columns; ++j)
    for (int64_t i = begin; i < end; ++i, ++n) {
      const char* next = reinterpret_cast<const char*>(b + (j + 1) * size) + (i - begin) * lines * steps * 64;
      Sums &now = sums[n % 2], &waiting = sums[(n + 1) % 2];
      now.row = i * SIDE;
      now.column = j * SIDE;
      multiply(target, a + (i - begin) * size, b + j * size, steps, now, waiting, next, lines);
    }
  for (Sums& last : sums)
    while (last.done < SIDE) finish_row(target, last);
  _tile_loadconfig(&before);
}

uint16_t* room(Use use, int64_t numbers) {
  constexpr size_t page = 2 << 20;  // from which on there are large pages
  const size_t bytes = numbers * sizeof(uint16_t);
  return static_cast<uint16_t*>(keep(use, bytes > page ? bytes : page));
}

void product(Target target, const Source& a, const Source& b, int64_t threads) {
  const int64_t rows = ceil_div(a.length, SIDE), columns = ceil_div(b.length, SIDE);
  const int64_t all = a.K > STEP ? ceil_div(a.K, STEP) : 1, depth = ceil_div(all, ceil_div(all, DEPTH));
  const int64_t blocks = ceil_div(ceil_div(rows, ROWS), threads) * threads;
  const int64_t share = ceil_div(columns, 2 * threads), group = share < ROWS ? share : ROWS;
  for (int64_t at = 0; at < all; at += depth) {
    const int64_t steps = at + depth < all ? depth : all - at, size = steps * SPLIT_STEP;
    uint16_t* right = room(W_TILES, columns * size);
    parallel_for(ceil_div(columns, group), threads, [&](int64_t n) {
      const int64_t begin = n * group, end = begin + group < columns ? begin + group : columns;
      pack(b, b.along_K, begin, end, at * STEP, steps, right + begin * size);
    });
    parallel_for(blocks, threads, [&](int64_t n) {
      const int64_t begin = n * rows / blocks, end = (n + 1) * rows / blocks;
      if (begin == end) return;
      uint16_t* left = room(X_TILES, (end - begin) * size);
      pack(a, !a.along_K, begin, end, at * STEP, steps, left);
      multiply_block(target, left, right, begin, end, steps);
    });
    target.plus = target.out;
    target.plus_stride = target.N;
    target.beta = 1;
  }
}

}  // namespace
}  // namespace lx

// out[M, N] = beta plus + A.B. plus has rows of N, or is one row for all if its stride is 0; it is not read if beta is
// 0. A is [M, K] or, turned, [K, M]; B is [K, N] or [N, K]. out may be plus, and overlaps nothing else.
LX_API void lx_gemm(float* out, const float* plus, const float* A, const float* B, int64_t M, int64_t N, int64_t K,
                    int64_t A_turned, int64_t B_turned, int64_t plus_stride, double beta, int64_t threads) {
  if (M <= 0 || N <= 0) return;
  const lx::Target target{out, plus, M, N, plus_stride, static_cast<float>(beta)};
  lx::product(target, {A, M, K, A_turned == 0}, {B, N, K, B_turned != 0}, threads > 1 ? threads : 1);
}

#else

LX_API void lx_gemm(float*, const float*, const float*, const float*, int64_t, int64_t, int64_t, int64_t, int64_t,
                    int64_t, double, int64_t) {}

#endif

// Whether lx_gemm can be called.
LX_API int64_t lx_has_gemm(int64_t) { return lx::shortlist() == lx::TILES; }
