// AVX-512F: 32 registers, of which 24 hold sums.
//
// With PUVAE_WIDE_WITHOUT_AVX512 the same vectors of sixteen floats are made of AVX2's instructions, two for each: so
// the tests run this code where there is no AVX-512.
#if defined(__x86_64__)

#include "constants.hpp"
#include "kernels.hpp"
#include "toom.hpp"

#if defined(PUVAE_WIDE_WITHOUT_AVX512) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#elif defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx2,fma")
#endif

#define LANES 16
#define MOST_ROWS 12
#define MOST_PANELS 2

namespace puvae {
namespace avx512 {
namespace {
#include "kernels.inl"
}  // namespace
}  // namespace avx512

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const Kernels avx512_kernels = {avx512::product, avx512::lines, avx512::grid, avx512::finish, avx512::add_relu};

}  // namespace puvae

#endif
