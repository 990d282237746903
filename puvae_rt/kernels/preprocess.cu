// preprocess: regions of one camera frame -> images in [0,1], as the model takes them. One launch for all regions.
//
//   sample -> RGB (NV12) -> resized, rounded to 8 bits -> gray or RGB -> / 255
//
// A region that sticks out of the frame sees its border repeated. It is resized by area when neither side grows,
// bilinearly otherwise (on both axes, also the one that shrinks: that is what OpenCV's modes do, so what the CPU
// runtime does). Weights are integers and so are the sums: the result is exact, rounded half up, and depends on no
// order. OpenCV's own roundings lie within one level of it.
//
// Launch: block (256), grid (ceil(H * W / 8), R). A team of 1 to 32 lanes, more for larger regions, sums up one
// destination pixel; its lanes lie along a row of the region, so that they read neighbouring bytes. The grid has a
// warp for every pixel; teams that are not needed leave at once. Regions are read from device memory: a captured
// graph serves whatever regions are copied there.
//
// Memory: a sample is read once, or twice where cells overlap, in single bytes: frames have any pitch, and regions
// start anywhere. Twin: oracle.preprocess. Argument list: launch.PreprocessArgs.
#include "device.cuh"

constexpr int kMaxRegionSide = 1 << 20;  // twice an output's side (1,000) times this stays in 32 bits
constexpr int kSamplesALane = 8;         // as many lanes as leave each about so many samples

struct Frame {
    const uint8* pixels;
    const uint8* chroma;
    int64 pitch, chroma_pitch;
    int width, height;
};

struct Region {
    int x, y, width, height;
};

__device__ inline bool usable(const Region& region, int frame_width, int frame_height) {
    return region.width > 0 && region.height > 0 && region.width <= kMaxRegionSide && region.height <= kMaxRegionSide &&
           region.x < frame_width && region.y < frame_height && region.x > -region.width && region.y > -region.height;
}

// ---- formats: a sample of the frame as RGB, or as the one gray value there is

struct Bgr8 {
    static constexpr int kSamples = 3;
    static __device__ inline void read(const Frame& frame, int x, int y, uint32 (&rgb)[3]) {
        const uint8* p = frame.pixels + y * frame.pitch + 3 * x;
        rgb[0] = p[2], rgb[1] = p[1], rgb[2] = p[0];
    }
};

struct Rgb8 {
    static constexpr int kSamples = 3;
    static __device__ inline void read(const Frame& frame, int x, int y, uint32 (&rgb)[3]) {
        const uint8* p = frame.pixels + y * frame.pitch + 3 * x;
        rgb[0] = p[0], rgb[1] = p[1], rgb[2] = p[2];
    }
};

struct Gray8 {
    static constexpr int kSamples = 1;
    static __device__ inline void read(const Frame& frame, int x, int y, uint32 (&gray)[1]) {
        gray[0] = frame.pixels[y * frame.pitch + x];
    }
};

// BT.601, limited range, three decimals as the standard prints them, in units of 2^-20: cvtColor's numbers.
constexpr int kYuvShift = 20;
constexpr int kY = 1220542, kRv = 1673527, kGu = -409993, kGv = -852492, kBu = 2116026;  // 1.164 1.596 -.391 -.813 2.018

__device__ inline uint32 saturated(int v) { return static_cast<uint32>(min(max(v, 0), 255)); }

struct Nv12 {
    static constexpr int kSamples = 3;
    static __device__ inline void read(const Frame& frame, int x, int y, uint32 (&rgb)[3]) {
        const uint8* uv = frame.chroma + y / 2 * frame.chroma_pitch + x / 2 * 2;
        const int u = uv[0] - 128, v = uv[1] - 128;
        const int luma = max(frame.pixels[y * frame.pitch + x] - 16, 0) * kY + (1 << (kYuvShift - 1));
        rgb[0] = saturated((luma + kRv * v) >> kYuvShift);
        rgb[1] = saturated((luma + kGu * u + kGv * v) >> kYuvShift);
        rgb[2] = saturated((luma + kBu * u) >> kYuvShift);
    }
};

// .299, .587 and .114 in units of 2^-15, adding up to 1: cvtColor's numbers.
__device__ inline uint32 gray_of(const uint32 (&rgb)[3]) {
    return (9798 * rgb[0] + 19235 * rgb[1] + 3735 * rgb[2] + (1 << 14)) >> 15;
}
__device__ inline uint32 gray_of(const uint32 (&gray)[1]) { return gray[0]; }

// ---- resizing

// The samples of a region under one destination pixel, along one axis.
struct Cell {
    int first, count;
    int head, middle, tail;  // integer weights of the first, of those between, of the last
    int total;               // their sum
};

__device__ inline int weight(const Cell& cell, int i) {
    return i == 0 ? cell.head : i == cell.count - 1 ? cell.tail : cell.middle;
}

// How much of each sample pixel `at` of `to` covers, in units of 1 / to of a sample.
__device__ inline Cell area_cell(int at, int from, int to) {
    const int start = at * from, end = start + from;
    const int first = start / to, last = (end - 1) / to;
    return {first, last - first + 1, min(end, (first + 1) * to) - start, to, end - last * to, from};
}

// The two samples nearest to the middle of pixel `at` of `to`, in units of 1 / (2 * to) of their distance.
__device__ inline Cell linear_cell(int at, int from, int to) {
    const int unit = 2 * to;
    const int position = min(max((2 * at + 1) * from - to, 0), (from - 1) * unit);
    const int first = position / unit, beyond = position % unit;
    return {first, beyond ? 2 : 1, unit - beyond, 0, beyond, unit};
}

