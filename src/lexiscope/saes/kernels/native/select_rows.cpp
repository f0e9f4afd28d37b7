// The largest entries of rows that are there in full.
#include "select.h"

namespace lx {
namespace {

struct Kept {
  int64_t above, equal;  // entries, by the least that stays
};

#define LX_KERNELS "select_rows_kernels.h"
#include "each_isa.h"

void keep_largest_positive(float* row, int64_t width, int64_t k) {
  if (LX_CALL(keep_positive(row, width)) <= k) return;
  const float least = kth_largest(row, width, k);
  const Kept kept = LX_CALL(keep_from(row, width, least));
  if (kept.above + kept.equal <= k) return;
  int64_t left = k - kept.above;  // of equal ones
  for (int64_t i = 0; i < width; ++i)
    if (row[i] == least && left-- <= 0) row[i] = 0;
}

}  // namespace
}  // namespace lx

// Sets to zero all but the k largest positive entries of every row; of equal ones the first stay.
LX_API void lx_keep_largest(float* scores, int64_t num_rows, int64_t width, int64_t k, int64_t threads) {
  constexpr int64_t together = 16;
  lx::parallel_for(lx::ceil_div(num_rows, together), threads, [&](int64_t chunk) {
    for (int64_t r = chunk * together; r < num_rows && r < (chunk + 1) * together; ++r)
      lx::keep_largest_positive(scores + r * width, width, k);
  });
}
