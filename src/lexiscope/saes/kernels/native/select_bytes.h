// Bounds of the scores of a few tokens from a copy of W in bytes, a quarter of what has to be read otherwise.
#pragma once

#include "select.h"

namespace lx {

// Whether this processor and the compiler have what it takes: products of bytes in AVX512-VNNI.
bool has_bytes();

constexpr int64_t GROUP = 64;  // latents that are scored together

// W rounded to whole multiples of a scale for each latent.
struct Bytes {
  const uint8_t* codes;  // [groups, steps, GROUP, 4]: 128 + the multiple, of four entries of a row at a time
  const float* sizes;    // [groups, 3, GROUP]: scale, bound of the length, bound of what rounding took away
  int64_t groups, steps;
};

void pack_bytes(const float* W, int64_t F, int64_t D, uint8_t* codes, float* sizes, int64_t threads);

// Bounds of all scores of some tokens, in memory of the thread that called.
struct Split;  // a token in bytes
struct Bounds {
  int64_t row, stride;    // bytes of half a token; latents, padded
  Split* tokens;          // [T]
  int8_t* bytes;          // [T, 2, row]
  float *below, *above;   // [T, stride]
  bool* usable;           // [T]: whether a token's numbers are such that it has bounds
};

// Bounds of all tokens, not computed yet.
Bounds prepare_bounds(const Problem& problem, const Bytes& bytes);
// Those of the groups begin..end-1.
void find_bounds(const Problem& problem, const Bytes& bytes, const Bounds& bounds, int64_t begin, int64_t end,
                 int64_t threads);

// The latents of a token that may be wanted, ascending, with exact scores; to memory of the calling thread.
struct Candidates {
  Entry* entries;
  int64_t count;
};
Candidates candidates(const Problem& problem, const Bounds& bounds, int64_t token);

}  // namespace lx
