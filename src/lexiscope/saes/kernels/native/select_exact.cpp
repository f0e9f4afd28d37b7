// Exact selection: scores of a panel of latents against a tile of tokens, looked at while they are in cache.

#include "select.h"

#include <cstdlib>
#include <utility>
#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // in the compiler's own headers
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace lx {
namespace {

// Makes room on a full list: the k largest are enough; a list that has to be complete gets wider.
__attribute__((noinline)) void make_room(const Problem& p, Lists& lists, int64_t token) {
  if (p.floor != nullptr) return widen(lists);
  Entry* entries = lists.of(token);
  const int64_t left = keep_largest(entries, lists.count[token], p.k);
  lists.count[token] = static_cast<int32_t>(left);
  float least = INFINITE;
  for (int64_t i = 0; i < left; ++i)
    if (entries[i].score < least) least = entries[i].score;
  lists.floor[token] = least;  // a later one must exceed it: of equal ones the first wins
}

inline void append(const Problem& p, Lists& lists, int64_t token, Entry entry) {
  const int64_t n = lists.count[token];
  lists.of(token)[n] = entry;
  lists.count[token] = static_cast<int32_t>(n + 1);
  if (n + 1 == lists.capacity) make_room(p, lists, token);
}

#define LX_KERNELS "select_exact.h"
#include "each_isa.h"

struct Memory {
  void* at[USES] = {};
  size_t bytes[USES] = {};
  ~Memory() {
    for (void* block : at) std::free(block);
  }
};
thread_local Memory mine;

int32_t* keys_for(int64_t count) {
  return static_cast<int32_t*>(keep(KEYS, (count + 16) * sizeof(int32_t)));
}

}  // namespace

void* keep(Use use, size_t bytes) {
  constexpr size_t page = 4096, large = 2 << 20;
  if (mine.bytes[use] < bytes) {
    const size_t unit = bytes >= large ? large : page, rounded = (bytes + bytes / 8 + unit - 1) / unit * unit;
    std::free(mine.at[use]);
    if (posix_memalign(&mine.at[use], unit, rounded) != 0) std::abort();
    mine.bytes[use] = rounded;
#if defined(__linux__)
    if (unit == large) madvise(mine.at[use], rounded, MADV_HUGEPAGE);
#endif
  }
  return mine.at[use];
}

// An odd number of cache lines per token: at a power of two all lists would compete for the same few places in a cache.
static int64_t odd_lines(int64_t capacity) { return (capacity / 8 | 1) * 8; }

Lists empty_lists(int64_t tokens, int64_t least) {
  Lists lists;
  const int64_t capacity = odd_lines(least);
  lists.tokens = tokens;
  lists.capacity = capacity;
  lists.entries = static_cast<Entry*>(keep(ENTRIES, (tokens * capacity + 16) * sizeof(Entry)));
  lists.floor = static_cast<float*>(keep(STATE, tokens * (sizeof(float) + sizeof(int32_t))));
  lists.count = reinterpret_cast<int32_t*>(lists.floor + tokens);
  for (int64_t i = 0; i < tokens; ++i) lists.floor[i] = 0, lists.count[i] = 0;
  return lists;
}

void widen(Lists& lists) {
  const int64_t wider = odd_lines(2 * lists.capacity);
  Entry* entries = static_cast<Entry*>(keep(WIDER, (lists.tokens * wider + 16) * sizeof(Entry)));
  for (int64_t i = 0; i < lists.tokens; ++i)
    __builtin_memcpy(entries + i * wider, lists.of(i), lists.count[i] * sizeof(Entry));
  lists.capacity = wider;
  lists.entries = entries;
  std::swap(mine.at[ENTRIES], mine.at[WIDER]);
  std::swap(mine.bytes[ENTRIES], mine.bytes[WIDER]);
}

float kth_largest(const float* values, int64_t count, int64_t k) {
  return LX_CALL(kth_largest(values, count, k, keys_for(count)));
}

int64_t keep_largest(Entry* entries, int64_t count, int64_t k) {
  return count <= k ? count : LX_CALL(keep_largest(entries, count, k, keys_for(count)));
}

int64_t choose(const Problem& p, Entry* entries, int64_t count) {
  int64_t left = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float score = entries[i].score;
    const bool wanted = p.floor != nullptr ? score > p.floor[entries[i].latent] : !(score <= 0);
    if (wanted) entries[left++] = entries[i];
  }
  return p.floor != nullptr ? left : keep_largest(entries, left, p.k);
}

Lists scan_exactly(const Problem& p, const int32_t* tokens, int64_t n, int64_t begin, int64_t end) {
  const int64_t capacity = p.floor != nullptr ? 512 : 2 * p.k + 64;
  Lists lists = empty_lists(ceil_div(n, TILE) * TILE, capacity);
  lists.tokens = n;
  LX_CALL(scan(p, tokens, begin, end, lists));
  if (p.floor == nullptr)
    for (int64_t i = 0; i < n; ++i)
      lists.count[i] = static_cast<int32_t>(keep_largest(lists.of(i), lists.count[i], p.k));
  return lists;
}

void score_pairs(const Problem& p, const int32_t* tokens, const int32_t* row, const int32_t* latent, float* scores,
                 int64_t count) {
  LX_CALL(score_pairs(p, tokens, row, latent, scores, count));
}

}  // namespace lx
