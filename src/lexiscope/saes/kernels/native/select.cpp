// Selection for all tokens: blocks of tokens in parallel, by a shortlist where the processor has bfloat16 arithmetic, the
// rest with exact scores; then the result in one piece.

#include "select.h"

#include <cstdlib>
#include <cstring>

#include "select_bf16.h"
#include "select_bytes.h"

namespace lx {
namespace {

// What was found, kept between the call that finds it and the one that hands it over.
struct Selection {
  int64_t T, pieces;
  Entry** entries;  // [T]
  int64_t* count;   // [T]
  void** memory;    // [pieces], what the entries lie in

  Selection(int64_t tokens, int64_t most_pieces) : T(tokens), pieces(most_pieces) {
    entries = static_cast<Entry**>(std::calloc(T + 1, sizeof(Entry*)));
    count = static_cast<int64_t*>(std::calloc(T + 1, sizeof(int64_t)));
    memory = static_cast<void**>(std::calloc(most_pieces + 1, sizeof(void*)));
  }
  ~Selection() {
    for (int64_t i = 0; i < pieces; ++i) std::free(memory[i]);
    std::free(memory);
    std::free(count);
    std::free(entries);
  }
};

bool worth_a_shortlist(const Problem& p, int64_t budget) {
  return shortlist() != NONE && p.T >= 64 && p.F >= 64 && p.D >= 16 && 8 * p.k <= p.F && 8 * budget <= p.T * p.F;
}

// Selects on all tokens that a shortlist can settle, and lists the others.
int64_t select_by_shortlist(const Problem& p, const Latents& latents, Selection& found, int64_t size, int32_t* redo,
                            const int32_t* all, int64_t threads) {
  std::atomic<int64_t> num_redo{0};
  parallel_for(ceil_div(p.T, size), threads, [&](int64_t chunk) {
    const int64_t first = chunk * size, n = first + size < p.T ? size : p.T - first;
    const Shortlisted block = shorten(p, latents, all + first, n);
    Entry* to = static_cast<Entry*>(std::malloc((block.start[n] + 1) * sizeof(Entry)));
    found.memory[chunk] = to;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t count = block.start[i + 1] - block.start[i];
      std::memcpy(to, block.entries + block.start[i], count * sizeof(Entry));
      found.entries[first + i] = to;
      to += found.count[first + i] = choose(p, to, count);
    }
    if (block.num_redo > 0) {
      int64_t at = num_redo.fetch_add(block.num_redo);
      for (int64_t i = 0; i < block.num_redo; ++i) redo[at++] = static_cast<int32_t>(first + block.redo[i]);
    }
  });
  return num_redo;
}

// Exact scores for some tokens; where they are few, their latents are divided among the threads.
void select_exactly(const Problem& p, Selection& found, const int32_t* tokens, int64_t n, int64_t size, int64_t ranges,
                    int64_t first_piece, int64_t threads) {
  const int64_t span = ceil_div(ceil_div(p.F, ranges), TILE) * TILE;
  Entry** parts = static_cast<Entry**>(std::malloc(n * ranges * sizeof(Entry*)));
  int64_t* counts = static_cast<int64_t*>(std::calloc(n * ranges, sizeof(int64_t)));
  parallel_for(ceil_div(n, size) * ranges, threads, [&](int64_t chunk) {
    const int64_t range = chunk % ranges, first = chunk / ranges * size;
    const int64_t here = first + size < n ? size : n - first;
    const int64_t begin = range * span, end = begin + span < p.F ? begin + span : p.F;
    if (begin >= end) return;
    const Lists lists = scan_exactly(p, tokens + first, here, begin, end);
    int64_t total = 0;
    for (int64_t i = 0; i < here; ++i) total += lists.count[i];
    Entry* to = static_cast<Entry*>(std::malloc((total + 1) * sizeof(Entry)));
    found.memory[first_piece + chunk] = to;
    for (int64_t i = 0; i < here; ++i) {
      const int64_t count = lists.count[i];
      std::memcpy(to, lists.of(i), count * sizeof(Entry));
      parts[(first + i) * ranges + range] = to;
      counts[(first + i) * ranges + range] = count;
      to += count;
    }
  });
  if (ranges == 1) {
    for (int64_t i = 0; i < n; ++i) found.entries[tokens[i]] = parts[i], found.count[tokens[i]] = counts[i];
  } else {
    int64_t total = 0;
    for (int64_t i = 0; i < n * ranges; ++i) total += counts[i];
    Entry* to = static_cast<Entry*>(std::malloc((total + 1) * sizeof(Entry)));
    found.memory[first_piece + ceil_div(n, size) * ranges] = to;
    for (int64_t i = 0; i < n; ++i) {
      int64_t count = 0;
      for (int64_t part = i * ranges; part < (i + 1) * ranges; ++part) {
        if (counts[part] > 0) std::memcpy(to + count, parts[part], counts[part] * sizeof(Entry));
        count += counts[part];
      }
      found.entries[tokens[i]] = to;
      to += found.count[tokens[i]] = p.floor != nullptr ? count : keep_largest(to, count, p.k);
    }
  }
  std::free(counts);
  std::free(parts);
}

// `latents` is null where there is no shortlist.
Selection* select(const Problem& p, const Latents* latents, int64_t threads) {
  int32_t* all = static_cast<int32_t*>(std::malloc(2 * (p.T + 1) * sizeof(int32_t)));
  for (int64_t t = 0; t < p.T; ++t) all[t] = static_cast<int32_t>(t);
  int32_t* redo = all + p.T;
  int64_t most = latents != nullptr ? tokens_per_block(p) : (1 << 20) / (p.D * sizeof(float)) / TILE * TILE;
  most = most > 1024 ? 1024 : most < TILE ? TILE : most;
  const int64_t rounds = ceil_div(p.T + 1, most * threads);  // of equal blocks, so that all threads finish together
  const int64_t share = ceil_div(ceil_div(p.T, rounds * threads), 32) * 32;
  const int64_t size = share < 32 ? 32 : share;
  const int64_t blocks = ceil_div(p.T, size), ranges = 2 * threads;
  Selection* found = new Selection(p.T, blocks + (blocks + 1) * ranges + 1);
  int64_t left = p.T;
  if (latents != nullptr)
    left = select_by_shortlist(p, *latents, *found, size, redo, all, threads);
  else
    std::memcpy(redo, all, p.T * sizeof(int32_t));
  if (left > 0)
    select_exactly(p, *found, redo, left, size, ceil_div(left, size) >= threads ? 1 : ranges, blocks, threads);
  std::free(all);
  return found;
}

// ---- few tokens ----------------------------------------------------------------------------------------------------

Bytes bytes_of(const uint8_t* codes, const float* sizes, const Problem& p) {
  return {codes, sizes, ceil_div(p.F, GROUP), ceil_div(p.D, 4)};
}

constexpr int64_t SMALL = 1 << 22;  // multiply-adds that one thread does before others have woken up

int64_t threads_for(const Problem& p, int64_t threads) { return p.T * p.F * p.D < SMALL ? 1 : threads; }

int32_t count_above(const float* values, int64_t count, float least) {
  int32_t found = 0;
  for (int64_t i = 0; i < count; ++i) found += values[i] > least;
  return found;
}

Selection* select_few(const Problem& p, const Bytes& bytes, int64_t threads) {
  const int64_t ranges = 2 * threads;
  Selection* found = new Selection(p.T, p.T + 2 * ranges + 1);
  const Bounds bounds = prepare_bounds(p, bytes);
  find_bounds(p, bytes, bounds, 0, bytes.groups, threads_for(p, threads));
  int32_t* redo = static_cast<int32_t*>(std::malloc((p.T + 1) * sizeof(int32_t)));
  int64_t left = 0;
  for (int64_t t = 0; t < p.T; ++t)
    if (!bounds.usable[t]) redo[left++] = static_cast<int32_t>(t);
  parallel_for(p.T, threads_for(p, threads), [&](int64_t t) {
    if (!bounds.usable[t]) return;
    const Candidates few = candidates(p, bounds, t);
    const int64_t count = choose(p, few.entries, few.count);
    Entry* to = static_cast<Entry*>(std::malloc((count + 1) * sizeof(Entry)));
    std::memcpy(to, few.entries, count * sizeof(Entry));
    found->memory[t] = found->entries[t] = to;
    found->count[t] = count;
  });
  if (left > 0) select_exactly(p, *found, redo, left, left, ranges, p.T, threads);
  std::free(redo);
  return found;
}

// out[j] = the score of wanted[j] where it is among the k largest positive ones of token t, else 0. Whoever is looked for
// has most often no positive score, or k surely larger ones among the first groups already.
void read_few(const Problem& p, const Bytes& bytes, const int32_t* wanted, int64_t num_wanted, float* out,
              int64_t threads) {
  constexpr int64_t ROUNDS = 8;
  int32_t* open = static_cast<int32_t*>(std::malloc((num_wanted + 1) * (2 * sizeof(int32_t) + sizeof(int64_t))));
  int32_t* row = open + num_wanted;
  for (int64_t j = 0; j < num_wanted; ++j) row[j] = 0;
  const int32_t first = 0;
  score_pairs(p, &first, row, wanted, out, num_wanted);
  int64_t left = 0;
  for (int64_t j = 0; j < num_wanted; ++j) {
    if (out[j] <= 0)
      out[j] = 0;
    else
      open[left++] = static_cast<int32_t>(j);
  }
  if (left == 0) return std::free(open);
  const Bounds bounds = prepare_bounds(p, bytes);
  const int64_t step = ceil_div(bytes.groups, ROUNDS);
  for (int64_t j = 0; j < left; ++j) row[j] = 0;
  for (int64_t group = 0; bounds.usable[0] && left > 0 && group < bytes.groups; group += step) {
    const int64_t end = group + step < bytes.groups ? group + step : bytes.groups;
    find_bounds(p, bytes, bounds, group, end, threads);
    int64_t still = 0;
    for (int64_t i = 0; i < left; ++i) {
      const int32_t j = open[i];
      const int32_t larger = row[i] + count_above(bounds.below + group * GROUP, (end - group) * GROUP, out[j]);
      if (larger >= p.k) {
        out[j] = 0;
        continue;
      }
      row[still] = larger;
      open[still++] = j;
    }
    left = still;
  }
  if (left > 0) {
    Selection* found = nullptr;
    const Entry* entries;
    int64_t count;
    if (bounds.usable[0]) {
      const Candidates few = candidates(p, bounds, 0);
      entries = few.entries;
      count = choose(p, few.entries, few.count);
    } else {
      found = select(p, nullptr, threads);
      entries = found->entries[0];
      count = found->count[0];
    }
    for (int64_t i = 0; i < left; ++i) {
      bool fires = false;
      for (int64_t e = 0; e < count; ++e) fires |= entries[e].latent == wanted[open[i]];
      if (!fires) out[open[i]] = 0;
    }
    delete found;
  }
  std::free(open);
}

// ---- the largest of the whole batch --------------------------------------------------------------------------------

constexpr int64_t SAMPLE = 128;  // tokens

// What about `share` times the budget exceeds, if a sample is like the rest; 0: all there is may be needed.
float guess_floor(const Problem& p, const Latents* latents, int64_t budget, double share, int64_t threads) {
  if (p.T < 4 * SAMPLE) return 0;
  const double per_token = share * static_cast<double>(budget) / static_cast<double>(p.T);
  Problem sample = p;
  sample.floor = nullptr;
  sample.k = static_cast<int64_t>(3 * per_token) + 8;
  if (sample.k > p.F / 8) return 0;
  const int64_t each = ceil_div(SAMPLE, threads);
  int32_t* tokens = static_cast<int32_t*>(std::malloc(each * threads * sizeof(int32_t)));
  for (int64_t i = 0; i < each * threads; ++i) tokens[i] = static_cast<int32_t>(i * p.T / (each * threads));
  float* scores = static_cast<float*>(std::malloc(each * threads * sample.k * sizeof(float)));
  std::atomic<int64_t> total{0};
  parallel_for(threads, threads, [&](int64_t part) {
    if (latents != nullptr) {
      const Shortlisted block = shorten(sample, *latents, tokens + part * each, each);
      for (int64_t i = 0; i < each; ++i) {
        const int64_t size = block.start[i + 1] - block.start[i];
        const int64_t count = size < sample.k ? size : sample.k;
        int64_t at = total.fetch_add(count);
        Entry* entries = const_cast<Entry*>(block.entries) + block.start[i];
        keep_largest(entries, size, sample.k);
        for (int64_t e = 0; e < count; ++e) scores[at++] = entries[e].score;
      }
    } else {
      const Lists lists = scan_exactly(sample, tokens + part * each, each, 0, p.F);
      for (int64_t i = 0; i < each; ++i) {
        int64_t at = total.fetch_add(lists.count[i]);
        for (int64_t e = 0; e < lists.count[i]; ++e) scores[at++] = lists.of(i)[e].score;
      }
    }
  });
  const int64_t rank = static_cast<int64_t>(per_token * static_cast<double>(each * threads)) + 1;
  const float guess = total >= rank ? kth_largest(scores, total, rank) : 0;
  std::free(scores);
  std::free(tokens);
  return guess > 0 && guess < INFINITE ? guess : 0;
}

// Keeps the `budget` largest; of equal ones the first.
void keep_budget(Selection& found, int64_t total, int64_t budget) {
  float* scores = static_cast<float*>(std::malloc((total + 1) * sizeof(float)));
  int64_t at = 0;
  for (int64_t t = 0; t < found.T; ++t)
    for (int64_t i = 0; i < found.count[t]; ++i) scores[at++] = found.entries[t][i].score;
  const float least = budget > 0 ? kth_largest(scores, total, budget) : INFINITE;
  int64_t ties = budget;
  for (int64_t i = 0; i < total; ++i) ties -= scores[i] > least;
  std::free(scores);
  for (int64_t t = 0; t < found.T; ++t) {
    Entry* entries = found.entries[t];
    int64_t left = 0;
    for (int64_t i = 0; i < found.count[t]; ++i) {
      const float score = entries[i].score;
      if (score > least || (score == least && ties-- > 0)) entries[left++] = entries[i];
    }
    found.count[t] = left;
  }
}

Selection* select_of_batch(Problem p, Latents* latents, int64_t budget, int64_t threads) {
  float* floors = static_cast<float*>(std::malloc((p.F + 1) * sizeof(float)));
  for (double share = 1.25;; share *= 4) {
    const float guess = share < 100 ? guess_floor(p, latents, budget, share, threads) : 0;
    for (int64_t f = 0; f < p.F; ++f) floors[f] = guess;
    p.floor = floors;
    if (latents != nullptr) set_floors(p, *latents);
    Selection* found = select(p, latents, threads);
    int64_t total = 0;
    for (int64_t t = 0; t < p.T; ++t) total += found->count[t];
    if (guess > 0 && total < budget) {  // guessed too high: some of the largest may lie below
      delete found;
      continue;
    }
    if (total > budget) keep_budget(*found, total, budget);
    std::free(floors);
    return found;
  }
}

}  // namespace
}  // namespace lx

