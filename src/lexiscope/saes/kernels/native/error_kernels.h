// The inner loop of error.cpp, compiled once per instruction set (see each_isa.h).

#include "vectors.h"

double square_error(const float* output, const float* target, float* error, int64_t count, float scale) {
  V even = V{}, odd = V{};
  int64_t i = 0;
  for (; i + 2 * L <= count; i += 2 * L) {
    const V a = load(output + i) - load(target + i), b = load(output + i + L) - load(target + i + L);
    even += a * a;
    odd += b * b;
    store(error + i, a * scale);
    store(error + i + L, b * scale);
  }
  double rest = 0;
  for (; i < count; ++i) {
    const float a = output[i] - target[i];
    rest += static_cast<double>(a) * a;
    error[i] = a * scale;
  }
  return total(even + odd) + rest;
}
