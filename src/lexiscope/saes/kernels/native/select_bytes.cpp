// A shortlist for a few tokens, as in the generation of text, where reading W is what takes time.
//
// A row w is kept as bytes q and a scale s, w~ = s q; a token x as two bytes for each entry, x~ = t h + u l, so that next
// to nothing of it is lost. x~.w~ = s (t (q.h) + u (q.l)), with sums of whole numbers that are exact. As in
// select_bf16.cpp, for a = x~.w~ + b as computed
//     |a - score| <= |x - x~| |w| + |x~| |w - w~| + G n N + 4u (|b| + |a|) + tiny
// by Cauchy-Schwarz, with u = 2^-24, n and N at least the lengths of x, x~ and w, w~, and G = (2 D + 64) u above the
// rounding of the exact score, of less than (D + 16) u n N, and of the few operations that make a, of less than 16 u n N.
//
// The k largest: the k-th largest (a - error) is a bound from below for the k-th largest score, so that no latent whose
// a + error does not reach it is among them. The others are scored exactly.

#include "select_bytes.h"

#include <cmath>

#if defined(__x86_64__) && (defined(__clang__) ? __clang_major__ >= 7 : __GNUC__ >= 8)
#include <immintrin.h>
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // in the compiler's own headers
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#define BYTE_CODE __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))

namespace lx {

struct Split {
  float high_unit, low_unit;
  int32_t high_sum, low_sum;  // 128 times the sums of its bytes: what the 128 in the codes adds
  float spread, length;       // times the length of a latent, and times what it lost
};

namespace {

constexpr int64_t AHEAD = 8192;  // bytes; processors do not look beyond a page on their own
constexpr float ROUND_UP = 1 + 0x1p-20f;  // above the rounding of the few operations that it multiplies

BYTE_CODE inline __m512 load_part(const float* row, int64_t at, int64_t D) {
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>(D - at >= 16 ? 0xffff : (1u << (D - at)) - 1), row + at);
}

BYTE_CODE inline __m512d add_squares(__m512d sum, __m512 a) {
  const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(a)), high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1));
  return _mm512_fmadd_pd(high, high, _mm512_fmadd_pd(low, low, sum));
}

struct Size {
  float most;  // the largest entry, without its sign
  double full;  // the sum of squares
  bool usable;
};

BYTE_CODE inline Size measure(const float* row, int64_t D) {
  __m512 top = _mm512_setzero_ps();
  __m512d full = _mm512_setzero_pd();
  for (int64_t d = 0; d < D; d += 16) {
    const __m512 part = load_part(row, d, D);
    top = _mm512_max_ps(top, _mm512_abs_ps(part));
    full = add_squares(full, part);
  }
  const double sum = _mm512_reduce_add_pd(full);
  return {_mm512_reduce_max_ps(top), sum, sum == 0 || (sum > 0x1p-100 && sum < 0x1p100)};  // NaN is not
}

