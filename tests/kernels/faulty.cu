// Kernels that are wrong on purpose, one mistake each, and `sound`, which is right: what the shim must tell apart.
#include "device.cuh"

extern "C" __global__ void sound(int32* out) {
    const auto box = shared_array<int32>(0, blockDim.x);
    box[threadIdx.x] = static_cast<int32>(threadIdx.x);
    __syncthreads();
    out[blockIdx.x * blockDim.x + threadIdx.x] = box[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void some_threads_skip_the_barrier(int32* out) {
    if (threadIdx.x < 5) __syncthreads();
    out[threadIdx.x] = 1;
}

extern "C" __global__ void two_barriers_for_one(int32* out) {
    if (threadIdx.x % 2)
        __syncthreads();
    else
        __syncthreads();
    out[threadIdx.x] = 1;
}

extern "C" __global__ void shuffle_in_half_a_warp(int32* out) {
    int32 v = 1;
    if (threadIdx.x < 16) v += __shfl_xor_sync(kFullWarp, v, 1);
    out[threadIdx.x] = v;
}

extern "C" __global__ void shuffle_reads_outside_its_mask(int32* out) {
    int32 v = 1;
    if (threadIdx.x < 16) v += __shfl_down_sync(0xffffu, v, 8);
    out[threadIdx.x] = v;
}

extern "C" __global__ void shuffle_mask_without_the_caller(int32* out) {
    out[threadIdx.x] = __shfl_xor_sync(1u, 7, 1);
}

extern "C" __global__ void reads_uninitialised_shared_memory(int32* out) {
    const auto box = shared_array<int32>(0, blockDim.x);
    if (threadIdx.x) box[threadIdx.x] = 1;
    __syncthreads();
    out[threadIdx.x] = box[threadIdx.x];
}

extern "C" __global__ void forgets_the_barrier(int32* out) {
    const auto box = shared_array<int32>(0, blockDim.x);
    box[threadIdx.x] = 1;
    out[threadIdx.x] = box[(threadIdx.x + 1) % blockDim.x];
}

extern "C" __global__ void overruns_shared_memory(int32* out) {
    const auto box = shared_array<int32>(0, blockDim.x);
    box[threadIdx.x + 1] = 1;
    out[threadIdx.x] = 1;
}

extern "C" __global__ void asks_for_more_shared_memory_than_launched(int32* out) {
    const auto box = shared_array<int32>(0, blockDim.x + 1);
    box[threadIdx.x] = 1;
    out[threadIdx.x] = 1;
}

extern "C" __global__ void overruns_global_memory(int32* out) { out[threadIdx.x + 1] = 1; }

extern "C" __global__ void overflows_an_integer(int32* out) { out[threadIdx.x] = 0x7fffffff + *out; }

extern "C" __global__ void depends_on_the_order(int32* out) {
    int32 place;
    place = static_cast<int32>(atomicInc(reinterpret_cast<uint32*>(out), 0xffffffffu));
    out[1 + place] = static_cast<int32>(blockIdx.x * blockDim.x + threadIdx.x);
}
