// Exact scores, once per instruction set. No include guard: see each_isa.h.

typedef float Vec __attribute__((vector_size(LX_VEC), aligned(4), may_alias));
typedef float Quad __attribute__((vector_size(16), aligned(4), may_alias));
constexpr int PARTS = 64 / LX_VEC;                                        // vectors that hold 16 partial sums
constexpr int ROWS = LX_VEC == 64 ? 4 : LX_VEC == 32 ? 2 : 1;             // a block of dots that fills the registers
constexpr int COLUMNS = LX_VEC == 64 ? 4 : 2;

struct Sixteen {
  Vec part[PARTS];
};

static inline Sixteen load(const float* p) {
  Sixteen v;
  for (int i = 0; i < PARTS; ++i) v.part[i] = *reinterpret_cast<const Vec*>(p + i * (LX_VEC / 4));
  return v;
}

static inline void multiply_add(Sixteen& sum, const Sixteen& a, const Sixteen& b) {
  for (int i = 0; i < PARTS; ++i) sum.part[i] += a.part[i] * b.part[i];
}

static inline float tree(const Sixteen& sum) {
  Quad q[4];
  __builtin_memcpy(q, &sum, 64);
  const Quad s = (q[0] + q[2]) + (q[1] + q[3]);
  return (s[0] + s[2]) + (s[1] + s[3]);
}

#if LX_VEC == 64
// The same tree for 16 dots at once: lane 4 l + r of the result is the sum of dot (r, l).
static inline __m512 halves(__m512 a, __m512 b) {  // 8 partial sums of each
  return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
}
static inline __m512 quarters(__m512 a, __m512 b) {  // 4 of each of four
  return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
}
static inline __m512 eighths(__m512 a, __m512 b) {  // 2 of each of eight, b's beside a's in every lane of 128 bits
  const __m512d p = _mm512_castps_pd(a), q = _mm512_castps_pd(b);
  return _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(p, q)), _mm512_castpd_ps(_mm512_unpackhi_pd(p, q)));
}
static inline __m512 lasts(__m512 a, __m512 b) {
  return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd));
}
static inline void trees(const Sixteen (&sum)[4][4], const float* b, float* out) {
  __m512 of_row[4];
  // quarters(...) of dots 0..3 has their sums in the four 128-bit lanes, so latents go there and tokens inside.
  for (int r = 0; r < 4; ++r)
    of_row[r] = quarters(halves((__m512)sum[r][0].part[0], (__m512)sum[r][1].part[0]),
                         halves((__m512)sum[r][2].part[0], (__m512)sum[r][3].part[0]));
  const __m512 all = lasts(eighths(of_row[0], of_row[1]), eighths(of_row[2], of_row[3]));
  const __m512 bias = _mm512_permutexvar_ps(_mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0),
                                            _mm512_castps128_ps512(_mm_loadu_ps(b)));
  const __m512 scores = _mm512_add_ps(all, bias);
  _mm_storeu_ps(out, _mm512_castps512_ps128(scores));
  _mm_storeu_ps(out + 16, _mm512_extractf32x4_ps(scores, 1));
  _mm_storeu_ps(out + 32, _mm512_extractf32x4_ps(scores, 2));
  _mm_storeu_ps(out + 48, _mm512_extractf32x4_ps(scores, 3));
}
#endif

// out[16 l + r] = dot(x[r], w[l]) + b[l] for a block of ROWS tokens and COLUMNS latents.
static inline void score_block(const float* const* x, const float* const* w, int64_t D, const float* b, float* out) {
  Sixteen sum[ROWS][COLUMNS] = {};
  for (int64_t d = 0; d + 16 <= D; d += 16) {
    Sixteen left[ROWS];
    for (int r = 0; r < ROWS; ++r) left[r] = load(x[r] + d);
    for (int l = 0; l < COLUMNS; ++l) {
      const Sixteen right = load(w[l] + d);
      for (int r = 0; r < ROWS; ++r) multiply_add(sum[r][l], left[r], right);
    }
  }
  if (const int64_t rest = D % 16) {
    float left[ROWS][16] = {}, right[COLUMNS][16] = {};
    for (int r = 0; r < ROWS; ++r) __builtin_memcpy(left[r], x[r] + D - rest, rest * sizeof(float));
    for (int l = 0; l < COLUMNS; ++l) __builtin_memcpy(right[l], w[l] + D - rest, rest * sizeof(float));
    for (int l = 0; l < COLUMNS; ++l)
      for (int r = 0; r < ROWS; ++r) multiply_add(sum[r][l], load(left[r]), load(right[l]));
  }
#if LX_VEC == 64
  trees(sum, b, out);
#else
  for (int l = 0; l < COLUMNS; ++l)
    for (int r = 0; r < ROWS; ++r) out[16 * l + r] = tree(sum[r][l]) + b[l];
#endif
}

