// A shortlist of latents from bfloat16 scores that cannot miss one.
//
// Let x~, w~ be bfloat16 copies and a = x~.w~ + b as computed. Then
//     |a - score| <= |x - x~| |w| + |x~| |w - w~| + G |x| |w| + 4u (|b| + |floor|) + tiny
// by Cauchy-Schwarz (x.w - x~.w~ = (x - x~).w + x~.(w - w~)), with u = 2^-24 and G = (2 D + 64) u above the rounding of
// both sums, which holds for any order of summation: a sum of D exact products of bfloat16, and one of D fused or rounded
// products, are each off by less than (D + 16) u times the sum of |products|, and that is at most |x| |w| up to 1%.
// tiny covers what is flushed to zero. The four norms are exact for each token and latent, rounded up; a panel of latents
// is filtered with its largest ones, its survivors each with their own.
//
// The k largest: a guess of a floor from a sample of the latents keeps lists short. The k-th largest (a - error) is a
// bound from below for the k-th largest score; if it reaches the guess, no latent of the k largest was left out, and
// those whose a + error does not reach it are not among them. Otherwise, or where numbers are too large or too many come
// close, the token is scored exactly.

#include "select_bf16.h"

#include <cmath>
#include <cstdlib>
#include <cstring>

#include "amx.h"

#if defined(LX_HAS_AMX_COMPILER)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace lx {
namespace {

Shortlist detect() {
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a >> 5 & 1)) return NONE;
  constexpr int request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1) && (d >> 24 & 1) &&
      syscall(SYS_arch_prctl, request_permission, tile_data) == 0)
    return TILES;
  return VECTORS;
}

Shortlist limit = TILES;

// ---- bounds --------------------------------------------------------------------------------------------------------

constexpr float ROUND_UP = 1 + 0x1p-20f;  // above the rounding of the few operations that it multiplies
constexpr double TOO_LARGE = 0x1p60;      // products of two norms below it cannot overflow
constexpr float HOPELESS = 0x1p126f;      // a floor that no score reaches

INLINE float bound(double value, int64_t D) {  // above value, whatever was flushed to zero
  return value < TOO_LARGE ? static_cast<float>(value) * ROUND_UP + static_cast<float>(D) * 0x1p-126f : INFINITE;
}

double rounding(int64_t D) { return static_cast<double>(2 * D + 64) * 0x1p-24; }

VECTOR_CODE INLINE __m512 load_row(const float* row, int64_t at, int64_t D) {
  const int64_t left = D - at;
  if (left >= 16) return _mm512_loadu_ps(row + at);
  return left <= 0 ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << left) - 1), row + at);
}

struct Norms {
  double full, lost;  // of the row, and of what rounding took away
  double copy() const { return full + lost; }
};

VECTOR_CODE INLINE __m512d add_squares(__m512d sum, __m512 a) {
  const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(a)), high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1));
  return _mm512_fmadd_pd(high, high, _mm512_fmadd_pd(low, low, sum));
}

// In double precision no square of a float overflows or vanishes.
VECTOR_CODE __attribute__((noinline)) Norms measure_precisely(const float* row, int64_t D) {
  __m512d full = _mm512_setzero_pd(), lost = full;
  for (int64_t d = 0; d < D; d += 16) {
    const __m512 a = load_row(row, d, D);
    full = add_squares(full, a);
    lost = add_squares(lost, _mm512_sub_ps(a, widened((__m256i)_mm512_cvtneps_pbh(a))));
  }
  return {std::sqrt(_mm512_reduce_add_pd(full)), std::sqrt(_mm512_reduce_add_pd(lost))};
}

