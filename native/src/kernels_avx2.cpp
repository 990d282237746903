// AVX2 and FMA: 16 registers, of which 12 hold sums.
#if defined(__x86_64__)

#include "constants.hpp"
#include "kernels.hpp"
#include "toom.hpp"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#define LANES 8
#define MOST_ROWS 6
#define MOST_PANELS 1

namespace puvae {
namespace avx2 {
namespace {
#include "kernels.inl"
}  // namespace
}  // namespace avx2

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const Kernels avx2_kernels = {avx2::product, avx2::lines, avx2::grid, avx2::finish, avx2::add_relu};

}  // namespace puvae

#endif
