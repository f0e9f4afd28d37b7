// Codes turned from "latents of each token" into "tokens of each latent": a stable sort by latent in two passes, and
// the merge of what was sorted piece by piece.
//
// A single counting sort would write to as many places at once as there are latents, each a miss of the cache. So the
// first pass parts the firings by the upper bits of their latent into a few hundred buckets, whose open ends lie in the
// first level of cache, and the second sorts each bucket, which lies in the second level.
#include "common.h"

#include <cstring>

namespace {

struct Firing {
  int32_t latent, row;
  float value;
};
static_assert(sizeof(Firing) == 12, "what Python allots");

}  // namespace

// The entries of codes that are not zero: their latents, their rows from `start` on, and their values to the nearest
// number with `dropped` bits less, halves to even. Numbers too small for all their bits stay as they are, as do those
// that are not finite. Returns how many there are; -1 if there is a latent that is none.
LX_API int64_t lx_firings_of_codes(const int64_t* latents, const float* values, const int64_t* offsets,
                                   int32_t* out_latents, int32_t* out_rows, float* out_values, int64_t num_tokens,
                                   int64_t num_latents, int64_t start, int64_t dropped, int64_t) {
  int64_t count = 0;
  bool all = true;
  for (int64_t t = 0; t < num_tokens; ++t) {
    const int32_t row = static_cast<int32_t>(start + t);
    for (int64_t n = offsets[t]; n < offsets[t + 1]; ++n) {
      all &= static_cast<uint64_t>(latents[n]) < static_cast<uint64_t>(num_latents);
      out_latents[count] = static_cast<int32_t>(latents[n]);
      out_rows[count] = row;
      out_values[count] = values[n];
      count += values[n] != 0;
    }
  }
  if (!all) return -1;
  if (dropped == 0) return count;
  const uint32_t half = (1u << (dropped - 1)) - 1, mask = ~((1u << dropped) - 1);
  for (int64_t n = 0; n < count; ++n) {
    uint32_t bits;
    std::memcpy(&bits, out_values + n, 4);
    const uint32_t exponent = bits & 0x7F800000u;
    const uint32_t kept = (bits + half + ((bits >> dropped) & 1)) & mask;
    bits = exponent == 0 || exponent == 0x7F800000u ? bits : kept;
    std::memcpy(out_values + n, &bits, 4);
  }
  return count;
}

// sizes[b] grows by how many latents belong to bucket b.
LX_API void lx_firings_sizes(const int32_t* latents, int64_t* sizes, int64_t count, int64_t shift, int64_t) {
  for (int64_t n = 0; n < count; ++n) ++sizes[latents[n] >> shift];
}

// The first pass: every firing goes to the end of its bucket. ends[b] moves on.
LX_API void lx_firings_part(const int32_t* latents, const int32_t* rows, const float* values, int64_t* ends,
                            int32_t* buckets, int64_t count, int64_t shift, int64_t) {
  auto* out = reinterpret_cast<Firing*>(buckets);
  for (int64_t n = 0; n < count; ++n) out[ends[latents[n] >> shift]++] = {latents[n], rows[n], values[n]};
}

// The second pass: bucket b, which is starts[b]..starts[b + 1]-1, in order of its latents. Also counts those.
LX_API void lx_firings_sort(const int32_t* buckets, const int64_t* starts, int64_t* counts, int32_t* rows,
                            float* values, int64_t num_buckets, int64_t shift, int64_t num_latents, int64_t threads) {
  const auto* in = reinterpret_cast<const Firing*>(buckets);
  lx::parallel_for(num_buckets, threads, [&](int64_t bucket) {
    const int64_t low = bucket << shift, end = (bucket + 1) << shift, high = end < num_latents ? end : num_latents;
    auto* next = static_cast<int64_t*>(lx::scratch(0, sizeof(int64_t) << shift));
    for (int64_t f = low; f < high; ++f) counts[f] = 0;
    for (int64_t n = starts[bucket]; n < starts[bucket + 1]; ++n) ++counts[in[n].latent];
    int64_t place = starts[bucket];
    for (int64_t f = low; f < high; ++f) {
      next[f - low] = place;
      place += counts[f];
    }
    for (int64_t n = starts[bucket]; n < starts[bucket + 1]; ++n) {
      const int64_t to = next[in[n].latent - low]++;
      rows[to] = in[n].row;
      values[to] = in[n].value;
    }
  });
}

// A step of the merge: the firings of one run, counts[f] of latent f, are put where those of latent f end so far.
// ends[f] moves on.
LX_API void lx_firings_merge(const int64_t* counts, const int32_t* rows, const float* values, int64_t* ends,
                             int32_t* out_rows, float* out_values, int64_t num_latents, int64_t) {
  for (int64_t f = 0; f < num_latents; ++f) {
    const int64_t count = counts[f], to = ends[f];
    if (count == 0) continue;
    for (int64_t n = 0; n < count; ++n) out_rows[to + n] = rows[n];
    for (int64_t n = 0; n < count; ++n) out_values[to + n] = values[n];
    rows += count;
    values += count;
    ends[f] = to + count;
  }
}
