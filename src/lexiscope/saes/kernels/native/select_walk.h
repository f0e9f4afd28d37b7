// The walk over the latents of select_bf16.cpp: scores of PANEL latents and PANEL tokens at a time, filtered while the
// next ones are computed. Included by it once.
//
// `sums` of a pair of token tiles are four blocks of [16 latents, 16 tokens]: latents 0-15 and 16-31, each for both tiles.

constexpr int64_t SUMS = PANEL * PANEL;
constexpr int64_t GROUPS = 16;    // in which the 64 vectors of sums are filtered, four at a time
constexpr int64_t CHUNK = 16;     // steps whose W stays in the first-level cache

constexpr int64_t PAIRS = 32;     // of token tiles in a block, at most
constexpr int64_t LOG = 8192;     // what passed the filter goes to the lists in portions of about this many

// Sums that are still to be filtered.
struct Waiting {
  const float* sums = nullptr;
  int64_t panel = 0, pair = 0, done = GROUPS;
  alignas(64) float floor[2][16];
};

VECTOR_CODE INLINE void wait(Waiting& waiting, const Block& block, const float* sums, int64_t panel, int64_t pair) {
  waiting.sums = sums;
  waiting.panel = panel;
  waiting.pair = pair;
  waiting.done = 0;
  const __m512 norm = _mm512_set1_ps(block.w.top_norm[panel]), loss = _mm512_set1_ps(block.w.top_loss[panel]);
  const __m512 slack = _mm512_set1_ps(block.w.top_slack[panel]);
  for (int64_t half = 0; half < 2; ++half) {
    const int64_t token = pair * PANEL + half * TILE;
    const __m512 floor = _mm512_loadu_ps(block.lists.floor + token);
    __m512 error = _mm512_fmadd_ps(_mm512_loadu_ps(block.length + token), loss, slack);
    error = _mm512_fmadd_ps(_mm512_loadu_ps(block.spread + token), norm, error);
    error = _mm512_fmadd_ps(_mm512_abs_ps(floor), _mm512_set1_ps(0x1p-21f), error);
    _mm512_store_ps(waiting.floor[half], _mm512_sub_ps(floor, _mm512_mul_ps(error, _mm512_set1_ps(ROUND_UP))));
  }
}

// Filters the next four vectors, each one latent on 16 tokens. No branch depends on a score: a wrong guess of the
// processor would throw away the tile instructions that are under way. Nor does it touch the lists, which would push W
// out of the first-level cache.
VECTOR_CODE INLINE void filter(Waiting& waiting, Block& block) {
  const int64_t quarter = waiting.done / 4;
  const float* sums = waiting.sums + waiting.done * 64;
  const float* bias = block.w.bias + waiting.panel * PANEL + quarter / 2 * 16 + waiting.done % 4 * 4;
  const __m512 floor = _mm512_load_ps(waiting.floor[quarter % 2]);
  const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const int64_t place = (waiting.panel * PAIRS + waiting.pair) * SUMS + waiting.done * 64;
  int64_t logged = block.logged;
  for (int64_t i = 0; i < 4; ++i) {
    const __m512 score = _mm512_add_ps(_mm512_load_ps(sums + 16 * i), _mm512_set1_ps(bias[i]));
    const __mmask16 passed = _mm512_cmp_ps_mask(score, floor, _CMP_NLT_UQ);
    const __m512i places = _mm512_add_epi32(lanes, _mm512_set1_epi32(static_cast<int32_t>(place + 16 * i)));
    _mm512_storeu_ps(block.log_scores + logged, _mm512_maskz_compress_ps(passed, score));
    _mm512_storeu_si512(block.log_places + logged, _mm512_maskz_compress_epi32(passed, places));
    logged += __builtin_popcount(passed);
  }
  block.logged = logged;
  ++waiting.done;
}

// Moves what is logged to the lists.
__attribute__((noinline)) void empty_log(Block& block) {
  for (int64_t i = 0; i < block.logged; ++i) {
    const uint32_t place = block.log_places[i];
    const int64_t token = (place / SUMS % PAIRS) * PANEL + (place / 256 % 2) * TILE + place % 16;
    const int64_t latent = (place / SUMS / PAIRS) * PANEL + (place / 512 % 2) * 16 + place / 16 % 16;
    if (latent >= block.p.F) continue;
    const int32_t n = block.lists.count[token];
    block.lists.of(token)[n] = {block.log_scores[i], static_cast<int32_t>(latent)};
    block.lists.count[token] = n + 1;
    if (n + 1 == block.lists.capacity) make_room(block, token);
  }
  block.logged = 0;
}

VECTOR_CODE INLINE void finish(Waiting& waiting, Block& block) {
  while (waiting.done < GROUPS) filter(waiting, block);
  if (block.logged > LOG) empty_log(block);
}