// Rounds a row to bfloat16, STEP entries at a time to out, out + stride, ..., and measures it.
VECTOR_CODE INLINE Norms round_row(const float* row, int64_t D, uint16_t* out, int64_t stride) {
  __m512 full_a = _mm512_setzero_ps(), full_b = full_a, lost_a = full_a, lost_b = full_a;
  for (int64_t d = 0; d < D; d += STEP, out += stride) {
    const __m512 a = load_row(row, d, D), b = load_row(row, d + 16, D);
    const __m512i rounded = (__m512i)_mm512_cvtne2ps_pbh(b, a);
    _mm512_store_si512(out, rounded);
    const __m512 off_a = _mm512_sub_ps(a, widened(_mm512_castsi512_si256(rounded)));  // exact
    const __m512 off_b = _mm512_sub_ps(b, widened(_mm512_extracti64x4_epi64(rounded, 1)));
    full_a = _mm512_fmadd_ps(a, a, full_a);
    full_b = _mm512_fmadd_ps(b, b, full_b);
    lost_a = _mm512_fmadd_ps(off_a, off_a, lost_a);
    lost_b = _mm512_fmadd_ps(off_b, off_b, lost_b);
  }
  const double full = _mm512_reduce_add_ps(_mm512_add_ps(full_a, full_b));
  const double lost = _mm512_reduce_add_ps(_mm512_add_ps(lost_a, lost_b));
  if (!(full > 0x1p-60 && full < 0x1p100)) return measure_precisely(row, D);
  const double rounding = 1 + static_cast<double>(D / STEP + 16) * 0x1p-23, flushed = static_cast<double>(D) * 0x1p-120;
  return {std::sqrt(full * rounding), std::sqrt(lost * rounding + flushed)};
}

VECTOR_CODE void pack_panel(const Problem& p, const Latents& w, int64_t panel) {
  float top_norm = 0, top_loss = 0;
  for (int64_t i = 0; i < PANEL; ++i) {
    const int64_t latent = panel * PANEL + i;
    uint16_t* out = w.tiles + (panel * w.steps * PANEL + i) * STEP;
    float &norm = w.norm[latent], &loss = w.loss[latent];
    if (latent >= p.F) {
      for (int64_t s = 0; s < w.steps; ++s) std::memset(out + s * PANEL * STEP, 0, STEP * sizeof(uint16_t));
      norm = loss = 0;
      continue;
    }
    const Norms norms = round_row(p.W + latent * p.D, p.D, out, PANEL * STEP);
    norm = bound(norms.full, p.D);
    loss = bound(norms.lost, p.D);
    if (!(norm < INFINITE)) norm = loss = INFINITE;
    top_norm = norm > top_norm ? norm : top_norm;
    top_loss = loss > top_loss ? loss : top_loss;
  }
  w.top_norm[panel] = top_norm * ROUND_UP;
  w.top_loss[panel] = top_loss * ROUND_UP;
}

// ---- a block of tokens ---------------------------------------------------------------------------------------------

struct Block {
  const Problem& p;
  const Latents& w;
  const int32_t* tokens;
  int64_t n, pairs;   // PANEL tokens each
  uint16_t* tiles;    // [pairs, steps, 2, 16 pairs of entries, 16 tokens, 2]
  float *spread, *length;  // [pairs * PANEL]
  float* guess;            // [pairs * PANEL]
  float* sums;             // [pairs, 2, 2, 16 latents, 16 tokens]
  float* log_scores;       // [LOG_LENGTH] of what passed the filter and is not on the lists yet
  uint32_t* log_places;
  int64_t logged;
  Lists lists;
};

VECTOR_CODE void pack_tokens(Block& block) {
  const int64_t D = block.p.D, steps = block.w.steps;
  uint16_t* rows = static_cast<uint16_t*>(keep(BOUNDS, TILE * steps * STEP * sizeof(uint16_t)));
  for (int64_t tile = 0; tile < 2 * block.pairs; ++tile) {
    for (int64_t r = 0; r < TILE; ++r) {
      const int64_t i = tile * TILE + r;
      uint16_t* row = rows + r * steps * STEP;
      Norms norms{0, 0};
      if (i < block.n) norms = round_row(block.p.x + block.tokens[i] * D, D, row, STEP);
      const bool usable = i < block.n && norms.copy() < TOO_LARGE;
      if (!usable) std::memset(row, 0, steps * STEP * sizeof(uint16_t));
      block.spread[i] = usable ? bound(norms.lost + rounding(D) * norms.copy(), D) : 0;
      block.length[i] = usable ? bound(norms.copy(), D) : 0;
      block.lists.floor[i] = usable ? 0 : HOPELESS;
      block.guess[i] = 0;
    }
    for (int64_t s = 0; s < steps; ++s) {
      __m512i r[16];
      for (int64_t i = 0; i < 16; ++i) r[i] = _mm512_loadu_si512(rows + (i * steps + s) * STEP);
      transpose16(r);
      uint16_t* out = block.tiles + (((tile / 2) * steps + s) * 2 + tile % 2) * 512;
      for (int64_t i = 0; i < 16; ++i) _mm512_storeu_si512(out + i * 32, r[i]);
    }
  }
}

