// The inner loops of adam.cpp, compiled once per instruction set (see each_isa.h). n numbers lie side by side; those
// after the last whole vector are padded with zeros in a buffer.

#include "vectors.h"

typedef uint32_t U __attribute__((vector_size(LX_VEC)));
typedef int32_t I __attribute__((vector_size(LX_VEC)));
typedef uint8_t Bytes __attribute__((vector_size(LX_VEC / 4)));

// body(i, count) for every stretch of `count` numbers from i on: whole vectors, and then what is left.
template <class Body>
inline void stretches(int64_t n, const Body& body) {
  int64_t i = 0;
  for (; i + L <= n; i += L) body(i, L);
  if (i < n) body(i, n - i);
}

inline V load(const float* from, int64_t count) {
  if (count == L) return load(from);
  V vector = V{};
  for (int64_t i = 0; i < count; ++i) vector[i] = from[i];
  return vector;
}

inline void put(float* to, V vector, int64_t count) {
  if (count == L) return store(to, vector);
  for (int64_t i = 0; i < count; ++i) to[i] = vector[i];
}

// Σ g² of n numbers; where there is a row w of unit length, of g - ⟨g, w⟩ w, and ⟨g, w⟩ goes to `parallel`.
double square_norm(const float* g, const float* w, float* parallel, int64_t n) {
  V even = V{}, odd = V{};
  if (w != nullptr) {
    int64_t i = 0;
    for (; i + 2 * L <= n; i += 2 * L) {
      even += load(g + i) * load(w + i);
      odd += load(g + i + L) * load(w + i + L);
    }
    stretches(n - i, [&](int64_t j, int64_t count) { even += load(g + i + j, count) * load(w + i + j, count); });
    *parallel = static_cast<float>(total(even + odd));
    even = odd = V{};
    const float along = *parallel;
    stretches(n, [&](int64_t j, int64_t count) {
      const V rest = load(g + j, count) - load(w + j, count) * along;
      even += rest * rest;
    });
    return total(even);
  }
  int64_t i = 0;
  for (; i + 2 * L <= n; i += 2 * L) {
    const V a = load(g + i), b = load(g + i + L);
    even += a * a;
    odd += b * b;
  }
  stretches(n - i, [&](int64_t j, int64_t count) {
    const V a = load(g + i + j, count);
    even += a * a;
  });
  return total(even + odd);
}

struct Moments {
  V first, second;
};

// One step of Adam for a vector: new moments, and what to take away from the parameter.
inline V advance(const Rates& rates, V g, Moments& moments) {
  moments.first += (g - moments.first) * rates.one_minus_beta_1;
  moments.second = moments.second * rates.beta_2 + g * g * rates.one_minus_beta_2;
  return moments.first * rates.step_size / (square_root(moments.second) / rates.root_of_correction + rates.eps);
}

// p: n numbers, a row of unit length if `parallel` is not null: then it is one afterwards.
inline void normalise(float* p, V squares, int64_t n) {
  const double length = __builtin_sqrt(total(squares));
  const float inverse = length > 0 ? static_cast<float>(1 / length) : 0.0f;
  stretches(n, [&](int64_t i, int64_t count) { put(p + i, load(p + i, count) * inverse, count); });
}

void update(const Rates& rates, float* p, const float* g, float* first, float* second, const float* parallel,
            int64_t n) {
  const float along = parallel ? *parallel : 0.0f;
  V squares = V{};
  stretches(n, [&](int64_t i, int64_t count) {
    V weight = load(p + i, count), gradient = load(g + i, count);
    if (parallel) gradient -= weight * along;
    Moments moments{load(first + i, count), load(second + i, count)};
    weight -= advance(rates, gradient * rates.scale, moments);
    put(first + i, moments.first, count);
    put(second + i, moments.second, count);
    put(p + i, weight, count);
    if (count < L) weight = load(p + i, count);  // nothing of the padding
    squares += weight * weight;
  });
  if (parallel) normalise(p, squares, n);
}

// ---- moments in 8 bits: eight_bit.py says what the codes mean ------------------------------------------------------

constexpr int32_t LOWEST_BITS = (127 - 15) << 23;

