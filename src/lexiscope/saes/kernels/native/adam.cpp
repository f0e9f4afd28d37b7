// Adam with unit rows and clipping, a parameter at a time; saes/kernels/adam.py says what is computed.
//
// Two passes, each limited by memory: the first reads gradient (and rows), the second reads and writes weights and
// moments. Work is cut the same way for any number of threads, and sums are added in the order of the pieces.
#include "common.h"

namespace {

constexpr int64_t BLOCK = 256;         // numbers that share a scale, see eight_bit.py
constexpr int64_t PIECE = 1 << 14;     // numbers per piece of work

struct Rates {
  float scale;  // of the gradient
  float step_size, beta_2, one_minus_beta_1, one_minus_beta_2, eps, root_of_correction;
  uint32_t salt_1, salt_2;
};

#define LX_KERNELS "adam_kernels.h"
#include "each_isa.h"

// Calls body(first number, how many) for stretches of rows: whole rows if they belong together, else any cut.
template <class Body>
void pieces(int64_t rows, int64_t width, bool whole_rows, int64_t threads, const Body& body) {
  const int64_t unit = whole_rows ? width : 1, total = rows * width;
  const int64_t step = unit * lx::ceil_div(PIECE, unit);
  if (total < 2 * PIECE) threads = 1;
  lx::parallel_for(lx::ceil_div(total, step), threads, [&](int64_t piece) {
    const int64_t start = piece * step;
    body(piece, start, start + step < total ? step : total - start);
  });
}

}  // namespace

// out[0] = Σ g². With `unit`, rows of length 1: of g without its part along them, and parallel[r] = ⟨g[r], unit[r]⟩.
LX_API void lx_adam_look(const float* grad, const float* unit, float* parallel, double* out, int64_t rows,
                         int64_t width, int64_t threads) {
  const int64_t most = lx::ceil_div(rows * width, PIECE) + 1;
  auto* sums = static_cast<double*>(lx::scratch(0, most * sizeof(double)));
  for (int64_t i = 0; i < most; ++i) sums[i] = 0;
  pieces(rows, width, unit != nullptr, threads, [&](int64_t piece, int64_t start, int64_t count) {
    if (unit == nullptr) {
      sums[piece] = LX_CALL(square_norm(grad + start, nullptr, nullptr, count));
      return;
    }
    for (int64_t at = start; at < start + count; at += width)
      sums[piece] += LX_CALL(square_norm(grad + at, unit + at, parallel + at / width, width));
  });
  out[0] = 0;
  for (int64_t i = 0; i < most; ++i) out[0] += sums[i];
}

// One step in place. `parallel`, as lx_adam_look gave it, says that rows have length 1, and keeps them at it.
LX_API void lx_adam_update(float* weights, const float* grad, float* first, float* second, const float* parallel,
                           int64_t rows, int64_t width, double scale, double step_size, double beta_1, double beta_2,
                           double eps, double root_of_correction, int64_t threads) {
  const Rates rates{float(scale), float(step_size), float(beta_2),  float(1 - beta_1), float(1 - beta_2),
                    float(eps),   float(root_of_correction), 0, 0};
  pieces(rows, width, parallel != nullptr, threads, [&](int64_t, int64_t start, int64_t count) {
    const int64_t step = parallel ? width : count;
    for (int64_t at = start; at < start + count; at += step)
      LX_CALL(update(rates, weights + at, grad + at, first + at, second + at,
                     parallel ? parallel + at / width : nullptr, step));
  });
}

// The same with moments in 8 bits.
LX_API void lx_adam_update_8(float* weights, const float* grad, uint8_t* first_codes, float* first_scales,
                             uint8_t* second_codes, float* second_scales, const float* parallel, int64_t rows,
                             int64_t width, double scale, double step_size, double beta_1, double beta_2, double eps,
                             double root_of_correction, int64_t salt_1, int64_t salt_2, int64_t threads) {
  const Rates rates{float(scale), float(step_size),          float(beta_2),         float(1 - beta_1), float(1 - beta_2),
                    float(eps),   float(root_of_correction), uint32_t(salt_1), uint32_t(salt_2)};
  const int64_t blocks = lx::ceil_div(width, BLOCK);
  pieces(rows, width, true, threads, [&](int64_t, int64_t start, int64_t count) {
    for (int64_t at = start; at < start + count; at += width) {
      const int64_t row = at / width;
      LX_CALL(update_8(rates, weights + at, grad + at, first_codes + at, first_scales + row * blocks,
                       second_codes + at, second_scales + row * blocks, parallel ? parallel + row : nullptr, width,
                       static_cast<uint32_t>(at)));
    }
  });
}