// Which shortlist this machine uses: 0 none, 1 AVX512-BF16, 2 AMX-BF16; no better one from now on than `most` (for tests).
LX_API int64_t lx_select_shortlist(int64_t most, int64_t) {
  lx::limit_shortlist(most);
  return lx::shortlist();
}

// Whether this machine can use a copy of W in bytes.
LX_API int64_t lx_has_bytes(int64_t) { return lx::has_bytes(); }

// Makes that copy: codes[groups, steps, 64, 4] and sizes[groups, 3, 64] of 64 latents and 4 entries at a time.
LX_API void lx_pack_bytes(const float* W, uint8_t* codes, float* sizes, int64_t F, int64_t D, int64_t threads) {
  lx::pack_bytes(W, F, D, codes, sizes, threads);
}

// out[T, J] = scores of `wanted` [J] where they are among the k largest positive ones of a token, else 0.
LX_API void lx_select_read(const float* x, const float* W, const float* b, int64_t T, int64_t D, int64_t F, int64_t k,
                           const uint8_t* codes, const float* sizes, const int32_t* wanted, int64_t J, float* out,
                           int64_t threads) {
  for (int64_t t = 0; t < T; ++t) {
    const lx::Problem problem{x + t * D, W, b, nullptr, 1, D, F, k < F ? k : F};
    const lx::Bytes bytes = lx::bytes_of(codes, sizes, problem);
    lx::read_few(problem, bytes, wanted, J, out + t * J, lx::threads_for(problem, threads < 1 ? 1 : threads));
  }
}