inline I load_codes(const uint8_t* from, int64_t count) {
  Bytes bytes = Bytes{};
  __builtin_memcpy(&bytes, from, count);
  return __builtin_convertvector(bytes, I);
}

inline void put_codes(uint8_t* to, I codes, int64_t count) {
  const Bytes bytes = __builtin_convertvector(codes, Bytes);
  __builtin_memcpy(to, &bytes, count);
}

// 23 bits for each of the places `start`, `start` + 1, …; `salt` comes from the step.
inline I noise(uint32_t start, uint32_t salt) {
  U x;
  for (int64_t i = 0; i < L; ++i) x[i] = static_cast<uint32_t>(i);
  x += start + salt;
  x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
  x = (x ^ (x >> 13)) * 0xC2B2AE35u;
  return (I)((x ^ (x >> 16)) >> 9);
}

inline V decoded(I sizes, int shift, float scale) {
  const I bits = LOWEST_BITS + ((sizes - 1) << shift);
  return (V)(bits & (sizes > 0)) * scale;
}

// Codes of sizes / scale, all at least 0 and at most 1.
inline I encoded(V sizes, float scale, I odds, int shift, bool keep_above_zero) {
  if (!(scale > 0)) return I{};
  const V ratios = sizes / scale;
  const I codes = 1 + (((I)ratios - LOWEST_BITS + (odds >> (23 - shift))) >> shift);
  const I positive = ratios > 0.0f;
  const I up = keep_above_zero ? positive : ratios * 274877906944.0f > __builtin_convertvector(odds, V);  // 2^23 / 2^-15
  return ((ratios < 0x1p-15f) & -up) | (~(ratios < 0x1p-15f) & codes);
}

void update_8(const Rates& rates, float* p, const float* g, uint8_t* first_codes, float* first_scales,
              uint8_t* second_codes, float* second_scales, const float* parallel, int64_t n, uint32_t place) {
  const float along = parallel ? *parallel : 0.0f;
  alignas(64) float firsts[BLOCK + 16], roots[BLOCK + 16];
  V squares = V{};
  for (int64_t start = 0, block = 0; start < n; start += BLOCK, ++block) {
    const int64_t size = n - start < BLOCK ? n - start : BLOCK;
    const float first_scale = first_scales[block], second_scale = second_scales[block];
    V largest = V{}, largest_root = V{};
    stretches(size, [&](int64_t i, int64_t count) {
      const int64_t at = start + i;
      V weight = load(p + at, count), gradient = load(g + at, count);
      if (parallel) gradient -= weight * along;
      const I signed_code = load_codes(first_codes + at, count);
      const V size_1 = decoded(signed_code & 127, 20, first_scale);
      const V root = decoded(load_codes(second_codes + at, count), 19, second_scale);
      const I negative = (signed_code >= 128) & static_cast<int32_t>(0x80000000);
      Moments moments{(V)((I)size_1 | negative), root * root};
      weight -= advance(rates, gradient * rates.scale, moments);
      put(p + at, weight, count);
      if (count < L) weight = load(p + at, count);
      squares += weight * weight;
      const V new_root = square_root(moments.second);
      store(firsts + i, moments.first);
      store(roots + i, new_root);
      const V magnitude = (V)((I)moments.first & 0x7fffffff);
      largest = magnitude > largest ? magnitude : largest;
      largest_root = new_root > largest_root ? new_root : largest_root;
    });
    float scale_1 = 0, scale_2 = 0;
    for (int64_t i = 0; i < L; ++i) {
      scale_1 = largest[i] > scale_1 ? largest[i] : scale_1;
      scale_2 = largest_root[i] > scale_2 ? largest_root[i] : scale_2;
    }
    first_scales[block] = scale_1;
    second_scales[block] = scale_2;
    stretches(size, [&](int64_t i, int64_t count) {
      const uint32_t at = place + static_cast<uint32_t>(start + i);
      const V first = load(firsts + i);
      const I code = encoded((V)((I)first & 0x7fffffff), scale_1, noise(at, rates.salt_1), 20, false);
      put_codes(first_codes + start + i, code + ((first < 0.0f) & 128), count);
      put_codes(second_codes + start + i, encoded(load(roots + i), scale_2, noise(at, rates.salt_2), 19, true), count);
    });
  }
  if (parallel) normalise(p, squares, n);
}