// One bit per token of a tile whose score is not below or equal to its floor (NaN is not).
static inline uint32_t above(const float* scores, const float* floors) {
#if LX_VEC == 64
  return _mm512_cmp_ps_mask(_mm512_loadu_ps(scores), _mm512_loadu_ps(floors), _CMP_NLE_UQ);
#elif LX_VEC == 32
  const int low = _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(scores), _mm256_loadu_ps(floors), _CMP_NLE_UQ));
  const int high =
      _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(scores + 8), _mm256_loadu_ps(floors + 8), _CMP_NLE_UQ));
  return static_cast<uint32_t>(low | high << 8);
#else
  uint32_t bits = 0;
  for (int i = 0; i < 16; ++i) bits |= static_cast<uint32_t>(!(scores[i] <= floors[i])) << i;
  return bits;
#endif
}

static void scan(const Problem& p, const int32_t* tokens, int64_t begin, int64_t end, Lists& lists) {
  const int64_t n = lists.tokens, D = p.D;
  int64_t panel = (32 << 10) / (D * sizeof(float)) / 4 * 4;  // latents whose rows stay in the first-level cache
  panel = panel < 4 ? 4 : panel > 16 ? 16 : panel;
  alignas(64) float scores[16 * 16];
  alignas(64) float floors[16];
  for (int64_t first = begin; first < end; first += panel) {
    const int64_t latents = first + panel < end ? panel : end - first;
    const float *w[16], *x[16];
    float bias[16];
    for (int64_t l = 0; l < 16; ++l) {
      const int64_t latent = first + (l < latents ? l : latents - 1);
      w[l] = p.W + latent * D;
      bias[l] = p.b[latent];
    }
    for (int64_t tile = 0; tile < n; tile += 16) {
      const int64_t here = tile + 16 < n ? 16 : n - tile;
      for (int64_t r = 0; r < 16; ++r) x[r] = p.x + tokens[tile + (r < here ? r : here - 1)] * D;
      for (int64_t r = 0; r < here; r += ROWS)
        for (int64_t l = 0; l < latents; l += COLUMNS) score_block(x + r, w + l, D, bias + l, scores + 16 * l + r);
      const uint32_t valid = (1u << here) - 1;
      for (int64_t l = 0; l < latents; ++l) {
        if (p.floor != nullptr)
          for (float& floor : floors) floor = p.floor[first + l];
        uint32_t bits = valid & above(scores + 16 * l, p.floor != nullptr ? floors : lists.floor + tile);
        while (bits != 0) {
          const int64_t r = __builtin_ctz(bits);
          bits &= bits - 1;
          const float score = scores[16 * l + r];
          if (p.floor != nullptr && !(score > p.floor[first + l])) continue;  // one of them is not a number
          append(p, lists, tile + r, {score, static_cast<int32_t>(first + l)});
        }
      }
    }
  }
}

// scores[j] = dot(x[j], w) + bias for N tokens and one latent.
template <int N>
static inline void score_few(const float* const* x, const float* w, int64_t D, float bias, float* scores) {
  Sixteen sum[N] = {};
  for (int64_t d = 0; d + 16 <= D; d += 16) {
    const Sixteen right = load(w + d);
    for (int j = 0; j < N; ++j) multiply_add(sum[j], load(x[j] + d), right);
  }
  if (const int64_t rest = D % 16) {
    float left[N][16] = {}, right[16] = {};
    __builtin_memcpy(right, w + D - rest, rest * sizeof(float));
    for (int j = 0; j < N; ++j) __builtin_memcpy(left[j], x[j] + D - rest, rest * sizeof(float));
    for (int j = 0; j < N; ++j) multiply_add(sum[j], load(left[j]), load(right));
  }
  for (int j = 0; j < N; ++j) scores[j] = tree(sum[j]) + bias;
}

