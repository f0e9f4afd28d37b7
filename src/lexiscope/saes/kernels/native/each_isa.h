// Includes the file LX_KERNELS once per instruction set, in a namespace of its own, with everything in it compiled for
// that set. LX_VEC is the width of its vector registers in bytes. LX_CALL(f(...)) then calls the best f there is.
// No include guard, no standard headers inside: include those before.

#define LX_VEC 16
namespace portable {
#include LX_KERNELS
}
#undef LX_VEC

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define LX_VEC 32
namespace avx2 {
#include LX_KERNELS
}
#undef LX_VEC
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#endif
#define LX_VEC 64
namespace avx512 {
#include LX_KERNELS
}
#undef LX_VEC
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#define LX_CALL(call) \
  (lx::isa() == lx::AVX512 ? avx512::call : lx::isa() == lx::AVX2 ? avx2::call : portable::call)

#else
#define LX_CALL(call) portable::call
#endif

#undef LX_KERNELS
