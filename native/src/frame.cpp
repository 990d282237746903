#include "frame.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "error.hpp"

namespace puvae {
namespace {

constexpr std::int32_t max_side = 1 << 20;
constexpr std::int64_t max_area = std::int64_t{1} << 26;

// The texts are made where they are needed alone: a call that succeeds takes no memory.
[[noreturn]] void wrong(const std::string& got, const char* expected) {
    refuse(PUVAE_ERROR_ARGUMENT, got + ", expected " + expected);
}

std::string sides(std::int32_t width, std::int32_t height) {
    return std::to_string(width) + "x" + std::to_string(height);
}

void check_plane(const char* name, const std::uint8_t* pixels, std::int64_t stride, std::int64_t row,
                 std::int64_t rows) {
    if (pixels == nullptr) wrong(std::string(name) + ": got NULL", "the first row's address");
    if (stride < row || stride > INT64_MAX / rows)
        wrong(std::string(name) + ": got a stride of " + std::to_string(stride) + " bytes",
              "at least the bytes of a row; flip an image with a negative stride before");
}

// Integer weights of the samples under one destination pixel, along one axis.
struct Cell {
    std::int32_t first, count;
    std::uint32_t head, middle, tail, total;

    std::uint32_t weight(std::int32_t i) const { return i == 0 ? head : i == count - 1 ? tail : middle; }
};

// How much of each sample pixel `at` of `to` covers, in units of 1 / to of a sample.
Cell area_cell(std::int32_t at, std::int32_t from, std::int32_t to) {
    const std::int32_t start = at * from, end = start + from;  // at most 32 * 2^20
    const std::int32_t first = start / to, last = (end - 1) / to;
    return {first,
            last - first + 1,
            static_cast<std::uint32_t>(std::min(end, (first + 1) * to) - start),
            static_cast<std::uint32_t>(to),
            static_cast<std::uint32_t>(end - last * to),
            static_cast<std::uint32_t>(from)};
}

// The two samples nearest to the middle of pixel `at` of `to`, in units of 1 / (2 * to) of their distance.
Cell linear_cell(std::int32_t at, std::int32_t from, std::int32_t to) {
    const std::int32_t unit = 2 * to;
    const std::int32_t position = std::clamp((2 * at + 1) * from - to, 0, (from - 1) * unit);
    const std::int32_t first = position / unit, beyond = position % unit;
    return {first,
            beyond ? 2 : 1,
            static_cast<std::uint32_t>(unit - beyond),
            0,
            static_cast<std::uint32_t>(beyond),
            static_cast<std::uint32_t>(unit)};
}

std::uint32_t saturated(std::int32_t value) { return static_cast<std::uint32_t>(std::clamp(value, 0, 255)); }

// BT.601, limited range, in units of 2^-20: 1.164, 1.596, -.391, -.813, 2.018.
void read_nv12(const puvae_frame& frame, std::int64_t x, std::int64_t y, std::uint32_t (&rgb)[3]) {
    const std::uint8_t* uv = frame.chroma + y / 2 * frame.chroma_stride + x / 2 * 2;
    const std::int32_t u = uv[0] - 128, v = uv[1] - 128;
    const std::int32_t luma = std::max(frame.pixels[y * frame.stride + x] - 16, 0) * 1220542 + (1 << 19);
    rgb[0] = saturated((luma + 1673527 * v) >> 20);
    rgb[1] = saturated((luma - 409993 * u - 852492 * v) >> 20);
    rgb[2] = saturated((luma + 2116026 * u) >> 20);
}

// A sample as RGB; gray in the first of them.
void read_sample(const puvae_frame& frame, std::int64_t x, std::int64_t y, std::uint32_t (&rgb)[3]) {
    if (frame.format == PUVAE_NV12) return read_nv12(frame, x, y, rgb);
    const std::uint8_t* row = frame.pixels + y * frame.stride;
    if (frame.format == PUVAE_GRAY) rgb[0] = row[x];
    else if (frame.format == PUVAE_BGR) rgb[0] = row[3 * x + 2], rgb[1] = row[3 * x + 1], rgb[2] = row[3 * x];
    else rgb[0] = row[3 * x], rgb[1] = row[3 * x + 1], rgb[2] = row[3 * x + 2];
}

// The weighted mean of the samples under one pixel, rounded half up.
void sample_mean(const puvae_frame& frame, const puvae_region& region, const Cell& row, const Cell& column,
                 std::uint32_t (&level)[3]) {
    std::uint64_t sums[3] = {};  // at most 255 * 2^40
    for (std::int32_t j = 0; j < row.count; ++j) {
        const auto y = std::clamp<std::int64_t>(std::int64_t{region.y} + row.first + j, 0, frame.height - 1);
        std::uint32_t line[3] = {};  // at most 255 * 2^20
        for (std::int32_t i = 0; i < column.count; ++i) {
            const auto x = std::clamp<std::int64_t>(std::int64_t{region.x} + column.first + i, 0, frame.width - 1);
            std::uint32_t sample[3] = {};
            read_sample(frame, x, y, sample);
            for (int c = 0; c < 3; ++c) line[c] += column.weight(i) * sample[c];
        }
        for (int c = 0; c < 3; ++c) sums[c] += std::uint64_t{row.weight(j)} * line[c];
    }
    const std::uint64_t total = std::uint64_t{row.total} * column.total;
    for (int c = 0; c < 3; ++c) level[c] = static_cast<std::uint32_t>((sums[c] + total / 2) / total);
}

// .299, .587 and .114 in units of 2^-15, adding up to 1.
std::uint32_t gray_of(const std::uint32_t (&rgb)[3]) {
    return (9798 * rgb[0] + 19235 * rgb[1] + 3735 * rgb[2] + (1 << 14)) >> 15;
}

}  // namespace

void check_frame(const puvae_frame& frame) {
    const auto [width, height] = std::pair(frame.width, frame.height);
    if (frame.format < PUVAE_GRAY || frame.format > PUVAE_NV12)
        wrong("format: got " + std::to_string(frame.format), "a puvae_format");
    if (width < 1 || height < 1 || width > max_side || height > max_side)
        wrong("frame: got " + sides(width, height) + " pixels", "sides of 1 to 1048576");
    const bool color = frame.format == PUVAE_BGR || frame.format == PUVAE_RGB;
    check_plane("pixels", frame.pixels, frame.stride, std::int64_t{width} * (color ? 3 : 1), height);
    if (frame.format != PUVAE_NV12) return;
    if (width % 2 != 0 || height % 2 != 0)
        wrong("frame: got " + sides(width, height) + " pixels of NV12", "even sides");
    check_plane("chroma", frame.chroma, frame.chroma_stride, width, height / 2);
}

void check_region(const puvae_frame& frame, const puvae_region& region) {
    const auto [x, y, w, h] = region;
    const char* expected = nullptr;
    if (w < 1 || h < 1 || w > max_side || h > max_side || std::int64_t{w} * h > max_area)
        expected = "positive sides up to 1048576 and at most 2^26 pixels";
    else if (x >= frame.width || y >= frame.height || x <= -w || y <= -h)
        expected = "one that touches the frame; it may stick out, not leave it";
    if (expected != nullptr)
        wrong("region: got " + sides(w, h) + " at " + std::to_string(x) + "," + std::to_string(y), expected);
}

puvae_region whole(const puvae_frame& frame) { return {0, 0, frame.width, frame.height}; }

void preprocess(const puvae_frame& frame, const puvae_region& region, std::size_t channels, std::size_t side,
                float* image) noexcept {
    const auto to = static_cast<std::int32_t>(side);
    const bool shrinks = region.width >= to && region.height >= to;
    const auto cell_of = shrinks ? area_cell : linear_cell;
    for (std::int32_t y = 0; y < to; ++y)
        for (std::int32_t x = 0; x < to; ++x, ++image) {
            std::uint32_t level[3];
            sample_mean(frame, region, cell_of(y, region.height, to), cell_of(x, region.width, to), level);
            if (frame.format == PUVAE_GRAY) level[1] = level[2] = level[0];
            if (channels == 1)
                *image = static_cast<float>(frame.format == PUVAE_GRAY ? level[0] : gray_of(level)) / 255.0f;
            else
                for (std::size_t c = 0; c < 3; ++c) image[c * side * side] = static_cast<float>(level[c]) / 255.0f;
        }
}

}  // namespace puvae