// Starts a selection: what exceeds `floor` [F], or where it is null the k largest positive scores of each token, or if k is
// zero the `budget` largest positive ones of all. The answer is what the other functions take; lx_select_take must be
// called once.
LX_API int64_t lx_select(const float* x, const float* W, const float* b, const float* floor, int64_t T, int64_t D,
                         int64_t F, int64_t k, int64_t budget, int64_t may_shorten, int64_t threads) {
  const lx::Problem problem{x, W, b, floor, T, D, F, k < F ? k : F};
  if (threads < 1) threads = 1;
  lx::Latents latents;
  lx::Latents* shortlist = nullptr;
  if (may_shorten != 0 && lx::worth_a_shortlist(problem, budget)) {
    latents = lx::pack_latents(problem, threads);
    shortlist = &latents;
  }
  lx::Selection* found = floor == nullptr && k == 0 ? lx::select_of_batch(problem, shortlist, budget, threads)
                                                    : lx::select(problem, shortlist, threads);
  return reinterpret_cast<int64_t>(found);
}

// offsets[T + 1]; the answer is how many were found.
LX_API int64_t lx_select_offsets(int64_t handle, int64_t* offsets, int64_t) {
  const lx::Selection& found = *reinterpret_cast<lx::Selection*>(handle);
  offsets[0] = 0;
  for (int64_t t = 0; t < found.T; ++t) offsets[t + 1] = offsets[t] + found.count[t];
  return offsets[found.T];
}