// Splits a token into bytes, rows of whole vectors; false: its numbers are too large, too small or none.
BYTE_CODE bool split(const float* x, int64_t D, int64_t row, Split& token, int8_t* high, int8_t* low) {
  const Size size = measure(x, D);
  if (!size.usable) return false;
  const float most = size.most;
  token.high_unit = most / 127;
  token.low_unit = token.high_unit / 250;
  const __m512 t = _mm512_set1_ps(token.high_unit), u = _mm512_set1_ps(token.low_unit);
  const __m512 by_t = _mm512_set1_ps(most != 0 ? 1 / token.high_unit : 0), by_u = _mm512_mul_ps(by_t, _mm512_set1_ps(250));
  __m512d lost = _mm512_setzero_pd();
  __m512i high_sum = _mm512_setzero_si512(), low_sum = high_sum;
  for (int64_t d = 0; d < row; d += 16) {
    const __m512 part = d < D ? load_part(x, d, D) : _mm512_setzero_ps();
    const __m512i h = _mm512_cvtps_epi32(_mm512_mul_ps(part, by_t));
    const __m512 rest = _mm512_fnmadd_ps(t, _mm512_cvtepi32_ps(h), part);
    const __m512i l = _mm512_cvtps_epi32(_mm512_mul_ps(rest, by_u));
    lost = add_squares(lost, _mm512_fnmadd_ps(u, _mm512_cvtepi32_ps(l), rest));
    high_sum = _mm512_add_epi32(high_sum, h);
    low_sum = _mm512_add_epi32(low_sum, l);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(high + d), _mm512_cvtepi32_epi8(h));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(low + d), _mm512_cvtepi32_epi8(l));
  }
  token.high_sum = 128 * _mm512_reduce_add_epi32(high_sum);
  token.low_sum = 128 * _mm512_reduce_add_epi32(low_sum);
  const double entries = static_cast<double>(D);
  const double loss = std::sqrt(_mm512_reduce_add_pd(lost)) * (1 + 0x1p-20) + std::sqrt(entries) * token.high_unit * 0x1p-22;
  const double length = (std::sqrt(size.full) + loss) * (1 + 0x1p-20);
  token.spread = static_cast<float>(loss + (2 * entries + 64) * 0x1p-24 * length) * ROUND_UP;
  token.length = static_cast<float>(length) * ROUND_UP;
  return true;
}

BYTE_CODE void bound_group(const Problem& p, const Bytes& w, int64_t group, const Split& token, const int8_t* bytes,
                           int64_t row, float* below, float* above) {
  __m512i high[4] = {}, low[4] = {};
  const uint8_t* codes = w.codes + group * w.steps * GROUP * 4;
  for (int64_t s = 0; s < w.steps; ++s) {
    int32_t four, finer;
    __builtin_memcpy(&four, bytes + 4 * s, 4);
    __builtin_memcpy(&finer, bytes + row + 4 * s, 4);
    const __m512i h = _mm512_set1_epi32(four), l = _mm512_set1_epi32(finer);
    for (int v = 0; v < 4; ++v) {
      const __m512i q = _mm512_loadu_si512(codes + (4 * s + v) * 64);
      _mm_prefetch(reinterpret_cast<const char*>(codes + (4 * s + v) * 64 + AHEAD), _MM_HINT_T0);
      high[v] = _mm512_dpbusd_epi32(high[v], q, h);
      low[v] = _mm512_dpbusd_epi32(low[v], q, l);
    }
  }
  const float* sizes = w.sizes + group * 3 * GROUP;
  const __m512 tiny = _mm512_set1_ps(static_cast<float>(8 * p.D + 64) * 0x1p-126f), infinite = _mm512_set1_ps(INFINITE);
  for (int v = 0; v < 4; ++v) {
    const int64_t latent = group * GROUP + 16 * v, left = p.F - latent;
    const __mmask16 there = static_cast<__mmask16>(left >= 16 ? 0xffff : left <= 0 ? 0 : (1u << left) - 1);
    const __m512 b = _mm512_maskz_loadu_ps(there, p.b + latent);
    const __m512 coarse = _mm512_cvtepi32_ps(_mm512_sub_epi32(high[v], _mm512_set1_epi32(token.high_sum)));
    const __m512 fine = _mm512_cvtepi32_ps(_mm512_sub_epi32(low[v], _mm512_set1_epi32(token.low_sum)));
    const __m512 sum = _mm512_fmadd_ps(coarse, _mm512_set1_ps(token.high_unit), _mm512_mul_ps(fine, _mm512_set1_ps(token.low_unit)));
    const __m512 a = _mm512_fmadd_ps(sum, _mm512_loadu_ps(sizes + 16 * v), b);
    __m512 error = _mm512_fmadd_ps(_mm512_add_ps(_mm512_abs_ps(a), _mm512_abs_ps(b)), _mm512_set1_ps(0x1p-22f), tiny);
    error = _mm512_fmadd_ps(_mm512_set1_ps(token.spread), _mm512_loadu_ps(sizes + GROUP + 16 * v), error);
    error = _mm512_fmadd_ps(_mm512_set1_ps(token.length), _mm512_loadu_ps(sizes + 2 * GROUP + 16 * v), error);
    error = _mm512_mul_ps(error, _mm512_set1_ps(ROUND_UP));
    const __mmask16 known = there & _mm512_cmp_ps_mask(error, infinite, _CMP_LT_OQ);
    const __m512 lowest = _mm512_set1_ps(-INFINITE);
    _mm512_storeu_ps(below + latent, _mm512_mask_sub_ps(lowest, known, a, error));
    _mm512_storeu_ps(above + latent, _mm512_mask_blend_ps(there, lowest, _mm512_mask_add_ps(infinite, known, a, error)));
  }
}

