// What the kernels share. Compiled unchanged by nvcc and NVRTC for the GPU, and by g++ through shim/device.hpp for the
// tests and the emulated device. No CUDA header is needed: NVRTC's wheel ships none.
#pragma once

#if defined(__CUDACC__)

using uint8 = unsigned char;
using int32 = int;
using uint32 = unsigned int;
using int64 = long long;
using uint64 = unsigned long long;

extern __shared__ __align__(16) unsigned char shared_memory[];

// A typed window on the block's dynamic shared memory. The shim's twin checks bounds, initialisation and races.
template <class T>
struct SharedArray {
    T* data;
    __device__ T& operator[](int i) const { return data[i]; }
};

template <class T>
__device__ SharedArray<T> shared_array(int byte_offset, int /*count*/) {
    return {reinterpret_cast<T*>(shared_memory + byte_offset)};
}

__device__ inline float half_to_float(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

__device__ inline unsigned short float_to_half(float value) {  // round to nearest even
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

#else
#include "shim/device.hpp"
#endif

constexpr unsigned kFullWarp = 0xffffffffu;
constexpr int kWarp = 32;
constexpr int kMaxThreads = 256;  // of a block; launch.MAX_THREADS

struct Half {
    unsigned short bits;
};

__device__ inline float to_float(float v) { return v; }
__device__ inline float to_float(Half v) { return half_to_float(v.bits); }

__device__ inline float quiet_nan() { return __int_as_float(0x7fc00000); }
__device__ inline float infinity() { return __int_as_float(0x7f800000); }

// A value in [0,1] (or NaN) in the storage type. uint8 rounds to nearest, saturates, and has no NaN: 0 stands for it.
__device__ inline void store(float* to, float v) { *to = v; }
__device__ inline void store(Half* to, float v) { to->bits = float_to_half(v); }
__device__ inline void store(uint8* to, float v) {
    *to = v == v ? static_cast<uint8>(rintf(fminf(fmaxf(v, 0.0f), 1.0f) * 255.0f)) : uint8{0};
}

// Eight consecutive values of a row, the unit of work of one thread: one 16-byte access in FP16, two in FP32.
constexpr int kChunk = 8;
constexpr int kVectorBytes = 16;

template <class T>
struct alignas(sizeof(T) * kChunk < kVectorBytes ? sizeof(T) * kChunk : kVectorBytes) Chunk {
    T values[kChunk];
};

template <class T>
__device__ inline bool vector_aligned(const T* p) {
    return reinterpret_cast<unsigned long long>(p) % alignof(Chunk<T>) == 0;
}

// `count` < kChunk only at the end of a row; what is missing reads as 0.
template <class T>
__device__ inline void load_chunk(const T* from, int count, bool aligned, float (&to)[kChunk]) {
    if (aligned && count == kChunk) {
        const Chunk<T> chunk = *reinterpret_cast<const Chunk<T>*>(from);
#pragma unroll
        for (int i = 0; i < kChunk; ++i) to[i] = to_float(chunk.values[i]);
    } else {
#pragma unroll
        for (int i = 0; i < kChunk; ++i) to[i] = i < count ? to_float(from[i]) : 0.0f;
    }
}

template <class T>
__device__ inline void store_chunk(T* to, int count, bool aligned, const float (&from)[kChunk]) {
    if (aligned && count == kChunk) {
        Chunk<T> chunk;
#pragma unroll
        for (int i = 0; i < kChunk; ++i) store(&chunk.values[i], from[i]);
        *reinterpret_cast<Chunk<T>*>(to) = chunk;
    } else {
#pragma unroll
        for (int i = 0; i < kChunk; ++i)
            if (i < count) store(to + i, from[i]);
    }
}
