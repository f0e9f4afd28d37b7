// Selection: which latents of each token have a score that matters. T tokens, D width, F latents.
//
// score(t, f) = dot(x[t], W[f]) + b[f], where dot has 16 partial sums (entries i, i + 16, ... of the rows, in order,
// fused multiply-add where the processor has it), added as a tree: i and i + 8, then i + 4, i + 2, i + 1. Every path
// returns these very numbers, however it found the candidates, so that results depend neither on the number of threads
// nor on which tokens are looked at together.
#pragma once

#include "common.h"

namespace lx {

struct Problem {
  const float* x;      // [T, D]
  const float* W;      // [F, D]
  const float* b;      // [F]
  const float* floor;  // [F]: what exceeds it is wanted; null: the k largest positive scores of each token
  int64_t T, D, F, k;
};

struct Entry {
  float score;
  int32_t latent;
};

constexpr float INFINITE = __builtin_inff();
constexpr int64_t TILE = 16;  // tokens of one vector

// Lists of entries for a block of tokens, latents ascending.
struct Lists {
  int64_t tokens = 0, capacity = 0;
  Entry* entries = nullptr;  // [tokens, capacity]
  int32_t* count = nullptr;  // [tokens], always below the capacity
  float* floor = nullptr;    // [tokens]: what lies below is not wanted any more

  Entry* of(int64_t token) const { return entries + token * capacity; }
};

// Empty lists in memory that the calling thread keeps from call to call, and wider ones with the same content.
Lists empty_lists(int64_t tokens, int64_t capacity);
void widen(Lists& lists);

// Like scratch(), in pages of 2 MB where the system has them: such memory is walked through again and again.
enum Use { W_TILES, X_TILES, GUESSES, LOGGED, ENTRIES, WIDER, STATE, KEYS, BOUNDS, REDO, SORTED, FEW, FEW_PAIRS, USES };
void* keep(Use use, size_t bytes);

// ---- exact scores, for any processor (select_exact.cpp) --------------------------------------------------------------

// Keeps the k entries with the largest scores (NaN above all; of equal ones the first), in their order; returns how many.
int64_t keep_largest(Entry* entries, int64_t count, int64_t k);

// What at least k of the values reach, and as few others as possible.
float kth_largest(const float* values, int64_t count, int64_t k);

// Of entries with exact scores, keeps what is wanted; returns how many.
int64_t choose(const Problem& problem, Entry* entries, int64_t count);

// What is wanted of x[tokens[i]], i < n, among the latents begin..end-1.
Lists scan_exactly(const Problem& problem, const int32_t* tokens, int64_t n, int64_t begin, int64_t end);

// scores[i] = score(tokens[row[i]], latent[i]).
void score_pairs(const Problem& problem, const int32_t* tokens, const int32_t* row, const int32_t* latent,
                 float* scores, int64_t count);

}  // namespace lx
