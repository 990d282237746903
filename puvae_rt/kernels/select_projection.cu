// select_projection: of m candidates per image, keep the one closest to the input. One launch.
//
//   score_k = sum_i max(|x_i - c_ki| - tau, 0)^2 + bias_k     rmse_k = sqrt(mean_i (x_i - c_ki)^2)
//   index = argmin_k score_k: the lowest k on a tie; a NaN never wins; -1 when every score is NaN.
//
// The candidates are of all K classes in order, or of those that `classes` [N, m] names, in any order. `index`, `rmse`
// and `score` speak of classes either way: one without a candidate has an rmse of NaN and an infinite score. A candidate
// whose class is none of the K, or is that of a candidate before it, is left out and flagged: nothing is written for it.
//
// Launch: block (lanes, teams), lanes a power of two from 32 to 256, lanes * teams <= 256; grid (N, ceil(m / teams)).
// A team of `lanes` threads measures one candidate. Small images get one warp a candidate, so that N=1, K=10, D=784 is
// two blocks that finish after three or four loads a thread; large ones get a whole block. The last block of an image
// to finish (a counter in `arrivals`) finds the minimum and copies the winner, which is still in L2: no second launch.
//
// Memory: the candidates are read once from DRAM, in 16-byte loads where the row allows. The input row is read again
// by every team, but from L1/L2; staging it in shared memory would cost a barrier, and 256 KB at the largest D.
// A thread takes the same elements in the same order whether the loads are vectors or scalars and whatever N and K
// are: a candidate's distance depends on its values alone, bit for bit.
//
// Twin: oracle.select_projection. Argument list: launch.SelectProjectionArgs.
#include "device.cuh"

constexpr int kMaxWarps = kMaxThreads / kWarp;
constexpr int32 kFlagNoCandidate = 1;   // no score was a number
constexpr int32 kFlagSomeNaN = 2;       // at least one was
constexpr int32 kFlagLeftOut = 4;       // a candidate's class was no class, or another candidate's

// Shared memory: two words a warp for the sums, then for the minimum; one word to broadcast.
constexpr int kSharedSecond = kMaxWarps * 4;
constexpr int kSharedVerdict = 2 * kMaxWarps * 4;

// The classes of one image's candidates.
struct ClassList {
    const int32* listed;  // [m]; null: candidate j is of class j
    int32 candidates;     // m
    int32 classes;        // K

    // The first candidate of class k; no candidate, from m up, where there is none. A list is short, and in L1.
    __device__ int place_of(int32 k) const {
        if (!listed) return k;
        int place = 0;
        while (place < candidates && listed[place] != k) ++place;
        return place;
    }

    // The class of candidate j, -1 when it is left out.
    __device__ int32 of(int j) const {
        if (!listed) return j;
        const int32 k = listed[j];
        return k >= 0 && k < classes && place_of(k) == j ? k : -1;
    }
};

struct Distance {
    float squares;  // sum of squared differences
    float excess;   // the same, of what lies outside the dead zone
};

__device__ inline void accumulate(Distance& d, float x, float candidate, float tau) {
    const float difference = fabsf(x - candidate);
    const float outside = difference - tau;
    const float excess = outside < 0.0f ? 0.0f : outside;  // fmaxf would turn a NaN into 0, the best score there is
    d.squares = fmaf(difference, difference, d.squares);
    d.excess = fmaf(excess, excess, d.excess);
}

// This thread's share of the distance between two rows of `size` values.
template <class In, class Cand>
__device__ inline Distance partial_distance(const In* x, const Cand* candidate, int size, float tau) {
    const bool x_aligned = vector_aligned(x), candidate_aligned = vector_aligned(candidate);
    Distance d = {0.0f, 0.0f};
    for (int start = threadIdx.x * kChunk; start < size; start += blockDim.x * kChunk) {
        const int count = min(kChunk, size - start);
        float a[kChunk], b[kChunk];
        load_chunk(x + start, count, x_aligned, a);
        load_chunk(candidate + start, count, candidate_aligned, b);
#pragma unroll
        for (int i = 0; i < kChunk; ++i)
            if (i < count) accumulate(d, a[i], b[i], tau);
    }
    return d;
}

