// Passes over one row, once per instruction set. No include guard: see each_isa.h.

// Sets what is not positive to zero, and counts the rest. NaN stays.
static int64_t keep_positive(float* row, int64_t width) {
  int32_t count = 0;
  for (int64_t i = 0; i < width; ++i) {
    row[i] = row[i] <= 0 ? 0.0f : row[i];
    count += row[i] != 0;
  }
  return count;
}

// Sets what is below the least to zero.
static Kept keep_from(float* row, int64_t width, float least) {
  int32_t above = 0, equal = 0;
  for (int64_t i = 0; i < width; ++i) {
    above += !(row[i] <= least);
    equal += row[i] == least;
    row[i] = row[i] < least ? 0.0f : row[i];
  }
  return {above, equal};
}
