// Products of a sparse matrix in compressed rows with a dense table.
//
// The cost is reading rows of a table in the order of the pattern: N entries · D columns · 4 bytes, from the last level
// of cache or from memory if they are taken as they lie. So columns are processed in tiles: a tile of all rows is copied
// to lie side by side in the second level of cache, and every entry then reads from there. (Tiles left in place would
// not do: rows a power of two apart share a few sets of that cache.) A tile pays when each row is met several times.
#include "tiles.h"

namespace {

using lx::Tile;

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

struct DotRows {
  const float* left;
  const float* table;
  const int64_t* indices;
  const int64_t* offsets;
  float* dots;
  int64_t width;
};

#define LX_KERNELS "rows_kernels.h"
#include "each_isa.h"

}  // namespace

// For tests.
LX_API void lx_tune_rows(int64_t cache, int64_t multiply_adds, int64_t entries, int64_t per_column, int64_t) {
  lx::limit_cache = cache;
  lx::small = multiply_adds;
  lx::entries_at_once = entries;
  lx::few = per_column;
}

// out[r] = bias + Σ weights[n] · table[indices[n]] over the entries n of row r; `bias` may be null.
LX_API void lx_weighted_rows(const float* table, const int64_t* indices, const int64_t* offsets, const float* weights,
                             const float* bias, float* out, int64_t num_table, int64_t num_rows, int64_t width,
                             int64_t threads) {
  const SumRows job{table, indices, offsets, weights, bias, out, num_table, width,
                    lx::streams(out, num_rows, width)};
  const int64_t entries = num_rows ? offsets[num_rows] - offsets[0] : 0;
  if ((entries + num_rows) * width < lx::small) threads = 1;
  lx::Tile* tiles = lx::tile_list(width);
  const bool packed = entries >= lx::WORTH_A_TILE * num_table && !lx::fits_in_cache(num_table, width);
  const int64_t num_tiles = lx::plan(width, packed ? lx::widest_tile(num_table) : lx::lanes() == 16 ? 16 : 8, tiles);
  const int64_t parts = packed ? lx::ceil_div(threads > 1 ? 2 * threads : 1, num_tiles) : 16 * threads;
  const int64_t rows = lx::ceil_div(num_rows, parts);
  if (!packed) {  // a part of the rows in all columns
    lx::parallel_for(parts, threads, [&](int64_t part) {
      const int64_t first = part * rows, last = first + rows < num_rows ? first + rows : num_rows;
      for (int64_t i = 0; first < last && i < num_tiles; ++i) LX_CALL(sum_rows(job, tiles[i], first, last, nullptr));
      lx::finish_stores();
    });
    return;
  }
  const size_t bytes = num_table * 4 * lx::lanes() * sizeof(float);
  lx::parallel_for(parts * num_tiles, threads, [&](int64_t chunk) {
    const int64_t first = chunk / num_tiles * rows, last = first + rows < num_rows ? first + rows : num_rows;
    float* room = static_cast<float*>(lx::scratch(1, bytes));
    if (first < last) LX_CALL(sum_rows(job, tiles[chunk % num_tiles], first, last, room));
    lx::finish_stores();
  });
}

// dots[n] = ⟨left[r], table[indices[n]]⟩ over the entries n of row r.
LX_API void lx_row_dots(const float* left, const float* table, const int64_t* indices, const int64_t* offsets,
                        float* dots, int64_t num_rows, int64_t width, int64_t threads) {
  const DotRows job{left, table, indices, offsets, dots, width};
  const int64_t entries = num_rows ? offsets[num_rows] - offsets[0] : 0;
  if (entries * width < lx::small) threads = 1;
  const int64_t parts = 16 * threads, rows = lx::ceil_div(num_rows, parts);
  lx::parallel_for(parts, threads, [&](int64_t part) {
    const int64_t first = part * rows, last = first + rows < num_rows ? first + rows : num_rows;
    if (first < last) LX_CALL(dot_rows(job, first, last));
  });
}