// Pairs of one latent stand together: up to four of them at a time.
static void score_pairs(const Problem& p, const int32_t* tokens, const int32_t* row, const int32_t* latent,
                        float* scores, int64_t count) {
  constexpr int64_t AHEAD = 24;  // pairs whose rows of W are on their way
  const int64_t D = p.D;
  int64_t same = 1, ahead = 0;
  for (int64_t i = 0; i < count; i += same) {
    for (; ahead < count && ahead < i + AHEAD; ++ahead)
      if (ahead == 0 || latent[ahead] != latent[ahead - 1]) {
        const char* row_ahead = reinterpret_cast<const char*>(p.W + latent[ahead] * D);
        for (int64_t at = 0; at < static_cast<int64_t>(D * sizeof(float)); at += 64)
          __builtin_prefetch(row_ahead + at, 0, 2);
      }
    const float *w = p.W + latent[i] * D, *x[4];
    for (same = 0; same < 4 && i + same < count && latent[i + same] == latent[i]; ++same)
      x[same] = p.x + tokens[row[i + same]] * D;
    const float bias = p.b[latent[i]];
    switch (same) {
      case 1: score_few<1>(x, w, D, bias, scores + i); break;
      case 2: score_few<2>(x, w, D, bias, scores + i); break;
      case 3: score_few<3>(x, w, D, bias, scores + i); break;
      default: score_few<4>(x, w, D, bias, scores + i);
    }
  }
}

// Order of floats as order of integers, NaN above all; whole vectors, padded with the lowest.
static void keys_of(const float* values, int64_t stride, int64_t count, int32_t* keys) {
  const int32_t* bits = reinterpret_cast<const int32_t*>(values);
  for (int64_t i = 0; i < count; ++i) {
    const int32_t value = bits[i * stride];
    const int32_t key = value ^ (value >> 31 & 0x7fffffff);
    keys[i] = (value & 0x7fffffff) > 0x7f800000 ? INT32_MAX : key;
  }
  for (int64_t i = count; i % 16 != 0; ++i) keys[i] = INT32_MIN;
}

// A key that exactly k of the keys reach, or the k-th largest itself where equal ones stand in the way.
static int32_t kth_key(const int32_t* keys, int64_t count, int64_t k) {
  int32_t least = INT32_MAX, most = INT32_MIN;
  for (int64_t i = 0; i < count; ++i) {
    least = keys[i] < least ? keys[i] : least;
    most = keys[i] > most ? keys[i] : most;
  }
  const int64_t padded = (count + 15) / 16 * 16;
  int64_t low = least, high = most;
  while (low < high) {  // at least k reach low, fewer reach what is above high
    const int64_t middle = low + (high - low + 1) / 2;
    const int32_t key = static_cast<int32_t>(middle);
    int32_t found = 0;
    for (int64_t i = 0; i < padded; ++i) found += keys[i] >= key;
    if (found == k) return key;
    if (found > k)
      low = middle;
    else
      high = middle - 1;
  }
  return static_cast<int32_t>(low);
}

static float kth_largest(const float* values, int64_t count, int64_t k, int32_t* keys) {
  keys_of(values, 1, count, keys);
  const int32_t key = kth_key(keys, count, k), bits = key ^ (key >> 31 & 0x7fffffff);
  float value;
  __builtin_memcpy(&value, &bits, sizeof(value));
  return value;
}

static int64_t keep_largest(Entry* entries, int64_t count, int64_t k, int32_t* keys) {
  keys_of(&entries->score, 2, count, keys);
  const int32_t key = kth_key(keys, count, k);
  int64_t ties = k, left = 0;
  for (int64_t i = 0; i < count; ++i) ties -= keys[i] > key;
  for (int64_t i = 0; i < count; ++i) {
    const bool tie = keys[i] == key;
    entries[left] = entries[i];
    left += keys[i] > key || (tie && ties > 0);
    ties -= tie;
  }
  return left;
}