__device__ inline Cell cell_of(bool shrinks, int at, int from, int to) {
    return shrinks ? area_cell(at, from, to) : linear_cell(at, from, to);
}

// Lanes that share one destination pixel: `columns` of them along a row of the region; both are powers of two.
struct Team {
    int lanes, columns;
};

__device__ inline Team team_for(const Region& region, int height, int width) {
    const int across = region.width / width + 2, down = region.height / height + 2;  // at least a cell's sides
    Team team = {1, 1};
    while (team.lanes < kWarp && static_cast<int64>(team.lanes) * kSamplesALane < static_cast<int64>(across) * down) {
        team.lanes *= 2;
        if (team.columns < across) team.columns *= 2;
    }
    return team;
}

// This lane's share of sum(w_y * w_x * sample).
template <class Format>
__device__ inline void partial_sums(const Frame& frame, const Region& region, const Cell& row, const Cell& column, Team team,
                                    int lane, uint64 (&sums)[Format::kSamples]) {
    for (int j = lane / team.columns; j < row.count; j += team.lanes / team.columns) {
        const int y = min(max(region.y + row.first + j, 0), frame.height - 1);
        uint32 line[Format::kSamples] = {};  // at most 255 * 2^20
        for (int i = lane % team.columns; i < column.count; i += team.columns) {
            const int x = min(max(region.x + column.first + i, 0), frame.width - 1);
            uint32 sample[Format::kSamples];
            Format::read(frame, x, y, sample);
#pragma unroll
            for (int c = 0; c < Format::kSamples; ++c) line[c] += static_cast<uint32>(weight(column, i)) * sample[c];
        }
#pragma unroll
        for (int c = 0; c < Format::kSamples; ++c) sums[c] += static_cast<uint64>(line[c]) * static_cast<uint32>(weight(row, j));
    }
}

// ---- writing

struct Destination {
    int64 image;  // index of the region
    int y, x, height, width;
};

template <int channels, class Out>
__device__ inline void write(Out* image, Out* phases, const Destination& to, int channel, float value) {
    if (image) store(image + ((to.image * channels + channel) * to.height + to.y) * to.width + to.x, value);
    if (!phases) return;
    const int64 phase = to.image * 4 + to.y % 2 * 2 + to.x % 2;
    store(phases + ((phase * channels + channel) * (to.height / 2) + to.y / 2) * (to.width / 2) + to.x / 2, value);
}

template <class Format, int channels, class Out>
__device__ inline void preprocess(const Frame& frame, const int32* regions, Out* image, Out* phases, int height, int width) {
    const int32* r = regions + static_cast<int64>(blockIdx.y) * 4;
    const Region region = {r[0], r[1], r[2], r[3]};
    const bool good = usable(region, frame.width, frame.height);
    const Team team = good ? team_for(region, height, width) : Team{1, 1};
    const int thread = blockIdx.x * blockDim.x + threadIdx.x;
    const int pixel = thread / team.lanes, lane = thread % team.lanes;
    const bool has_work = pixel < height * width;  // the others still meet the shuffles
    const Destination to = {blockIdx.y, pixel / width, pixel % width, height, width};

    uint64 sums[Format::kSamples] = {}, total = 1;
    if (has_work && good) {
        const bool shrinks = region.width >= width && region.height >= height;
        const Cell row = cell_of(shrinks, to.y, region.height, height), column = cell_of(shrinks, to.x, region.width, width);
        total = static_cast<uint64>(row.total) * static_cast<uint32>(column.total);
        partial_sums<Format>(frame, region, row, column, team, lane, sums);
    }
    for (int offset = team.lanes / 2; offset > 0; offset /= 2)
#pragma unroll
        for (int c = 0; c < Format::kSamples; ++c) sums[c] += __shfl_xor_sync(kFullWarp, sums[c], offset);
    if (!has_work || lane != 0) return;

    uint32 level[Format::kSamples];
#pragma unroll
    for (int c = 0; c < Format::kSamples; ++c) level[c] = static_cast<uint32>((sums[c] + total / 2) / total);
#pragma unroll
    for (int c = 0; c < channels; ++c) {
        const uint32 value = channels == 1 ? gray_of(level) : level[min(c, Format::kSamples - 1)];
        write<channels>(image, phases, to, c, good ? static_cast<float>(value) / 255.0f : quiet_nan());
    }
}

#define ENTRY(pixel, Pixel, color, channels, out, Out)                                                                   \
    extern "C" __global__ void __launch_bounds__(kMaxThreads) preprocess_##pixel##_##color##_##out(                      \
        const uint8* pixels, const uint8* chroma, int32 pitch, int32 chroma_pitch, int32 frame_width, int32 frame_height, \
        const int32* regions, Out* image, Out* phases, int32 height, int32 width) {                                      \
        const Frame frame = {pixels, chroma, pitch, chroma_pitch, frame_width, frame_height};                            \
        preprocess<Pixel, channels>(frame, regions, image, phases, height, width);                                       \
    }
#define ENTRIES_FOR(pixel, Pixel)              \
    ENTRY(pixel, Pixel, gray, 1, f32, float)   \
    ENTRY(pixel, Pixel, gray, 1, f16, Half)    \
    ENTRY(pixel, Pixel, rgb, 3, f32, float)    \
    ENTRY(pixel, Pixel, rgb, 3, f16, Half)

ENTRIES_FOR(nv12, Nv12)
ENTRIES_FOR(bgr8, Bgr8)
ENTRIES_FOR(rgb8, Rgb8)
ENTRIES_FOR(gray8, Gray8)

#undef ENTRY
#undef ENTRIES_FOR