// The sum over a team, valid in every thread of it. Called by the whole block.
__device__ inline Distance team_sum(Distance d) {
    for (int offset = kWarp / 2; offset > 0; offset /= 2) {
        d.squares += __shfl_xor_sync(kFullWarp, d.squares, offset);
        d.excess += __shfl_xor_sync(kFullWarp, d.excess, offset);
    }
    const auto squares = shared_array<float>(0, kMaxWarps), excess = shared_array<float>(kSharedSecond, kMaxWarps);
    const int warps_a_team = blockDim.x / kWarp;
    const int first = threadIdx.y * warps_a_team;
    if (threadIdx.x % kWarp == 0) {
        squares[first + threadIdx.x / kWarp] = d.squares;
        excess[first + threadIdx.x / kWarp] = d.excess;
    }
    __syncthreads();
    d = {0.0f, 0.0f};
    for (int warp = first; warp < first + warps_a_team; ++warp) {
        d.squares += squares[warp];
        d.excess += excess[warp];
    }
    return d;
}

// True in every thread of the last block of this image to come here; what the others wrote before is then visible.
__device__ inline bool last_to_arrive(uint32* arrivals) {
    const auto verdict = shared_array<int32>(kSharedVerdict, 1);
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0 && threadIdx.y == 0)
        verdict[0] = atomicInc(arrivals, gridDim.y - 1) == gridDim.y - 1;  // wraps to 0: ready for the next launch
    __syncthreads();
    const bool last = verdict[0];
    __threadfence();
    return last;
}

struct Best {
    float score;
    int32 index;  // -1: none yet
};

__device__ inline bool better(Best a, Best b) {
    if (a.index < 0 || b.index < 0) return b.index < 0 && a.index >= 0;
    return a.score < b.score || (a.score == b.score && a.index < b.index);
}

// The minimum over the block of each thread's `mine`, valid in every thread.
__device__ inline Best block_best(Best mine) {
    const int thread = threadIdx.y * blockDim.x + threadIdx.x, warps = blockDim.x * blockDim.y / kWarp;
    for (int offset = kWarp / 2; offset > 0; offset /= 2) {
        const Best other = {__shfl_xor_sync(kFullWarp, mine.score, offset), __shfl_xor_sync(kFullWarp, mine.index, offset)};
        if (better(other, mine)) mine = other;
    }
    const auto scores = shared_array<float>(0, kMaxWarps);
    const auto indices = shared_array<int32>(kSharedSecond, kMaxWarps);
    if (thread % kWarp == 0) {
        scores[thread / kWarp] = mine.score;
        indices[thread / kWarp] = mine.index;
    }
    __syncthreads();
    for (int warp = 0; warp < warps; ++warp) {
        const Best other = {scores[warp], indices[warp]};
        if (better(other, mine)) mine = other;
    }
    return mine;
}

template <class Cand, class Out>
__device__ inline void copy_row(const Cand* from, Out* to, int size) {
    const int thread = threadIdx.y * blockDim.x + threadIdx.x, threads = blockDim.x * blockDim.y;
    const bool from_aligned = vector_aligned(from), to_aligned = vector_aligned(to);
    for (int start = thread * kChunk; start < size; start += threads * kChunk) {
        const int count = min(kChunk, size - start);
        float values[kChunk];
        load_chunk(from + start, count, from_aligned, values);
        store_chunk(to + start, count, to_aligned, values);
    }
}

template <class Out>
__device__ inline void fill_nan(Out* to, int size) {
    const int thread = threadIdx.y * blockDim.x + threadIdx.x, threads = blockDim.x * blockDim.y;
    for (int i = thread; i < size; i += threads) store(to + i, quiet_nan());
}

