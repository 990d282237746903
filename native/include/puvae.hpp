// libpuvae in C++17, header-only: handles that close themselves, buffers with their sizes, failures as exceptions.
//
//     puvae::Engine engine("mnist-native-fp32/engine.puvae");
//     puvae::Context context(engine);
//     puvae::Result result(engine);
//     context.run(puvae::bgr({pixels, bytes}, width, height), result);
//     std::puts(engine.class_name(result->label));
//
// puvae.h is the manual: threads, memory and versions are as it says. Engine and Context move and do not copy. All
// memory is taken in the constructors; a call to run() or preprocess() that succeeds takes none.
#ifndef PUVAE_HPP
#define PUVAE_HPP

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "puvae.h"

namespace puvae {

// A call that failed: its status, and in what() what was got, what was expected and how to mend it.
class Error : public std::runtime_error {
 public:
    Error(puvae_status status, const std::string& what) : std::runtime_error(what), status_(status) {}
    puvae_status status() const noexcept { return status_; }

 private:
    puvae_status status_;
};

inline void check(puvae_status status) {
    if (status != PUVAE_OK) throw Error(status, puvae_last_message());
}

// `size` values from `data` on, owned by somebody else. Made of anything contiguous: std::vector, std::array,
// std::span.
template <class T>
class Span {
 public:
    constexpr Span() noexcept = default;
    constexpr Span(T* data, std::size_t size) noexcept : data_(data), size_(size) {}
    template <class C, class = std::enable_if_t<!std::is_same_v<std::decay_t<C>, Span> &&
                                                std::is_convertible_v<decltype(std::declval<C&>().data()), T*>>>
    constexpr Span(C&& container) noexcept : data_(container.data()), size_(container.size()) {}

    constexpr T* data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr T* begin() const noexcept { return data_; }
    constexpr T* end() const noexcept { return data_ + size_; }
    constexpr T& operator[](std::size_t index) const noexcept { return data_[index]; }

 private:
    T* data_ = nullptr;
    std::size_t size_ = 0;
};

namespace detail {

inline void check_bytes(const char* name, std::size_t got, std::int64_t stride, std::int64_t row, std::int64_t rows) {
    if (row < 1 || rows < 1 || stride < row || rows - 1 > (std::numeric_limits<std::int64_t>::max() - row) / stride)
        return;  // the library says what is wrong with these
    const auto expected =
        static_cast<std::uint64_t>(stride) * static_cast<std::uint64_t>(rows - 1) + static_cast<std::uint64_t>(row);
    if (got < expected)
        throw Error(PUVAE_ERROR_ARGUMENT, std::string(name) + ": got " + std::to_string(got) + " bytes, expected " +
                                              std::to_string(expected) + "; check width, height and stride");
}

inline puvae_frame packed(puvae_format format, Span<const std::uint8_t> pixels, std::int32_t width, std::int32_t height,
                          std::int64_t stride) {
    const std::int64_t row = std::int64_t{width} * (format == PUVAE_GRAY ? 1 : 3);
    if (stride == 0) stride = row;
    check_bytes("pixels", pixels.size(), stride, row, height);
    return {sizeof(puvae_frame), format, pixels.data(), stride, nullptr, 0, width, height};
}

}  // namespace detail

// Frames. `stride`: bytes from one row to the next; 0 is a row without padding. The pixels have to outlive the call.
inline puvae_frame bgr(Span<const std::uint8_t> pixels, std::int32_t width, std::int32_t height,
                       std::int64_t stride = 0) {
    return detail::packed(PUVAE_BGR, pixels, width, height, stride);
}
inline puvae_frame rgb(Span<const std::uint8_t> pixels, std::int32_t width, std::int32_t height,
                       std::int64_t stride = 0) {
    return detail::packed(PUVAE_RGB, pixels, width, height, stride);
}
inline puvae_frame gray(Span<const std::uint8_t> pixels, std::int32_t width, std::int32_t height,
                        std::int64_t stride = 0) {
    return detail::packed(PUVAE_GRAY, pixels, width, height, stride);
}
inline puvae_frame nv12(Span<const std::uint8_t> luma, Span<const std::uint8_t> chroma, std::int32_t width,
                        std::int32_t height, std::int64_t stride = 0, std::int64_t chroma_stride = 0) {
    if (stride == 0) stride = width;
    if (chroma_stride == 0) chroma_stride = width;
    detail::check_bytes("luma", luma.size(), stride, width, height);
    detail::check_bytes("chroma", chroma.size(), chroma_stride, width, height / 2);
    return {sizeof(puvae_frame), PUVAE_NV12, luma.data(), stride, chroma.data(), chroma_stride, width, height};
}

// The weights of one file, read only: any number of threads use it at once.
class Engine {
 public:
    explicit Engine(const std::string& path, puvae_instructions instructions = PUVAE_AUTO) {
        const puvae_engine_options options = {sizeof options, instructions};
        puvae_engine* opened = nullptr;
        check(puvae_engine_open(path.c_str(), &options, &opened));
        take(opened);
    }
    explicit Engine(Span<const std::uint8_t> file, puvae_instructions instructions = PUVAE_AUTO) {
        const puvae_engine_options options = {sizeof options, instructions};
        puvae_engine* opened = nullptr;
        check(puvae_engine_open_memory(file.data(), file.size(), &options, &opened));
        take(opened);
    }

