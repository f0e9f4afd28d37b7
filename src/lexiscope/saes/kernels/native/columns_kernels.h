// The inner loops of columns.cpp, compiled once per instruction set (see each_isa.h).
//
// A tile is some neighbouring columns of a table, NV vectors of L floats wide; its rows lie `stride` apart. Sums run
// over entries in their order, so a result depends on nothing but its inputs.

#include "sums.h"

// What is learned about a row of the output while it is written: its square, and its product with `left`.
struct Seen {
  V square = V{}, along = V{};
};

// Where the sums over a tile of the output go: a square for every column, and a product if there is a `left`.
struct Reports {
  Waiting squares, alongs;

  Reports(const SumColumns& job, int64_t tile, int64_t first) {
    squares.to = job.squares + tile * job.num_columns + first;
    alongs.to = job.left ? job.alongs + tile * job.num_columns + first : nullptr;
  }
  inline void push(const Seen& seen) {
    squares.push(seen.square);
    if (alongs.to) alongs.push(seen.along);
  }
  inline void flush() {
    squares.flush();
    alongs.flush();
  }
};

// out[f] = Σ weights[n] · tile[rows[n]] over the entries n of column f, columns first..last-1, and where there is a
// `left`, dots[n] = ⟨left[f], tile[rows[n]]⟩.
template <int NV, bool WITH_DOTS>
inline void sum_columns(const SumColumns& job, float* dots, const float* tile, int64_t stride, int64_t number,
                        int64_t start, int64_t first, int64_t last) {
  Waiting waiting;
  waiting.to = dots;
  Reports reports(job, number, first);
  for (int64_t f = first; f < last; ++f) {
    const float* left = WITH_DOTS ? job.left + f * job.width + start : nullptr;
    float* out = job.out + f * job.width + start;
    V row[NV], even[NV], odd[NV];
    for (int j = 0; j < NV; ++j) {
      if (WITH_DOTS) {
        row[j] = load(left + j * L);
        __builtin_prefetch(left + AHEAD * job.width + j * L);
      }
      if (!job.stream) __builtin_prefetch(out + AHEAD * job.width + j * L, 1);
      even[j] = odd[j] = V{};
    }
    const auto dot = [&](const float* a) {
      V product = row[0] * load(a);
      for (int j = 1; j < NV; ++j) product += row[j] * load(a + j * L);
      waiting.push(product);
    };
    int64_t n = job.columns[f];
    const int64_t end = job.columns[f + 1];
    for (; n + 1 < end; n += 2) {
      const float* a = tile + job.rows[n] * stride;
      const float* b = tile + job.rows[n + 1] * stride;
      for (int j = 0; j < NV; ++j) {
        even[j] += load(a + j * L) * job.weights[n];
        odd[j] += load(b + j * L) * job.weights[n + 1];
      }
      if (WITH_DOTS) {
        dot(a);
        dot(b);
      }
    }
    if (n < end) {
      const float* a = tile + job.rows[n] * stride;
      for (int j = 0; j < NV; ++j) even[j] += load(a + j * L) * job.weights[n];
      if (WITH_DOTS) dot(a);
    }
    Seen seen;
    for (int j = 0; j < NV; ++j) {
      const V sum = even[j] + odd[j];
      store(out + j * L, sum, job.stream);
      seen.square += sum * sum;
      if (WITH_DOTS) seen.along += sum * row[j];
    }
    reports.push(seen);
  }
  if (WITH_DOTS) waiting.flush();
  reports.flush();
}

// to[start…] = (from[start…] or 0) + Σ weights[i] · rows[i][start…] over a few rows, NV vectors; their squares and
// their products with `left`, unless it is null, are added to `seen`.
template <int NV>
inline void add_few(const float* const* rows, const float* weights, int64_t count, const float* from, float* to,
                    const float* left, int64_t start, bool stream, Seen& seen) {
  V sum[NV];
  for (int j = 0; j < NV; ++j) sum[j] = from ? load(from + start + j * L) : V{};
  for (int64_t i = 0; i < count; ++i)
    for (int j = 0; j < NV; ++j) sum[j] += load(rows[i] + start + j * L) * weights[i];
  for (int j = 0; j < NV; ++j) {
    store(to + start + j * L, sum[j], stream);
    seen.square += sum[j] * sum[j];
    if (left) seen.along += sum[j] * load(left + start + j * L);
  }
}