// Hands the result over and forgets it. latents and values may be null.
LX_API void lx_select_take(int64_t handle, const int64_t* offsets, int64_t* latents, float* values, int64_t threads) {
  lx::Selection* found = reinterpret_cast<lx::Selection*>(handle);
  if (latents != nullptr) {
    constexpr int64_t together = 256;
    lx::parallel_for(lx::ceil_div(found->T, together), threads, [&](int64_t chunk) {
      for (int64_t t = chunk * together; t < found->T && t < (chunk + 1) * together; ++t)
        for (int64_t i = 0; i < found->count[t]; ++i) {
          latents[offsets[t] + i] = found->entries[t][i].latent;
          values[offsets[t] + i] = found->entries[t][i].score;
        }
    });
  }
  delete found;
}

// The selection for few tokens, by floors [F] or where they are null the k largest positive scores: the answer is how many
// were found. Not more than `room` of them are written to latents and values; if there are more, call again.
LX_API int64_t lx_select_few(const float* x, const float* W, const float* b, const float* floor, int64_t T, int64_t D,
                             int64_t F, int64_t k, const uint8_t* codes, const float* sizes, int64_t* offsets,
                             int64_t* latents, float* values, int64_t room, int64_t threads) {
  const lx::Problem problem{x, W, b, floor, T, D, F, k < F ? k : F};
  lx::Selection* found = lx::select_few(problem, lx::bytes_of(codes, sizes, problem), threads < 1 ? 1 : threads);
  const int64_t handle = reinterpret_cast<int64_t>(found), count = lx_select_offsets(handle, offsets, threads);
  const bool fits = count <= room;
  lx_select_take(handle, offsets, fits ? latents : nullptr, values, 1);
  return count;
}
