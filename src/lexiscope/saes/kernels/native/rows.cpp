// Products of a sparse matrix in compressed rows with a dense table, and their gradients.
//
// The cost is reading rows of a table in the order of the pattern: N entries · D columns · 4 bytes, from the last level
// of cache or from memory if they are taken as they lie. So columns are processed in tiles: a tile of all rows is copied
// to lie side by side in the second level of cache, and every entry then reads from there. (Tiles left in place would
// not do: rows a power of two apart share a few sets of that cache.) A tile pays when each row is met several times.
#include "common.h"

#include <unistd.h>

namespace {

struct Tile {
  int64_t start;
  int vectors;  // 0: the last columns, fewer than a vector
};

struct SumRows {
  const float* table;
  const int64_t* indices;
  const int64_t* offsets;
  const float* weights;
  const float* bias;
  float* out;
  int64_t num_table, width;
  bool stream;
};

struct SumColumns {
  const float* right;
  const int32_t* rows;
  const int32_t* columns;
  const float* weights;  // in the order of columns
  const float* left;
  float* out;
  int64_t num_rows, width;
  bool stream;
};

struct DotRows {
  const float* left;
  const float* table;
  const int64_t* indices;
  const int64_t* offsets;
  float* dots;
  int64_t width;
};

constexpr int64_t AHEAD = 8;                // rows by which the next ones are fetched
constexpr int64_t WORTH_A_TILE = 6;         // entries per row of the table from which packing pays

// Tests make them small, to go down every path with little data.
int64_t limit_cache = 1 << 30;         // bytes of cache to count on, at most
int64_t small = 1 << 15;               // multiply-adds below which one thread is as fast as several
int64_t entries_at_once = 1 << 19;     // parts of dot products kept per tile: 2 MB

#define LX_KERNELS "rows_kernels.h"
#include "each_isa.h"

int64_t cache_bytes() {
  int64_t bytes = 0;
#if defined(_SC_LEVEL2_CACHE_SIZE)
  static const int64_t found = sysconf(_SC_LEVEL2_CACHE_SIZE);
  bytes = found;
#endif
  if (bytes <= 0) bytes = 1 << 20;
  return bytes < limit_cache ? bytes : limit_cache;
}

// Cuts `width` columns into tiles of at most `widest` vectors. Returns how many; `tiles` has room for width / L + 5.
int64_t plan(int64_t width, int widest, Tile* tiles) {
  const int64_t lanes = LX_CALL(lanes());
  int64_t count = 0, start = 0;
  for (int vectors = widest; vectors > 0; vectors /= 2)
    for (; start + vectors * lanes <= width; start += vectors * lanes) tiles[count++] = {start, vectors};
  if (start < width) tiles[count++] = {start, 0};
  return count;
}

// Vectors per tile, 4 at most, such that a tile of so many rows fills no more than half of the cache.
int widest_tile(int64_t num_rows) {
  const int64_t bytes = num_rows * LX_CALL(lanes()) * 4;
  return 4 * bytes <= cache_bytes() / 2 ? 4 : 2 * bytes <= cache_bytes() / 2 ? 2 : 1;
}

bool fits_in_cache(int64_t num_rows, int64_t width) { return num_rows * width * 4 <= cache_bytes() / 2; }

// Whether to write a table past the caches: it would not stay there, and its rows are made of whole vectors.
bool streams(const float* out, int64_t num_rows, int64_t width) {
  return width % 16 == 0 && reinterpret_cast<uintptr_t>(out) % 64 == 0 && num_rows * width * 4 > 2 * cache_bytes();
}

// What was written past the caches is there for every thread afterwards.
void finish_stores() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

Tile* tile_list(int64_t width) { return static_cast<Tile*>(lx::scratch(0, (width + 8) * sizeof(Tile))); }

// The column from which on part `i` of `parts` works, each part having about as many entries and columns.
int64_t split(const int32_t* columns, int64_t first, int64_t last, int64_t i, int64_t parts) {
  const auto cost = [&](int64_t f) { return static_cast<int64_t>(columns[f]) + 2 * f; };
  const int64_t target = cost(first) + (cost(last) - cost(first)) * i / parts;
  int64_t low = first, high = last;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (cost(middle) < target)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

}  // namespace

// For tests.
LX_API void lx_tune_rows(int64_t cache, int64_t multiply_adds, int64_t entries, int64_t) {
  limit_cache = cache;
  small = multiply_adds;
  entries_at_once = entries;
}

// out[r] = bias + Σ weights[n] · table[indices[n]] over the entries n of row r; `bias` may be null.
LX_API void lx_weighted_rows(const float* table, const int64_t* indices, const int64_t* offsets, const float* weights,
                             const float* bias, float* out, int64_t num_table, int64_t num_rows, int64_t width,
                             int64_t threads) {
  const SumRows job{table, indices, offsets, weights, bias, out, num_table, width,
                    streams(out, num_rows, width)};
  const int64_t entries = num_rows ? offsets[num_rows] - offsets[0] : 0;
  if ((entries + num_rows) * width < small) threads = 1;
  Tile* tiles = tile_list(width);
  const bool packed = entries >= WORTH_A_TILE * num_table && !fits_in_cache(num_table, width);
  const int64_t num_tiles = plan(width, packed ? widest_tile(num_table) : LX_CALL(lanes()) == 16 ? 16 : 8, tiles);
  const int64_t parts = packed ? lx::ceil_div(threads > 1 ? 2 * threads : 1, num_tiles) : 16 * threads;
  const int64_t rows = lx::ceil_div(num_rows, parts);
  if (!packed) {  // a part of the rows in all columns
    lx::parallel_for(parts, threads, [&](int64_t part) {
      const int64_t first = part * rows, last = first + rows < num_rows ? first + rows : num_rows;
      for (int64_t i = 0; first < last && i < num_tiles; ++i) LX_CALL(sum_rows(job, tiles[i], first, last, nullptr));
      finish_stores();
    });
    return;
  }
  const size_t bytes = num_table * 4 * LX_CALL(lanes()) * sizeof(float);
  lx::parallel_for(parts * num_tiles, threads, [&](int64_t chunk) {
    const int64_t first = chunk / num_tiles * rows, last = first + rows < num_rows ? first + rows : num_rows;
    float* room = static_cast<float*>(lx::scratch(1, bytes));
    if (first < last) LX_CALL(sum_rows(job, tiles[chunk % num_tiles], first, last, room));
    finish_stores();
  });
}

// dots[n] = ⟨left[r], table[indices[n]]⟩ over the entries n of row r.
LX_API void lx_row_dots(const float* left, const float* table, const int64_t* indices, const int64_t* offsets,
                        float* dots, int64_t num_rows, int64_t width, int64_t threads) {
  const DotRows job{left, table, indices, offsets, dots, width};
  const int64_t entries = num_rows ? offsets[num_rows] - offsets[0] : 0;
  if (entries * width < small) threads = 1;
  const int64_t parts = 16 * threads, rows = lx::ceil_div(num_rows, parts);
  lx::parallel_for(parts, threads, [&](int64_t part) {
    const int64_t first = part * rows, last = first + rows < num_rows ? first + rows : num_rows;
    if (first < last) LX_CALL(dot_rows(job, first, last));
  });
}

// The entries sorted by column: rows[n], their places before in order[n], and where every column starts. Rows ascend
// within a column. A counting sort; each thread does some columns.
LX_API void lx_transpose(const int64_t* indices, const int64_t* offsets, int32_t* rows, int32_t* order,
                         int32_t* columns, int64_t num_rows, int64_t num_columns, int64_t threads) {
  const int64_t entries = num_rows ? offsets[num_rows] : 0;
  for (int64_t f = 0; f <= num_columns; ++f) columns[f] = 0;
  for (int64_t n = 0; n < entries; ++n) ++columns[indices[n] + 1];
  for (int64_t f = 0; f < num_columns; ++f) columns[f + 1] += columns[f];
  if (entries < small) threads = 1;
  auto* next = static_cast<int32_t*>(lx::scratch(0, (num_columns + 1) * sizeof(int32_t)));
  for (int64_t f = 0; f < num_columns; ++f) next[f] = columns[f];
  lx::parallel_for(threads, threads, [&](int64_t part) {
    const int64_t first = split(columns, 0, num_columns, part, threads);
    const int64_t last = split(columns, 0, num_columns, part + 1, threads);
    for (int64_t r = 0; r < num_rows; ++r)
      for (int64_t n = offsets[r]; n < offsets[r + 1]; ++n)
        if (indices[n] >= first && indices[n] < last) {
          const int32_t to = next[indices[n]]++;
          rows[to] = static_cast<int32_t>(r);
          order[to] = static_cast<int32_t>(n);
        }
  });
}

// Over the entries n of every column f, in the order of `rows`, `order` and `columns` as lx_transpose gives them:
// out[f] = Σ weights[order[n]] · right[rows[n]]; sums[f] = Σ weights[order[n]], unless null; and unless `left` is null,
// dots[order[n]] = ⟨left[f], right[rows[n]]⟩.
LX_API void lx_weighted_columns(const float* right, const int32_t* rows, const int32_t* order, const int32_t* columns,
                                const float* weights, const float* left, float* out, float* sums, float* dots,
                                int64_t num_rows, int64_t num_columns, int64_t width, int64_t threads) {
  const int64_t entries = columns[num_columns];
  if ((entries + num_columns) * width < small) threads = 1;
  Tile* tiles = tile_list(width);
  const bool packed = entries >= WORTH_A_TILE * num_rows && !fits_in_cache(num_rows, width);
  const int64_t num_tiles = plan(width, widest_tile(packed ? num_rows : 1), tiles);
  const size_t bytes = num_rows * 4 * LX_CALL(lanes()) * sizeof(float);

  auto* sorted = static_cast<float*>(lx::scratch(2, entries * sizeof(float)));
  const int64_t blocks = 4 * threads;
  lx::parallel_for(blocks, threads, [&](int64_t block) {
    const int64_t first = split(columns, 0, num_columns, block, blocks);
    const int64_t last = split(columns, 0, num_columns, block + 1, blocks);
    for (int64_t f = first; f < last; ++f) {
      float sum = 0;
      for (int64_t n = columns[f]; n < columns[f + 1]; ++n) sum += sorted[n] = weights[order[n]];
      if (sums) sums[f] = sum;
    }
  });

  const SumColumns job{right, rows, columns, sorted, left, out, num_rows, width,
                       streams(out, num_columns, width)};
  for (int64_t from = 0, to = 0; from < num_columns; from = to) {  // all columns at once, unless they are very full
    if (left == nullptr || entries <= entries_at_once) {
      to = num_columns;
    } else {
      for (to = from + 1; to < num_columns && columns[to + 1] - columns[from] <= entries_at_once;) ++to;
    }
    const int64_t count = columns[to] - columns[from];
    float* parts = left ? static_cast<float*>(lx::scratch(3, count * num_tiles * sizeof(float))) : nullptr;
    const int64_t splits = packed ? lx::ceil_div(threads > 1 ? 2 * threads : 1, num_tiles) : 8 * threads;
    lx::parallel_for(splits * num_tiles, threads, [&](int64_t chunk) {
      const int64_t i = chunk % num_tiles, piece = chunk / num_tiles;
      const int64_t first = split(columns, from, to, piece, splits), last = split(columns, from, to, piece + 1, splits);
      if (first >= last) return;
      float* room = packed ? static_cast<float*>(lx::scratch(1, bytes)) : nullptr;
      float* part = left ? parts + i * count + columns[first] - columns[from] : nullptr;
      LX_CALL(sum_columns(job, part, tiles[i], first, last, room));
      finish_stores();
    });
    if (left == nullptr) continue;
    const int64_t step = 1 << 14;
    lx::parallel_for(lx::ceil_div(count, step), threads, [&](int64_t block) {
      const int64_t end = (block + 1) * step < count ? (block + 1) * step : count;
      for (int64_t n = block * step; n < end; ++n) {
        float dot = 0;
        for (int64_t i = 0; i < num_tiles; ++i) dot += parts[i * count + n];
        dots[order[columns[from] + n]] = dot;
      }
    });
  }
}