    const puvae_engine_info& info() const noexcept { return info_; }
    // nullptr when there is no such class.
    const char* class_name(std::int32_t index) const noexcept { return puvae_engine_class_name(get(), index); }
    // How many floats an image of the model has: channels * height * width.
    std::size_t pixels() const noexcept {
        return static_cast<std::size_t>(info_.channels) * static_cast<std::size_t>(info_.height) *
               static_cast<std::size_t>(info_.width);
    }
    puvae_engine* get() const noexcept { return handle_.get(); }

 private:
    struct Close {
        void operator()(puvae_engine* engine) const noexcept { puvae_engine_close(engine); }
    };
    void take(puvae_engine* opened) {
        handle_.reset(opened);
        check(puvae_engine_get_info(opened, &info_));
    }
    std::unique_ptr<puvae_engine, Close> handle_;
    puvae_engine_info info_ = {sizeof(puvae_engine_info), 0, 0, 0, 0, 0, 0, 0, 0, 0};
};

// What run() wrote, and the memory for it: make it once, use it for every frame. `->` reaches the fields of puvae.h.
class Result {
 public:
    explicit Result(const Engine& engine)
        : image_(engine.pixels()),
          rmse_(static_cast<std::size_t>(engine.info().classes)),
          score_(rmse_.size()),
          result_{sizeof(puvae_result), image_.data(), rmse_.data(), score_.data(), -1, -1, 0, 0, 0, 0, 0} {}
    Result(Result&&) noexcept = default;
    Result& operator=(Result&&) noexcept = default;
    Result(const Result&) = delete;
    Result& operator=(const Result&) = delete;

    Span<const float> image() const noexcept { return image_; }  // [channels,height,width] in [0,1]
    Span<const float> rmse() const noexcept { return rmse_; }    // [classes]
    Span<const float> score() const noexcept { return score_; }  // [classes]
    bool degraded() const noexcept { return result_.degraded != 0; }
    const puvae_result* operator->() const noexcept { return &result_; }
    puvae_result* get() noexcept { return &result_; }

 private:
    std::vector<float> image_, rmse_, score_;
    puvae_result result_;
};

// The memory of one call at a time: one for each thread. It goes on when its engine is closed.
class Context {
 public:
    explicit Context(const Engine& engine) : engine_pixels_(engine.pixels()) {
        puvae_context* opened = nullptr;
        check(puvae_context_open(engine.get(), &opened));
        handle_.reset(opened);
    }

    // The whole frame, or one region of it.
    void run(const puvae_frame& frame, Result& result) { check(puvae_run(get(), &frame, nullptr, 1, result.get())); }
    void run(const puvae_frame& frame, const puvae_region& region, Result& result) {
        check(puvae_run(get(), &frame, &region, 1, result.get()));
    }
    // Any number of regions at once, a result for each, whose buffers are the caller's.
    void run(const puvae_frame& frame, Span<const puvae_region> regions, Span<puvae_result> results) {
        if (regions.size() != results.size())
            throw Error(PUVAE_ERROR_ARGUMENT, "results: got " + std::to_string(results.size()) + ", expected " +
                                                  std::to_string(regions.size()) + ", one for each region");
        check(puvae_run(get(), &frame, regions.data(), regions.size(), results.data()));
    }
    // An image [channels,height,width] in [0,1] at the model's own size.
    void run_image(Span<const float> image, Result& result) {
        check_size(image.size());
        check(puvae_run_image(get(), image.data(), result.get()));
    }
    // What the model would see of a region; nullptr is the whole frame.
    void preprocess(const puvae_frame& frame, const puvae_region* region, Span<float> image) {
        check_size(image.size());
        check(puvae_preprocess(get(), &frame, region, image.data()));
    }
    puvae_context* get() const noexcept { return handle_.get(); }

 private:
    struct Close {
        void operator()(puvae_context* context) const noexcept { puvae_context_close(context); }
    };
    void check_size(std::size_t got) const {
        if (got != engine_pixels_)
            throw Error(PUVAE_ERROR_ARGUMENT, "image: got " + std::to_string(got) + " floats, expected " +
                                                  std::to_string(engine_pixels_) + ", channels * height * width");
    }
    std::unique_ptr<puvae_context, Close> handle_;
    std::size_t engine_pixels_;
};

}  // namespace puvae

#endif