// As sum_columns, for columns with few entries each: whole rows, a few at a time, while they are in the first cache.
// `room`: space for one row.
void sum_columns_few(const SumColumns& job, float* dots, int64_t first, int64_t last, float* room) {
  constexpr int64_t FEW = 8;
  Waiting waiting;
  waiting.to = dots;
  Reports reports(job, 0, first);
  const int64_t wide = job.width / (8 * L) * (8 * L), whole = job.width / L * L;
  for (int64_t f = first; f < last; ++f) {
    const int64_t end = job.columns[f + 1];
    float* out = job.out + f * job.width;
    const float* left = job.left ? job.left + f * job.width : nullptr;
    const float* sum = nullptr;
    int64_t n = job.columns[f];
    Seen seen;
    do {
      seen = Seen();  // only the last stretch of entries makes the output
      const int64_t count = end - n < FEW ? end - n : FEW;
      const float* rows[FEW];
      for (int64_t i = 0; i < count; ++i) rows[i] = job.right + job.rows[n + i] * job.width;
      if (dots)
        for (int64_t i = 0; i < count; ++i) waiting.push(product(left, rows[i], job.width));
      const bool is_last = n + count == end;
      float* to = is_last ? out : room;
      const bool stream = is_last && job.stream;
      const float* weights = job.weights + n;
      int64_t c = 0;
      for (; c < wide; c += 8 * L) add_few<8>(rows, weights, count, sum, to, left, c, stream, seen);
      for (; c < whole; c += L) add_few<1>(rows, weights, count, sum, to, left, c, stream, seen);
      for (; c < job.width; ++c) {
        float total = sum ? sum[c] : 0.0f;
        for (int64_t i = 0; i < count; ++i) total += weights[i] * rows[i][c];
        to[c] = total;
        seen.square[c - whole] += total * total;
        if (left) seen.along[c - whole] += total * left[c];
      }
      sum = room;
      n += count;
    } while (n < end);
    reports.push(seen);
  }
  waiting.flush();
  reports.flush();
}

template <int NV>
inline void sum_columns_tile(const SumColumns& job, float* dots, int64_t number, int64_t start, int64_t first,
                             int64_t last, float* room) {
  const float* tile = job.right + start;
  int64_t stride = job.width;
  if (room != nullptr) {
    pack<NV>(tile, stride, job.num_rows, room);
    tile = room;
    stride = NV * L;
  }
  if (dots != nullptr)
    sum_columns<NV, true>(job, dots, tile, stride, number, start, first, last);
  else
    sum_columns<NV, false>(job, dots, tile, stride, number, start, first, last);
}

// `dots`: where the part of this tile goes, for the entries from columns[first] on; null: none are asked for.
void sum_columns(const SumColumns& job, float* dots, int64_t number, Tile tile, int64_t first, int64_t last,
                 float* room) {
  switch (tile.vectors) {
    case 4: return sum_columns_tile<4>(job, dots, number, tile.start, first, last, room);
    case 2: return sum_columns_tile<2>(job, dots, number, tile.start, first, last, room);
    case 1: return sum_columns_tile<1>(job, dots, number, tile.start, first, last, room);
  }
  for (int64_t f = first; f < last; ++f) {
    float* out = job.out + f * job.width;
    for (int64_t c = tile.start; c < job.width; ++c) out[c] = 0;
    for (int64_t n = job.columns[f]; n < job.columns[f + 1]; ++n) {
      const float* right = job.right + job.rows[n] * job.width;
      float dot = 0;
      for (int64_t c = tile.start; c < job.width; ++c) {
        out[c] += job.weights[n] * right[c];
        if (dots) dot += job.left[f * job.width + c] * right[c];
      }
      if (dots) dots[n - job.columns[first]] = dot;
    }
    float square = 0, along = 0;
    for (int64_t c = tile.start; c < job.width; ++c) {
      square += out[c] * out[c];
      if (job.left) along += out[c] * job.left[f * job.width + c];
    }
    job.squares[number * job.num_columns + f] = square;
    if (job.left) job.alongs[number * job.num_columns + f] = along;
  }
}

// Σ (out[f] - along · left[f])², as it is written.
double square_without(const SumColumns& job, int64_t f, float along) {
  double sum = 0;
  for (int64_t c = 0; c < job.width; ++c) {
    const double rest = job.out[f * job.width + c] - static_cast<double>(along) * job.left[f * job.width + c];
    sum += rest * rest;
  }
  return sum;
}