// Bounds of the scores of a list: from below and from above, padded to whole vectors with minus infinity.
VECTOR_CODE void bounds(const Block& block, int64_t token, float* below, float* above) {
  const Entry* entries = block.lists.of(token);
  const int64_t count = block.lists.count[token];
  const __m512 spread = _mm512_set1_ps(block.spread[token]), length = _mm512_set1_ps(block.length[token]);
  const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  const __m512 infinite = _mm512_set1_ps(INFINITE), lowest = _mm512_set1_ps(-INFINITE);
  for (int64_t i = 0; i < count; i += 16) {
    const __mmask16 here = count - i >= 16 ? 0xffff : static_cast<__mmask16>((1u << (count - i)) - 1);
    const uint32_t words = count - i >= 16 ? 0xffffffffu : (1u << 2 * (count - i)) - 1;
    const __m512i first = _mm512_maskz_loadu_epi32(static_cast<__mmask16>(words), entries + i);
    const __m512i second = _mm512_maskz_loadu_epi32(static_cast<__mmask16>(words >> 16), entries + i + 8);
    const __m512 score = _mm512_castsi512_ps(_mm512_permutex2var_epi32(first, even, second));
    const __m512i latent = _mm512_permutex2var_epi32(first, odd, second);
    __m512 error = _mm512_i32gather_ps(latent, block.w.slack, 4);
    error = _mm512_fmadd_ps(length, _mm512_i32gather_ps(latent, block.w.loss, 4), error);
    error = _mm512_fmadd_ps(spread, _mm512_i32gather_ps(latent, block.w.norm, 4), error);
    error = _mm512_fmadd_ps(_mm512_abs_ps(score), _mm512_set1_ps(0x1p-22f), error);
    error = _mm512_mul_ps(error, _mm512_set1_ps(ROUND_UP));
    const __mmask16 known = here & _mm512_cmp_ps_mask(error, infinite, _CMP_LT_OQ);
    _mm512_storeu_ps(below + i, _mm512_mask_sub_ps(lowest, known, score, error));
    _mm512_storeu_ps(above + i, _mm512_mask_blend_ps(here, lowest, _mm512_mask_add_ps(infinite, known, score, error)));
  }
}

// Drops what cannot be wanted any more; -1 if the guess turns out too high, else how many are left.
VECTOR_CODE int64_t tighten(const Block& block, int64_t token, bool last) {
  Entry* entries = block.lists.of(token);
  const int64_t count = block.lists.count[token], k = block.p.k;
  const int64_t padded = ceil_div(count, 16) * 16;
  float* below = static_cast<float*>(keep(BOUNDS, 2 * (padded + 16) * sizeof(float)));
  float* above = below + padded + 16;
  bounds(block, token, below, above);
  float floor = 0;
  if (block.p.floor == nullptr) {
    const float kth = count >= k ? kth_largest(below, count, k) : -INFINITE;
    if (last && block.guess[token] > 0 && !(kth >= block.guess[token])) return -1;
    if (kth > floor) floor = kth;
    if (kth > block.lists.floor[token]) block.lists.floor[token] = kth;
  }
  int64_t left = 0;
  for (int64_t i = 0; i < count; i += 16) {  // what is above[i...] beyond the count is minus infinity
    const uint32_t keep_bits = _mm512_cmp_ps_mask(_mm512_loadu_ps(above + i), _mm512_set1_ps(floor), _CMP_GE_OQ);
    const __m512i first = _mm512_loadu_si512(entries + i), second = _mm512_loadu_si512(entries + i + 8);
    _mm512_storeu_si512(entries + left, _mm512_maskz_compress_epi64(keep_bits & 0xff, first));
    left += __builtin_popcount(keep_bits & 0xff);
    if (i + 8 >= count) break;  // no room there
    _mm512_storeu_si512(entries + left, _mm512_maskz_compress_epi64(keep_bits >> 8, second));
    left += __builtin_popcount(keep_bits >> 8);
  }
  return left;
}

