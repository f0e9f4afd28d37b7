// The transposed products: gradients of the weights, and of the values in the same pass over the rows.
//
// Entries are sorted by column once; then every row of the output is made by one thread in the order of its entries and
// written once. Where columns have many entries, tiles as in rows.cpp; where they have few, whole rows.
#include "tiles.h"

namespace {

using lx::Tile;

struct SumColumns {
  const float* right;
  const int32_t* rows;
  const int32_t* columns;
  const float* weights;  // in the order of columns
  const float* left;
  float* out;
  float* squares;  // of every tile of every column of the output
  float* alongs;   // products with `left`, likewise
  int64_t num_rows, num_columns, width;
  bool stream;
};

constexpr int64_t AHEAD = 8;  // rows by which the next ones are fetched

#define LX_KERNELS "columns_kernels.h"
#include "each_isa.h"

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

// norms[0] = Σ out²; for rows of `left` of length 1, norms[1] = Σ (out - along · left)², along[f] = ⟨out[f], left[f]⟩,
// from the sums over tiles. Where little is left without the part along, it is found by subtracting, row by row.
void report(const SumColumns& job, int64_t num_tiles, float* along, double* norms, int64_t threads) {
  constexpr int64_t STEP = 512;
  const int64_t blocks = lx::ceil_div(job.num_columns, STEP);
  auto* sums = static_cast<double*>(lx::scratch(5, 2 * (blocks + 1) * sizeof(double)));
  lx::parallel_for(blocks, blocks > 4 ? threads : 1, [&](int64_t block) {
    const int64_t end = (block + 1) * STEP < job.num_columns ? (block + 1) * STEP : job.num_columns;
    double all = 0, without = 0;
    for (int64_t f = block * STEP; f < end; ++f) {
      double square = 0, product = 0;
      for (int64_t i = 0; i < num_tiles; ++i) {
        square += job.squares[i * job.num_columns + f];
        if (job.left) product += job.alongs[i * job.num_columns + f];
      }
      all += square;
      if (!job.left) continue;
      along[f] = static_cast<float>(product);
      const double rest = square - product * product;
      without += rest > 0.05 * square ? rest : LX_CALL(square_without(job, f, along[f]));
    }
    sums[2 * block] = all;
    sums[2 * block + 1] = without;
  });
  norms[0] = norms[1] = 0;
  for (int64_t block = 0; block < blocks; ++block) {
    norms[0] += sums[2 * block];
    norms[1] += sums[2 * block + 1];
  }
}

}  // namespace

// The entries sorted by column: rows[n], their places before in order[n], and where every column starts. Rows ascend
// within a column. A counting sort in which every thread has some rows and counters of its own.
LX_API void lx_transpose(const int64_t* indices, const int64_t* offsets, int32_t* rows, int32_t* order,
                         int32_t* columns, int64_t num_rows, int64_t num_columns, int64_t threads) {
  const int64_t entries = num_rows ? offsets[num_rows] : 0;
  if (entries < lx::small || entries < threads * num_columns) threads = 1;
  auto* counters = static_cast<int32_t*>(lx::scratch(0, threads * num_columns * sizeof(int32_t) + 64));
  const int64_t share = lx::ceil_div(num_rows, threads);
  const auto entries_of = [&](int64_t part, const auto& body) {
    const int64_t last = (part + 1) * share < num_rows ? (part + 1) * share : num_rows;
    for (int64_t r = part * share; r < last; ++r)
      for (int64_t n = offsets[r]; n < offsets[r + 1]; ++n) body(r, n);
  };
  lx::parallel_for(threads, threads, [&](int64_t part) {
    int32_t* mine = counters + part * num_columns;
    for (int64_t f = 0; f < num_columns; ++f) mine[f] = 0;
    entries_of(part, [&](int64_t, int64_t n) { ++mine[indices[n]]; });
  });
  int32_t sum = 0;
  for (int64_t f = 0; f < num_columns; ++f) {
    columns[f] = sum;
    for (int64_t part = 0; part < threads; ++part) {
      const int32_t count = counters[part * num_columns + f];
      counters[part * num_columns + f] = sum;
      sum += count;
    }
  }
  columns[num_columns] = sum;
  lx::parallel_for(threads, threads, [&](int64_t part) {
    int32_t* next = counters + part * num_columns;
    entries_of(part, [&](int64_t r, int64_t n) {
      const int32_t to = next[indices[n]]++;
      rows[to] = static_cast<int32_t>(r);
      order[to] = static_cast<int32_t>(n);
    });
  });
}