// Sums of one panel and one pair over some steps, on tiles. Meanwhile those that wait are filtered.
template <bool START, bool FILTER>
TILE_CODE INLINE void multiply(const uint16_t* w, const uint16_t* x, int64_t steps, float* sums, const char* next,
                               int64_t lines, Waiting& waiting, Block& block) {
  if (START) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, sums, 64);
    _tile_loadd(1, sums + 256, 64);
    _tile_loadd(2, sums + 512, 64);
    _tile_loadd(3, sums + 768, 64);
  }
  for (int64_t s = 0; s < steps; ++s, w += 1024, x += 1024) {
    _tile_stream_loadd(6, x, 64);  // x passes through, w stays
    _tile_loadd(4, w, 64);
    _tile_dpbf16ps(0, 4, 6);
    if (START || FILTER)
      for (int64_t line = 0; line < lines; ++line, next += 64) _mm_prefetch(next, _MM_HINT_T0);
    _tile_stream_loadd(7, x + 512, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, w + 512, 64);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
    if (FILTER)
      while (waiting.done * steps < GROUPS * (s + 1)) filter(waiting, block);
  }
  _tile_stored(0, sums, 64);
  _tile_stored(1, sums + 256, 64);
  _tile_stored(2, sums + 512, 64);
  _tile_stored(3, sums + 768, 64);
  __asm__ volatile("" ::: "memory");
}

TILE_CODE void walk_tiles(Block& block) {
  const int64_t steps = block.w.steps, chunks = ceil_div(steps, CHUNK), chunk = ceil_div(steps, chunks);
  Waiting waiting;
  for (int64_t panel = 0; panel < block.w.panels; ++panel) {
    const uint16_t* w = block.w.tiles + panel * steps * 1024;
    const char* next = reinterpret_cast<const char*>(w + steps * 1024);
    const int64_t lines = ceil_div(steps * 32, block.pairs * (steps - (chunks - 1) * chunk));  // of it, in each step
    for (int64_t begin = 0; begin < steps; begin += chunk) {
      const int64_t here = begin + chunk < steps ? chunk : steps - begin;
      const bool last = begin + here == steps;
      for (int64_t pair = 0; pair < block.pairs; ++pair) {
        const uint16_t* x = block.tiles + (pair * steps + begin) * 1024;
        float* sums = block.sums + (chunks > 1 ? pair : (panel * block.pairs + pair) % 2) * SUMS;
        if (begin == 0 && last)
          multiply<true, true>(w, x, here, sums, next + pair * here * lines * 64, lines, waiting, block);
        else if (begin == 0)
          multiply<true, false>(w, x, here, sums, next + pair * here * lines * 64, lines, waiting, block);
        else if (last)
          multiply<false, true>(w + begin * 1024, x, here, sums, next + pair * here * lines * 64, lines, waiting, block);
        else
          multiply<false, false>(w + begin * 1024, x, here, sums, next + pair * here * lines * 64, lines, waiting, block);
        if (!last) continue;
        finish(waiting, block);
        wait(waiting, block, sums, panel, pair);
      }
      if (last && chunks > 1) finish(waiting, block);  // its sums are overwritten next
    }
  }
  finish(waiting, block);
}

// The same on vectors of AVX512-BF16.
VECTOR_CODE INLINE void multiply_vectors(const uint16_t* w, const uint16_t* x, int64_t steps, float* sums) {
  for (int64_t first = 0; first < PANEL; first += 8) {
    __m512 sum[8][2];
    for (int64_t l = 0; l < 8; ++l) sum[l][0] = sum[l][1] = _mm512_setzero_ps();
    for (int64_t s = 0; s < steps; ++s) {
      const uint16_t* rows = w + s * 1024 + first * STEP;
      for (int64_t i = 0; i < 16; ++i) {
        const __m512bh low = (__m512bh)_mm512_load_si512(x + s * 1024 + i * 32);
        const __m512bh high = (__m512bh)_mm512_load_si512(x + s * 1024 + 512 + i * 32);
        for (int64_t l = 0; l < 8; ++l) {
          int32_t both;
          std::memcpy(&both, rows + l * STEP + 2 * i, 4);
          const __m512bh right = (__m512bh)_mm512_set1_epi32(both);
          sum[l][0] = _mm512_dpbf16_ps(sum[l][0], low, right);
          sum[l][1] = _mm512_dpbf16_ps(sum[l][1], high, right);
        }
      }
    }
    for (int64_t l = 0; l < 8; ++l) {
      float* out = sums + (first + l) / 16 * 512 + (first + l) % 16 * 16;
      _mm512_store_ps(out, sum[l][0]);
      _mm512_store_ps(out + 256, sum[l][1]);
    }
  }
}

