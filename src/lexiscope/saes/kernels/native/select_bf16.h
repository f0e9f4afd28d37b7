// Approximate scores from bfloat16 copies, and how wrong they can be.
#pragma once

#include "select.h"

namespace lx {

enum Shortlist { NONE = 0, VECTORS = 1, TILES = 2 };  // by fp32 alone, by AVX512-BF16, by AMX-BF16
Shortlist shortlist();                                // the best that this processor and the compiler have
void limit_shortlist(int64_t most);                   // for tests

constexpr int64_t PANEL = 32;  // latents, and tokens, that are scored together
constexpr int64_t STEP = 32;   // entries of a row that one tile instruction takes

// W in bfloat16, in the order in which it is read, with the bounds of every latent and of every panel.
struct Latents {
  int64_t panels, steps;
  uint16_t* tiles;                         // [panels, steps, PANEL, STEP]
  float *norm, *loss, *slack, *bias;       // [panels * PANEL]
  float *top_norm, *top_loss, *top_slack;  // [panels]: the largest of each panel
};

Latents pack_latents(const Problem& problem, int64_t threads);
void set_floors(const Problem& problem, Latents& latents);  // after a change of them

// The candidates of a block of tokens, with exact scores.
struct Shortlisted {
  const Entry* entries;
  const int64_t* start;  // [tokens + 1]
  const int32_t* redo;   // tokens (their places in the block) that need exact scores of all latents
  int64_t num_redo;
};

int64_t tokens_per_block(const Problem& problem);
Shortlisted shorten(const Problem& problem, const Latents& latents, const int32_t* tokens, int64_t n);

}  // namespace lx