__attribute__((noinline)) void make_room(Block& block, int64_t token) {
  Lists& lists = block.lists;
  bool hopeless = lists.floor[token] == HOPELESS;
  if (!hopeless && block.p.floor != nullptr) {
    hopeless = lists.capacity > block.p.F / 3;
    if (!hopeless) return widen(lists);
  }
  if (!hopeless) {
    lists.count[token] = static_cast<int32_t>(tighten(block, token, false));
    hopeless = lists.count[token] > lists.capacity / 4 * 3;
  }
  if (!hopeless) return;
  lists.floor[token] = HOPELESS;
  lists.count[token] = static_cast<int32_t>(lists.capacity - 1);
}

#include "select_walk.h"

// Exact scores for what is left on the lists, latent by latent, so that each row of W is read once.
Shortlisted rescore(Block& block) {
  const Problem& p = block.p;
  int64_t total = 0, num_redo = 0;
  int32_t* redo = static_cast<int32_t*>(keep(REDO, block.n * sizeof(int32_t)));
  for (int64_t token = 0; token < block.n; ++token) {
    int64_t left = block.lists.floor[token] == HOPELESS ? -1 : tighten(block, token, true);
    if (left < 0) redo[num_redo++] = static_cast<int32_t>(token), left = 0;
    block.lists.count[token] = static_cast<int32_t>(left);
    total += left;
  }
  // every list in one piece, and its places sorted by latent
  char* memory = static_cast<char*>(keep(
      SORTED, total * (sizeof(Entry) + 4 * sizeof(int32_t)) + (block.n + 1) * sizeof(int64_t) + (p.F + 1) * sizeof(int32_t)));
  Entry* entries = reinterpret_cast<Entry*>(memory);
  int64_t* start = reinterpret_cast<int64_t*>(entries + total);
  int32_t* place = reinterpret_cast<int32_t*>(start + block.n + 1);
  int32_t *row = place + total, *latent = row + total;
  float* scores = reinterpret_cast<float*>(latent + total);
  int32_t* at = reinterpret_cast<int32_t*>(scores + total);
  std::memset(at, 0, (p.F + 1) * sizeof(int32_t));
  start[0] = 0;
  for (int64_t token = 0; token < block.n; ++token) {
    const int64_t count = block.lists.count[token];
    const Entry* from = block.lists.of(token);
    Entry* to = entries + start[token];
    for (int64_t i = 0; i < count; ++i) {
      to[i] = from[i];
      ++at[from[i].latent + 1];
    }
    start[token + 1] = start[token] + count;
  }
  for (int64_t f = 0; f < p.F; ++f) at[f + 1] += at[f];
  for (int64_t token = 0; token < block.n; ++token)
    for (int64_t i = start[token]; i < start[token + 1]; ++i) {
      const int32_t sorted = at[entries[i].latent]++;
      place[sorted] = static_cast<int32_t>(i);
      row[sorted] = static_cast<int32_t>(token);
      latent[sorted] = entries[i].latent;
    }
  score_pairs(p, block.tokens, row, latent, scores, total);
  for (int64_t i = 0; i < total; ++i) entries[place[i]].score = scores[i];
  return {entries, start, redo, num_redo};
}

}  // namespace

Shortlist shortlist() {
  static const Shortlist best = isa() == AVX512 ? detect() : NONE;
  return isa() < AVX512 ? NONE : best < limit ? best : limit;
}

void limit_shortlist(int64_t most) { limit = most < TILES ? static_cast<Shortlist>(most) : TILES; }

