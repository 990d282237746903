// Vectors of four floats: NEON on ARM, SSE2 on x86.
#include "constants.hpp"
#include "kernels.hpp"
#include "toom.hpp"

#if defined(__aarch64__)
#define MOST_ROWS 6  // 24 of 32 registers hold sums
#else
#define MOST_ROWS 3  // 12 of 16
#endif
#define MOST_PANELS 1
#define LANES 4

namespace puvae {
namespace portable {
namespace {
#include "kernels.inl"
}  // namespace
}  // namespace portable

const Kernels portable_kernels = {portable::product, portable::lines, portable::grid, portable::finish,
                                  portable::add_relu};

}  // namespace puvae
