#include "common.h"

#include <cstdlib>
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace lx {
namespace {

// GOMP_parallel of the OpenMP runtime that torch uses. A second runtime would keep threads of its own, and the idle
// threads of each would spin on the cores that the other one needs.
using Parallel = void (*)(void (*)(void*), void*, unsigned, unsigned);
Parallel parallel = nullptr;

// A forked child inherits the runtime's memory but none of its threads, and would wait for them for ever.
bool forked = false;
void after_fork() { forked = true; }

Isa detect() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return AVX512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return AVX2;
#endif
  return PORTABLE;
}

const Isa detected = detect();
Isa used = detected;

struct Scratch {
  void* at[16] = {};
  size_t bytes[16] = {};
  ~Scratch() {
    for (void* block : at) std::free(block);
  }
};
thread_local Scratch mine;

}  // namespace

Isa isa() { return used; }

void run_on_threads(void (*work)(void*), void* data, int64_t threads) {
  if (threads > 1 && parallel != nullptr && !forked)
    parallel(work, data, static_cast<unsigned>(threads), 0);
  else
    work(data);
}

void* scratch(int slot, size_t bytes) {
  if (mine.bytes[slot] < bytes) {
    std::free(mine.at[slot]);
    const size_t rounded = (bytes + bytes / 8 + 4095) / 4096 * 4096;
    if (posix_memalign(&mine.at[slot], 4096, rounded) != 0) std::abort();
    mine.bytes[slot] = rounded;
  }
  return mine.at[slot];
}

}  // namespace lx

// Called once, before any kernel. `gomp_parallel` may be null: then everything runs on the calling thread.
LX_API void lx_start(void* gomp_parallel) {
  lx::parallel = reinterpret_cast<lx::Parallel>(gomp_parallel);
#if defined(__unix__) || defined(__APPLE__)
  pthread_atfork(nullptr, nullptr, lx::after_fork);
#endif
}

LX_API int64_t lx_isa() { return lx::isa(); }

// Use no better instruction set than this one; for tests.
LX_API void lx_limit_isa(int64_t limit) { lx::used = limit < lx::detected ? static_cast<lx::Isa>(limit) : lx::detected; }

LX_API int64_t lx_has_threads() { return lx::parallel != nullptr && !lx::forked; }

// out[i] = 2 i, in chunks: for tests of the threads.
LX_API void lx_double_indices(int64_t* out, int64_t count, int64_t threads) {
  lx::parallel_for(lx::ceil_div(count, 7), threads, [&](int64_t chunk) {
    for (int64_t i = 7 * chunk; i < count && i < 7 * chunk + 7; ++i) out[i] = 2 * i;
  });
}
