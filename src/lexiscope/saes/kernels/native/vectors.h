// Vectors of floats of the width LX_VEC, for files that each_isa.h includes. No include guard: one copy per set.

typedef float V __attribute__((vector_size(LX_VEC)));
typedef float Unaligned __attribute__((vector_size(LX_VEC), aligned(4), may_alias));
constexpr int64_t L = LX_VEC / 4;

inline V load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
inline void store(float* to, V vector) { *reinterpret_cast<Unaligned*>(to) = vector; }

// Stores of whole cache lines that nobody reads soon: past the caches, which would first read what is overwritten.
// `stream` asks for it; `to` must then be aligned to a vector.
inline void store(float* to, V vector, bool stream) {
#if !defined(__x86_64__)
  (void)stream;
#elif LX_VEC == 64
  if (stream) return _mm512_stream_ps(to, (__m512)vector);
#elif LX_VEC == 32
  if (stream) return _mm256_stream_ps(to, (__m256)vector);
#else
  if (stream) return _mm_stream_ps(to, (__m128)vector);
#endif
  store(to, vector);
}

inline V square_root(V x) {
#if !defined(__x86_64__)
  for (int64_t i = 0; i < L; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
#elif LX_VEC == 64
  return (V)_mm512_sqrt_ps((__m512)x);
#elif LX_VEC == 32
  return (V)_mm256_sqrt_ps((__m256)x);
#else
  return (V)_mm_sqrt_ps((__m128)x);
#endif
}

// The lanes added up, in float64 and in their order.
inline double total(V x) {
  double sum = 0;
  for (int64_t i = 0; i < L; ++i) sum += x[i];
  return sum;
}
