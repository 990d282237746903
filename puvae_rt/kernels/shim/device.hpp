// What a kernel sees when g++ compiles it: the CUDA built-ins that the kernels use, executed by scheduler.cpp with one
// fibre per CUDA thread. Only what is used is here; another built-in is a compile error, not a wrong answer.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#define __global__
#define __device__
#define __launch_bounds__(threads)
#define __restrict__

using uint8 = std::uint8_t;
using int32 = std::int32_t;
using uint32 = std::uint32_t;
using int64 = std::int64_t;
using uint64 = std::uint64_t;

using std::max;
using std::min;

namespace shim {

struct Index {
    unsigned x, y, z;
};

// The indices of the running thread. `current()` is one thread's at a time: the scheduler sets it at each switch.
struct Thread {
    Index thread, block, block_dim, grid_dim;
};
const Thread& current();

enum class Collective { barrier, barrier_or, shuffle_xor, shuffle_down };

// Suspends this thread until everyone concerned is there; `file` and `line` say where, for the message when they are not.
bool barrier(Collective kind, bool predicate, const char* file, int line);
std::uint64_t shuffle(Collective kind, unsigned mask, std::uint64_t bits, int operand, const char* file, int line);
// A point where another thread of any resident block may run: before each atomic and each fence.
void yield();

// Bounds, initialisation and races of `size` bytes of shared memory at `offset`; ends the launch with a fault if wrong.
enum class Access { read, write };
unsigned char* shared(int offset, int size, Access access);
void check_shared_window(int offset, int size, int alignment);

}  // namespace shim

#define threadIdx (shim::current().thread)
#define blockIdx (shim::current().block)
#define blockDim (shim::current().block_dim)
#define gridDim (shim::current().grid_dim)

#define SHIM_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(SHIM_HERE) { shim::barrier(shim::Collective::barrier, false, file, line); }
inline int __syncthreads_or(int predicate, SHIM_HERE) {
    return shim::barrier(shim::Collective::barrier_or, predicate != 0, file, line);
}

template <class T>
T shim_shuffle(shim::Collective kind, unsigned mask, T value, int operand, const char* file, int line) {
    static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = shim::shuffle(kind, mask, bits, operand, file, line);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, SHIM_HERE) {
    return shim_shuffle(shim::Collective::shuffle_xor, mask, value, lane_mask, file, line);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, int delta, SHIM_HERE) {
    return shim_shuffle(shim::Collective::shuffle_down, mask, value, delta, file, line);
}

inline void __threadfence() { shim::yield(); }
inline uint32 atomicInc(uint32* address, uint32 limit) {
    shim::yield();
    const uint32 old = *address;
    *address = old >= limit ? 0 : old + 1;
    return old;
}

inline float __int_as_float(int32 bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline float half_to_float(std::uint16_t bits) {
    const std::uint32_t sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 0x1f, mantissa = bits & 0x3ff;
    if (exponent == 0) return __int_as_float(sign | 0x3f800000) * std::ldexp(static_cast<float>(mantissa), -24);
    const std::uint32_t widened = exponent == 0x1f ? 0xff : exponent + 112;
    return __int_as_float(static_cast<int32>(sign | widened << 23 | mantissa << 13));
}

inline std::uint16_t float_to_half(float value) {  // round to nearest even, as cvt.rn.f16.f32
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const std::uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return 0x7fff;                                    // NaN
    if (magnitude >= 0x477ff000) return static_cast<std::uint16_t>(sign | 0x7c00);  // rounds past 65,504: infinity
    if (magnitude < 0x38800000)  // subnormal: in units of 2^-24
        return static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(std::nearbyint(std::ldexp(std::fabs(value), 24))));
    const std::uint32_t odd = magnitude >> 13 & 1;
    return static_cast<std::uint16_t>(sign | ((magnitude - 0x38000000 + 0xfff + odd) >> 13));
}

// A reference into shared memory that checks each access.
template <class T>
struct SharedRef {
    int offset;
    operator T() const {
        T value;
        std::memcpy(&value, shim::shared(offset, sizeof(T), shim::Access::read), sizeof value);
        return value;
    }
    const SharedRef& operator=(T value) const {
        std::memcpy(shim::shared(offset, sizeof(T), shim::Access::write), &value, sizeof value);
        return *this;
    }
    const SharedRef& operator=(const SharedRef& other) const { return *this = static_cast<T>(other); }
};

template <class T>
struct SharedArray {
    int offset, count;
    SharedRef<T> operator[](int i) const {
        // An index outside the window maps outside the block's memory, which `shared` reports.
        return {i >= 0 && i < count ? offset + i * static_cast<int>(sizeof(T)) : -1 - i};
    }
};

template <class T>
SharedArray<T> shared_array(int byte_offset, int count) {
    shim::check_shared_window(byte_offset, count * static_cast<int>(sizeof(T)), alignof(T));
    return {byte_offset, count};
}