// Rounds the rows of a group to bytes, and measures them. A row that is no number, or hardly any, gets no bound.
BYTE_CODE void pack_group(const float* W, int64_t F, int64_t D, int64_t group, uint8_t* codes, float* sizes) {
  const int64_t steps = ceil_div(D, 4);
  codes += group * steps * GROUP * 4;
  sizes += group * 3 * GROUP;
  __builtin_memset(codes, 128, steps * GROUP * 4);
  for (int64_t i = 0; i < GROUP; ++i) {
    const int64_t latent = group * GROUP + i;
    sizes[i] = sizes[GROUP + i] = sizes[2 * GROUP + i] = 0;
    if (latent >= F) continue;
    const float* row = W + latent * D;
    const Size size = measure(row, D);
    if (!size.usable) sizes[GROUP + i] = sizes[2 * GROUP + i] = INFINITE;
    if (!size.usable || size.most == 0) continue;
    const float unit = size.most / 127;
    const __m512 by = _mm512_set1_ps(1 / unit);
    __m512d lost = _mm512_setzero_pd();
    for (int64_t d = 0; d < D; d += 16) {
      const __m512 part = load_part(row, d, D);
      const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(part, by));
      lost = add_squares(lost, _mm512_fnmadd_ps(_mm512_set1_ps(unit), _mm512_cvtepi32_ps(q), part));
      uint8_t four[16];
      _mm_storeu_si128(reinterpret_cast<__m128i*>(four), _mm512_cvtepi32_epi8(_mm512_add_epi32(q, _mm512_set1_epi32(128))));
      for (int64_t s = d / 4; s < d / 4 + 4 && s < steps; ++s)
        __builtin_memcpy(codes + (s * GROUP + i) * 4, four + 4 * (s - d / 4), 4);
    }
    const double loss = std::sqrt(_mm512_reduce_add_pd(lost)) * (1 + 0x1p-20) + std::sqrt(static_cast<double>(D)) * unit * 0x1p-22;
    sizes[i] = unit;
    sizes[GROUP + i] = static_cast<float>((std::sqrt(size.full) + loss) * (1 + 0x1p-20)) * ROUND_UP;
    sizes[2 * GROUP + i] = static_cast<float>(loss) * ROUND_UP;
  }
}

// The latents whose bound from above reaches a floor.
BYTE_CODE int64_t reaching(const float* above, int64_t count, float floor, int32_t* latents) {
  int64_t found = 0;
  __m512i places = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  for (int64_t i = 0; i < count; i += 16) {
    const __mmask16 bits = _mm512_cmp_ps_mask(_mm512_loadu_ps(above + i), _mm512_set1_ps(floor), _CMP_GE_OQ);
    if (bits != 0) _mm512_storeu_si512(latents + found, _mm512_maskz_compress_epi32(bits, places));
    found += __builtin_popcount(bits);
    places = _mm512_add_epi32(places, _mm512_set1_epi32(16));
  }
  return found;
}

}  // namespace

bool has_bytes() {
  static const bool supported = __builtin_cpu_supports("avx512vnni");
  return isa() == AVX512 && supported;
}

void pack_bytes(const float* W, int64_t F, int64_t D, uint8_t* codes, float* sizes, int64_t threads) {
  parallel_for(ceil_div(F, GROUP), threads, [&](int64_t group) { pack_group(W, F, D, group, codes, sizes); });
}

