// What kernels share: the threads of the process, the instruction set of the processor, scratch memory.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define LX_API extern "C" __attribute__((visibility("default")))

namespace lx {

// ---- instruction sets ----------------------------------------------------------------------------------------------

enum Isa { PORTABLE = 0, AVX2 = 1, AVX512 = 2 };

// The best set that both this processor and the compiler know; AVX512 means F, BW, DQ and VL, AVX2 includes FMA.
Isa isa();

// ---- threads -------------------------------------------------------------------------------------------------------

// Runs work(data) on up to `threads` threads at once, the caller being one of them.
void run_on_threads(void (*work)(void*), void* data, int64_t threads);

// body(chunk) for every chunk in 0..num_chunks-1, each exactly once, in any order and on any thread. A result that is
// written by one chunk alone does not depend on the number of threads.
template <class Body>
void parallel_for(int64_t num_chunks, int64_t threads, const Body& body) {
  if (threads > num_chunks) threads = num_chunks;
  if (threads <= 1) {
    for (int64_t chunk = 0; chunk < num_chunks; ++chunk) body(chunk);
    return;
  }
  struct Job {
    const Body* body;
    int64_t num_chunks;
    std::atomic<int64_t> next;
  } job{&body, num_chunks, {0}};
  run_on_threads(
      [](void* data) {
        Job& mine = *static_cast<Job*>(data);
        for (int64_t chunk; (chunk = mine.next.fetch_add(1, std::memory_order_relaxed)) < mine.num_chunks;)
          (*mine.body)(chunk);
      },
      &job, threads);
}

// ---- scratch memory ------------------------------------------------------------------------------------------------

// At least `bytes` bytes, aligned to 64, that belong to the calling thread until its next call with the same slot. The
// memory is kept from call to call, so that a training step touches no fresh pages. Slots: 0..15.
void* scratch(int slot, size_t bytes);

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace lx