// What classes without a candidate report. The image's blocks share the classes out; no team writes these.
__device__ inline void fill_undecoded(const ClassList& list, float* rmse, float* score) {
    const int thread = (blockIdx.y * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    for (int k = thread; k < list.classes; k += gridDim.y * blockDim.y * blockDim.x) {
        if (list.place_of(k) < list.candidates) continue;
        rmse[k] = quiet_nan();
        score[k] = infinity();
    }
}

template <class In, class Cand, class Out>
__device__ inline void select_projection(const In* input, const Cand* candidates, const float* bias, float tau,
                                         Out* purified, int64* index, float* rmse, float* score, int32* flags,
                                         uint32* arrivals, int32 class_count, int32 size, const int32* classes,
                                         int32 candidate_count) {
    const int64 image = blockIdx.x;
    const int team = blockIdx.y * blockDim.y + threadIdx.y;
    const ClassList list = {classes ? classes + image * candidate_count : nullptr, candidate_count, class_count};
    const In* x = input + image * size;
    candidates += image * candidate_count * size;
    score += image * class_count;

    // The last block may have teams to spare, and a candidate may be left out: their threads still meet the barriers.
    const int32 own = team < candidate_count ? list.of(team) : -1;
    Distance d = {0.0f, 0.0f};
    if (own >= 0) d = partial_distance(x, candidates + static_cast<int64>(team) * size, size, tau);
    d = team_sum(d);
    if (own >= 0 && threadIdx.x == 0) {
        rmse[image * class_count + own] = sqrtf(d.squares / static_cast<float>(size));
        score[own] = bias ? d.excess + bias[image * candidate_count + team] : d.excess;
    }
    if (classes) fill_undecoded(list, rmse + image * class_count, score);
    if (!last_to_arrive(arrivals + image)) return;

    Best best = {0.0f, -1};
    bool saw_nan = false, left_out = false;
    const int thread = threadIdx.y * blockDim.x + threadIdx.x, threads = blockDim.x * blockDim.y;
    for (int j = thread; j < candidate_count; j += threads) {
        const int32 k = list.of(j);
        if (k < 0) {
            left_out = true;
            continue;
        }
        const float s = *static_cast<volatile const float*>(score + k);  // written by other blocks: not from L1
        if (s != s) saw_nan = true;
        else if (better({s, k}, best)) best = {s, k};
    }
    const bool some_nan = __syncthreads_or(saw_nan), some_left_out = classes && __syncthreads_or(left_out);
    best = block_best(best);
    if (thread == 0) {
        index[image] = best.index;
        flags[image] = (best.index < 0 ? kFlagNoCandidate : 0) | (some_nan ? kFlagSomeNaN : 0) |
                       (some_left_out ? kFlagLeftOut : 0);
    }
    if (best.index < 0) fill_nan(purified + image * size, size);
    else copy_row(candidates + static_cast<int64>(list.place_of(best.index)) * size, purified + image * size, size);
}

#define ENTRY(in, In, cand, Cand, out, Out)                                                                             \
    extern "C" __global__ void __launch_bounds__(kMaxThreads) select_projection_##in##_##cand##_##out(                  \
        const In* input, const Cand* candidates, const float* bias, float tau, Out* purified, int64* index,             \
        float* rmse, float* score, int32* flags, uint32* arrivals, int32 class_count, int32 size,                       \
        const int32* classes, int32 candidate_count) {                                                                  \
        select_projection(input, candidates, bias, tau, purified, index, rmse, score, flags, arrivals, class_count,     \
                          size, classes, candidate_count);                                                              \
    }
#define ENTRIES_FOR(in, In, cand, Cand)    \
    ENTRY(in, In, cand, Cand, f32, float)  \
    ENTRY(in, In, cand, Cand, f16, Half)   \
    ENTRY(in, In, cand, Cand, u8, uint8)

ENTRIES_FOR(f32, float, f32, float)
ENTRIES_FOR(f32, float, f16, Half)
ENTRIES_FOR(f16, Half, f32, float)
ENTRIES_FOR(f16, Half, f16, Half)

#undef ENTRY
#undef ENTRIES_FOR