Bounds prepare_bounds(const Problem& p, const Bytes& w) {
  Bounds bounds;
  bounds.row = ceil_div(4 * w.steps, 64) * 64;
  bounds.stride = w.groups * GROUP;
  const int64_t split_bytes = ceil_div(p.T * static_cast<int64_t>(sizeof(Split)), 64) * 64;
  char* memory = static_cast<char*>(
      keep(FEW, split_bytes + p.T * (2 * bounds.row + 2 * bounds.stride * static_cast<int64_t>(sizeof(float)) + 1)));
  bounds.tokens = reinterpret_cast<Split*>(memory);
  bounds.bytes = reinterpret_cast<int8_t*>(memory + split_bytes);
  bounds.below = reinterpret_cast<float*>(bounds.bytes + 2 * p.T * bounds.row);
  bounds.above = bounds.below + p.T * bounds.stride;
  bounds.usable = reinterpret_cast<bool*>(bounds.above + p.T * bounds.stride);
  for (int64_t t = 0; t < p.T; ++t) {
    int8_t* bytes = bounds.bytes + 2 * t * bounds.row;
    bounds.usable[t] = split(p.x + t * p.D, p.D, bounds.row, bounds.tokens[t], bytes, bytes + bounds.row);
  }
  return bounds;
}

void find_bounds(const Problem& p, const Bytes& w, const Bounds& bounds, int64_t begin, int64_t end, int64_t threads) {
  constexpr int64_t together = 8;
  parallel_for(ceil_div(end - begin, together), threads, [&](int64_t chunk) {
    for (int64_t group = begin + chunk * together; group < end && group < begin + (chunk + 1) * together; ++group)
      for (int64_t t = 0; t < p.T; ++t)
        if (bounds.usable[t])
          bound_group(p, w, group, bounds.tokens[t], bounds.bytes + 2 * t * bounds.row, bounds.row,
                      bounds.below + t * bounds.stride, bounds.above + t * bounds.stride);
  });
}

Candidates candidates(const Problem& p, const Bounds& bounds, int64_t t) {
  const float *below = bounds.below + t * bounds.stride, *above = bounds.above + t * bounds.stride;
  char* memory = static_cast<char*>(keep(FEW_PAIRS, bounds.stride * (sizeof(Entry) + 2 * sizeof(int32_t) + sizeof(float)) + 256));
  Entry* entries = reinterpret_cast<Entry*>(memory);
  int32_t* latents = reinterpret_cast<int32_t*>(entries + bounds.stride);
  int64_t count = 0;
  if (p.floor == nullptr) {
    float least = p.k < p.F ? kth_largest(below, p.F, p.k) : 0;
    count = reaching(above, bounds.stride, least > 0 ? least : 0, latents);
  } else {
    for (int64_t f = 0; f < p.F; ++f) {
      latents[count] = static_cast<int32_t>(f);
      count += above[f] >= p.floor[f];
    }
  }
  int32_t* rows = latents + bounds.stride + 16;
  float* scores = reinterpret_cast<float*>(rows + count);
  for (int64_t i = 0; i < count; ++i) rows[i] = 0;
  const int32_t token = static_cast<int32_t>(t);
  score_pairs(p, &token, rows, latents, scores, count);
  for (int64_t i = 0; i < count; ++i) entries[i] = {scores[i], latents[i]};
  return {entries, count};
}

}  // namespace lx

#else

namespace lx {
bool has_bytes() { return false; }
void pack_bytes(const float*, int64_t, int64_t, uint8_t*, float*, int64_t) {}
Bounds prepare_bounds(const Problem&, const Bytes&) { return {}; }
void find_bounds(const Problem&, const Bytes&, const Bounds&, int64_t, int64_t, int64_t) {}
Candidates candidates(const Problem&, const Bounds&, int64_t) { return {}; }
}  // namespace lx

#endif