// Over the entries n of every column f, in the order of `rows`, `order` and `columns` as lx_transpose gives them:
// out[f] = Σ weights[order[n]] · right[rows[n]]; sums[f] = Σ weights[order[n]], unless null; and unless `left` is null,
// dots[order[n]] = ⟨left[f], right[rows[n]]⟩. `along` and `norms` are what Adam will ask about `out`, see report().
LX_API void lx_weighted_columns(const float* right, const int32_t* rows, const int32_t* order, const int32_t* columns,
                                const float* weights, const float* left, float* out, float* sums, float* dots,
                                float* along, double* norms, int64_t num_rows, int64_t num_columns, int64_t width,
                                int64_t threads) {
  const int64_t entries = columns[num_columns];
  if ((entries + num_columns) * width < lx::small) threads = 1;
  lx::Tile* tiles = lx::tile_list(width);
  const bool packed = entries >= lx::WORTH_A_TILE * num_rows && !lx::fits_in_cache(num_rows, width);
  const bool whole_rows = entries < lx::few * num_columns;
  const int64_t num_tiles = whole_rows ? 1 : lx::plan(width, lx::widest_tile(packed ? num_rows : 1), tiles);
  const size_t bytes = num_rows * 4 * lx::lanes() * sizeof(float);

  auto* sorted = static_cast<float*>(lx::scratch(2, (entries + 16) * sizeof(float)));
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

  const int64_t reports = num_tiles * num_columns;
  auto* squares = static_cast<float*>(lx::scratch(4, (2 * reports + 16) * sizeof(float)));
  const SumColumns job{right,    rows,        columns, sorted, left, out, squares, squares + reports,
                       num_rows, num_columns, width,   lx::streams(out, num_columns, width)};
  if (whole_rows) {
    float* found = left ? static_cast<float*>(lx::scratch(3, (entries + 16) * sizeof(float))) : nullptr;
    lx::parallel_for(16 * threads, threads, [&](int64_t piece) {
      const int64_t first = split(columns, 0, num_columns, piece, 16 * threads);
      const int64_t last = split(columns, 0, num_columns, piece + 1, 16 * threads);
      if (first >= last) return;
      float* room = static_cast<float*>(lx::scratch(1, width * sizeof(float)));
      LX_CALL(sum_columns_few(job, found ? found + columns[first] : nullptr, first, last, room));
      for (int64_t n = columns[first]; found && n < columns[last]; ++n) dots[order[n]] = found[n];
      lx::finish_stores();
    });
    report(job, num_tiles, along, norms, threads);
    return;
  }
  for (int64_t from = 0, to = 0; from < num_columns; from = to) {  // all columns at once, unless they are very full
    if (left == nullptr || entries <= lx::entries_at_once) {
      to = num_columns;
    } else {
      for (to = from + 1; to < num_columns && columns[to + 1] - columns[from] <= lx::entries_at_once;) ++to;
    }
    const int64_t count = columns[to] - columns[from];
    float* parts = left ? static_cast<float*>(lx::scratch(3, (count * num_tiles + 16) * sizeof(float))) : nullptr;
    const int64_t splits = packed ? lx::ceil_div(threads > 1 ? 2 * threads : 1, num_tiles) : 8 * threads;
    lx::parallel_for(splits * num_tiles, threads, [&](int64_t chunk) {
      const int64_t i = chunk % num_tiles, piece = chunk / num_tiles;
      const int64_t first = split(columns, from, to, piece, splits), last = split(columns, from, to, piece + 1, splits);
      if (first >= last) return;
      float* room = packed ? static_cast<float*>(lx::scratch(1, bytes)) : nullptr;
      float* part = left ? parts + i * count + columns[first] - columns[from] : nullptr;
      LX_CALL(sum_columns(job, part, i, tiles[i], first, last, room));
      lx::finish_stores();
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
  report(job, num_tiles, along, norms, threads);
}
