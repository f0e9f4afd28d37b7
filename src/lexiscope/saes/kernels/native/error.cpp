// The mean square error and its gradient in one pass.
#include "common.h"

namespace {

#define LX_KERNELS "error_kernels.h"
#include "each_isa.h"

constexpr int64_t PIECE = 1 << 15;

}  // namespace

// error[i] = scale · (output[i] - target[i]), and sum[0] = Σ (output[i] - target[i])².
LX_API void lx_square_error(const float* output, const float* target, float* error, double* sum, int64_t count,
                            double scale, int64_t threads) {
  const int64_t pieces = lx::ceil_div(count, PIECE);
  auto* sums = static_cast<double*>(lx::scratch(0, (pieces + 1) * sizeof(double)));
  lx::parallel_for(pieces, pieces > 1 ? threads : 1, [&](int64_t piece) {
    const int64_t start = piece * PIECE, size = start + PIECE < count ? PIECE : count - start;
    sums[piece] = LX_CALL(square_error(output + start, target + start, error + start, size, static_cast<float>(scale)));
  });
  sum[0] = 0;
  for (int64_t piece = 0; piece < pieces; ++piece) sum[0] += sums[piece];
}
