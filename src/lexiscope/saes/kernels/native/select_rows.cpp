// The largest entries of rows that are there in full.
#include "select.h"

// Sets to zero all but the k largest positive entries of every row; of equal ones the first stay.
LX_API void lx_keep_largest(float* scores, int64_t num_rows, int64_t width, int64_t k, int64_t threads) {
  constexpr int64_t together = 16;
  lx::parallel_for(lx::ceil_div(num_rows, together), threads, [&](int64_t chunk) {
    for (int64_t r = chunk * together; r < num_rows && r < (chunk + 1) * together; ++r) {
      float* row = scores + r * width;
      int64_t positive = 0;
      for (int64_t i = 0; i < width; ++i) {
        row[i] = row[i] <= 0 ? 0.0f : row[i];  // NaN stays
        positive += row[i] != 0;
      }
      if (positive <= k) continue;
      const float least = lx::kth_largest(row, width, k);
      int64_t ties = k;
      for (int64_t i = 0; i < width; ++i) ties -= !(row[i] <= least);
      for (int64_t i = 0; i < width; ++i) {
        const bool tie = row[i] == least;
        if (row[i] < least || (tie && ties <= 0)) row[i] = 0;
        ties -= tie;
      }
    }
  });
}