Latents pack_latents(const Problem& p, int64_t threads) {
  Latents w;
  w.panels = ceil_div(p.F, PANEL);
  w.steps = ceil_div(p.D, STEP);
  const int64_t padded = w.panels * PANEL, tiles = padded * w.steps * STEP;
  char* memory = static_cast<char*>(keep(W_TILES, tiles * sizeof(uint16_t) + (4 * padded + 3 * w.panels) * sizeof(float)));
  w.tiles = reinterpret_cast<uint16_t*>(memory);
  w.norm = reinterpret_cast<float*>(memory + tiles * sizeof(uint16_t));
  w.loss = w.norm + padded;
  w.slack = w.loss + padded;
  w.bias = w.slack + padded;
  w.top_norm = w.bias + padded;
  w.top_loss = w.top_norm + w.panels;
  w.top_slack = w.top_loss + w.panels;
  constexpr int64_t together = 8;
  parallel_for(ceil_div(w.panels, together), threads, [&](int64_t chunk) {
    for (int64_t panel = chunk * together; panel < w.panels && panel < (chunk + 1) * together; ++panel)
      pack_panel(p, w, panel);
  });
  set_floors(p, w);
  return w;
}

void set_floors(const Problem& p, Latents& w) {
  for (int64_t panel = 0; panel < w.panels; ++panel) {
    float top = 0;
    for (int64_t latent = panel * PANEL; latent < (panel + 1) * PANEL; ++latent) {
      const bool there = latent < p.F;
      const float floor = there && p.floor != nullptr ? p.floor[latent] : 0;
      const float size = there ? std::fabs(p.b[latent]) + std::fabs(floor) : 0;
      const float slack = size * 0x1p-22f + static_cast<float>(8 * p.D + 64) * 0x1p-126f;
      w.slack[latent] = slack < 0x1p100f ? slack : INFINITE;
      w.bias[latent] = there ? p.b[latent] - floor : -INFINITE;
      top = w.slack[latent] > top ? w.slack[latent] : top;
    }
    w.top_slack[panel] = top * ROUND_UP;
  }
}

int64_t tokens_per_block(const Problem& p) {
  const int64_t fit = (1088 << 10) / (ceil_div(p.D, STEP) * STEP * sizeof(uint16_t)) / PANEL * PANEL;
  return fit > PAIRS * PANEL ? PAIRS * PANEL : fit < PANEL ? PANEL : fit;
}

Shortlisted shorten(const Problem& p, const Latents& w, const int32_t* tokens, int64_t n) {
  const int64_t pairs = ceil_div(n, PANEL), padded = pairs * PANEL;
  const int64_t tile_bytes = pairs * w.steps * 2048, sum_bytes = (pairs + 1) * SUMS * sizeof(float);
  char* memory = static_cast<char*>(keep(X_TILES, tile_bytes + sum_bytes + 3 * padded * sizeof(float)));
  float* numbers = reinterpret_cast<float*>(memory + tile_bytes + sum_bytes);
  Block block{p, w, tokens, n, pairs, reinterpret_cast<uint16_t*>(memory), numbers, numbers + padded,
              numbers + 2 * padded, reinterpret_cast<float*>(memory + tile_bytes), nullptr, nullptr, 0, {}};
  constexpr int64_t log_length = LOG + 2 * SUMS;
  block.log_scores = static_cast<float*>(keep(LOGGED, 2 * log_length * sizeof(float)));
  block.log_places = reinterpret_cast<uint32_t*>(block.log_scores + log_length);
  const int64_t rank = guess_rank(p, w.panels);
  block.lists = empty_lists(padded, p.floor != nullptr ? 256 : rank > 0 ? 6 * p.k + 64 : 4 * p.k + 64);
  pack_tokens(block);
  if (shortlist() == TILES)
    guess_and_walk_tiles(block, rank);
  else
    guess_and_walk_vectors(block, rank);
  empty_log(block);
  return rescore(block);
}

}  // namespace lx

#else  // no such processor, or a compiler that doesn't know it

namespace lx {
Shortlist shortlist() { return NONE; }
void limit_shortlist(int64_t) {}
Latents pack_latents(const Problem&, int64_t) { return {}; }
void set_floors(const Problem&, Latents&) {}
int64_t tokens_per_block(const Problem&) { return PANEL; }
Shortlisted shorten(const Problem&, const Latents&, const int32_t*, int64_t) { return {}; }
}  // namespace lx

#endif
