// How a table is cut into tiles that fit in the second level of cache, and when that pays.
#pragma once

#include <unistd.h>

#include "common.h"

namespace lx {

struct Tile {
  int64_t start;
  int vectors;  // 0: the last columns, fewer than a vector
};

constexpr int64_t WORTH_A_TILE = 6;  // entries per row of the table from which packing pays

// Tests make these small, to go down every path with little data.
inline int64_t limit_cache = 1 << 30;      // bytes of cache to count on, at most
inline int64_t small = 1 << 15;            // multiply-adds below which one thread is as fast as several
inline int64_t entries_at_once = 1 << 19;  // parts of dot products kept per tile: 2 MB
inline int64_t few = 6;                    // entries per column below which columns are done in whole rows

inline int64_t lanes() { return isa() == AVX512 ? 16 : isa() == AVX2 ? 8 : 4; }

inline int64_t cache_bytes() {
  int64_t bytes = 0;
#if defined(_SC_LEVEL2_CACHE_SIZE)
  static const int64_t found = sysconf(_SC_LEVEL2_CACHE_SIZE);
  bytes = found;
#endif
  if (bytes <= 0) bytes = 1 << 20;
  return bytes < limit_cache ? bytes : limit_cache;
}

// Cuts `width` columns into tiles of at most `widest` vectors. Returns how many; `tiles` has room for width / L + 5.
inline int64_t plan(int64_t width, int widest, Tile* tiles) {
  int64_t count = 0, start = 0;
  for (int vectors = widest; vectors > 0; vectors /= 2)
    for (; start + vectors * lanes() <= width; start += vectors * lanes()) tiles[count++] = {start, vectors};
  if (start < width) tiles[count++] = {start, 0};
  return count;
}

inline Tile* tile_list(int64_t width) { return static_cast<Tile*>(scratch(0, (width + 8) * sizeof(Tile))); }

// Vectors per tile, 4 at most, such that a tile of so many rows fills no more than half of the cache.
inline int widest_tile(int64_t num_rows) {
  const int64_t bytes = num_rows * lanes() * 4;
  return 4 * bytes <= cache_bytes() / 2 ? 4 : 2 * bytes <= cache_bytes() / 2 ? 2 : 1;
}

inline bool fits_in_cache(int64_t num_rows, int64_t width) { return num_rows * width * 4 <= cache_bytes() / 2; }

// Whether to write a table past the caches: it would not stay there, and its rows are made of whole vectors.
inline bool streams(const float* out, int64_t num_rows, int64_t width) {
  return width % 16 == 0 && reinterpret_cast<uintptr_t>(out) % 64 == 0 && num_rows * width * 4 > 2 * cache_bytes();
}

// What was written past the caches is there for every thread afterwards.
inline void finish_stores() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

}  // namespace lx