VECTOR_CODE void walk_vectors(Block& block) {
  Waiting waiting;
  for (int64_t panel = 0; panel < block.w.panels; ++panel)
    for (int64_t pair = 0; pair < block.pairs; ++pair) {
      multiply_vectors(block.w.tiles + panel * block.w.steps * 1024, block.tiles + pair * block.w.steps * 1024,
                       block.w.steps, block.sums);
      wait(waiting, block, block.sums, panel, pair);
      finish(waiting, block);
    }
}

// ---- a guess of the floor from a few panels ------------------------------------------------------------------------

constexpr int64_t SAMPLE = 16;  // one panel in so many
constexpr int64_t RANKS = 64;   // a guess from further down a sample is not worth it

// Rank in the sample that one of the k largest hardly ever has; 0: no guess.
int64_t guess_rank(const Problem& p, int64_t panels) {
  if (p.floor != nullptr || panels < 2 * SAMPLE) return 0;
  const double mean = static_cast<double>(p.k) * ((panels + SAMPLE - 1) / SAMPLE) / panels;
  const int64_t rank = static_cast<int64_t>(mean + 4.5 * std::sqrt(mean) + 1.5);
  return rank <= RANKS ? rank : 0;
}

// The largest sums of each of 32 tokens, each a vector of 16 tokens, in descending order.
using Largest = float[2][RANKS][16];

// Maxima over four latents find their places among the largest.
VECTOR_CODE INLINE void insert_sums(const float* sums, const float* bias, int64_t ranks, Largest& largest) {
  for (int64_t half = 0; half < 2; ++half)
    for (int64_t latent = 0; latent < PANEL; latent += 4) {
      const float* rows = sums + latent / 16 * 512 + half * 256 + latent % 16 * 16;
      __m512 value = _mm512_set1_ps(-INFINITE);
      for (int64_t i = 0; i < 4; ++i)
        value = _mm512_max_ps(value, _mm512_add_ps(_mm512_load_ps(rows + 16 * i), _mm512_set1_ps(bias[latent + i])));
      for (int64_t r = 0; r < ranks; ++r) {
        const __m512 held = _mm512_load_ps(largest[half][r]);
        _mm512_store_ps(largest[half][r], _mm512_max_ps(held, value));
        value = _mm512_min_ps(held, value);
      }
    }
}

// sum(w, x, sums, next) makes the sums of a panel and a pair; `next` is the panel after it.
template <class Sum>
VECTOR_CODE INLINE void guess_floors(Block& block, int64_t rank, const Sum& sum) {
  Largest* largest = static_cast<Largest*>(keep(GUESSES, block.pairs * sizeof(Largest)));
  for (int64_t pair = 0; pair < block.pairs; ++pair)
    for (auto& half : largest[pair])
      for (int64_t r = 0; r < rank; ++r) _mm512_store_ps(half[r], _mm512_set1_ps(-INFINITE));
  const int64_t size = block.w.steps * 1024;
  for (int64_t panel = SAMPLE / 2; panel < block.w.panels; panel += SAMPLE)
    for (int64_t pair = 0; pair < block.pairs; ++pair) {
      float* sums = block.sums + pair % 2 * SUMS;
      const int64_t next = panel + SAMPLE < block.w.panels ? panel + SAMPLE : 0;
      sum(block.w.tiles + panel * size, block.tiles + pair * size, sums, block.w.tiles + next * size, pair);
      insert_sums(sums, block.w.bias + panel * PANEL, rank, largest[pair]);
    }
  for (int64_t i = 0; i < block.n; ++i) {
    const float guess = largest[i / PANEL][i % PANEL / TILE][rank - 1][i % TILE];
    float& floor = block.lists.floor[i];
    if (floor == 0 && guess > 0 && guess < HOPELESS) floor = block.guess[i] = guess;
  }
}

TILE_CODE void guess_and_walk_tiles(Block& block, int64_t rank) {
  TileConfig before, config;
  for (int i = 0; i < 8; ++i) config.row_bytes[i] = 64, config.rows[i] = 16;
  _tile_storeconfig(&before);  // other libraries rely on theirs
  _tile_loadconfig(&config);
  Waiting none;
  const int64_t steps = block.w.steps, lines = ceil_div(32, block.pairs);
  if (rank > 0)
    guess_floors(block, rank, [&](const uint16_t* w, const uint16_t* x, float* sums, const uint16_t* next, int64_t pair)
                                  TILE_CODE {
      const char* share = reinterpret_cast<const char*>(next) + pair * steps * lines * 64;
      multiply<true, false>(w, x, steps, sums, share, lines, none, block);
    });
  walk_tiles(block);
  _tile_loadconfig(&before);
}

VECTOR_CODE void guess_and_walk_vectors(Block& block, int64_t rank) {
  if (rank > 0)
    guess_floors(block, rank, [&](const uint16_t* w, const uint16_t* x, float* sums, const uint16_t*, int64_t)
                                  VECTOR_CODE { multiply_vectors(w, x, block.w.steps, sums); });
  walk_vectors(block);
}
