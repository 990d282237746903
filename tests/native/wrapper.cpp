// wrapper ENGINE: what puvae.hpp adds to puvae.h, each as a line "name ok" or a
// complaint and exit 1.
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <puvae.hpp>
#include <string>
#include <type_traits>
#include <vector>

static void require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "wrapper: %s\n", what);
    std::exit(1);
}

static void refused(puvae_status status, const char* what, const std::function<void()>& body) {
    try {
        body();
    } catch (const puvae::Error& error) {
        require(error.status() == status, error.what());
        require(std::string(error.what()).find("expected") != std::string::npos, error.what());
        return;
    }
    require(false, what);
}

static_assert(!std::is_copy_constructible_v<puvae::Engine> && std::is_nothrow_move_constructible_v<puvae::Engine>);
static_assert(!std::is_copy_constructible_v<puvae::Context> && std::is_nothrow_move_constructible_v<puvae::Context>);
static_assert(!std::is_copy_constructible_v<puvae::Result> && std::is_nothrow_move_constructible_v<puvae::Result>);

int main(int count, char** arguments) {
    if (count != 2) return 2;
    constexpr int width = 50, height = 40;
    std::vector<std::uint8_t> pixels(width * height * 3);
    for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(i * i >> 3);

    puvae::Engine opened(arguments[1]);
    puvae::Engine engine = std::move(opened);
    puvae::Result first(engine), second(engine);
    puvae::Context context(engine);
    context.run(puvae::bgr(pixels, width, height), first);
    puvae::Result moved = std::move(first);  // its buffers come along
    context.run(puvae::bgr(pixels, width, height), moved);
    require(moved.image().size() == engine.pixels(), "image size");
    require(moved.rmse().size() == static_cast<std::size_t>(engine.info().classes), "rmse size");
    require(engine.class_name(moved->label) != nullptr && engine.class_name(-1) == nullptr, "class names");

    std::ifstream file(arguments[1], std::ios::binary);
    const std::vector<std::uint8_t> bytes{std::istreambuf_iterator<char>(file), {}};
    puvae::Context other{puvae::Engine(bytes)};  // goes on when its engine is gone
    other.run(puvae::bgr(pixels, width, height), {0, 0, width, height}, second);
    require(second->projected == moved->projected && !second.degraded(), "from memory");
    for (std::size_t i = 0; i < second.rmse().size(); ++i)
        require(second.rmse()[i] == moved.rmse()[i] || std::isnan(second.rmse()[i]), "rmse");

    std::vector<float> image(engine.pixels());
    context.preprocess(puvae::bgr(pixels, width, height), nullptr, image);
    context.run_image(image, second);
    require(second->projected == moved->projected, "run_image");
    const std::array<puvae_region, 2> regions = {{{0, 0, width, height}, {1, 2, 9, 9}}};
    puvae_result results[2] = {*second.get(), *moved.get()};
    context.run(puvae::bgr(pixels, width, height), regions, {results, 2});
    require(results[0].projected == moved->projected, "regions");
    context.run(puvae::nv12(pixels, puvae::Span<const std::uint8_t>(pixels), width, height), second);
    context.run(puvae::gray(pixels, width, height), second);
    context.run(puvae::rgb(pixels, width - 1, height, width * 3), second);

    const puvae_frame frame = puvae::bgr(pixels, width, height);
    refused(PUVAE_ERROR_FILE, "no file", [] { puvae::Engine("absent.puvae"); });
    refused(PUVAE_ERROR_ARGUMENT, "frame", [&] { puvae::bgr(pixels, width, height + 1); });
    refused(PUVAE_ERROR_ARGUMENT, "chroma", [&] { puvae::nv12(pixels, {pixels.data(), 999}, width, height); });
    refused(PUVAE_ERROR_ARGUMENT, "negative", [&] { context.run(puvae::bgr(pixels, -1, height), second); });
    refused(PUVAE_ERROR_ARGUMENT, "stride", [&] { context.run(puvae::bgr(pixels, width, height, -150), second); });
    refused(PUVAE_ERROR_ARGUMENT, "region", [&] { context.run(frame, {width, 0, 1, 1}, second); });
    refused(PUVAE_ERROR_ARGUMENT, "results", [&] { context.run(frame, regions, {results, 1}); });
    refused(PUVAE_ERROR_ARGUMENT, "image", [&] { context.run_image({image.data(), 3}, second); });
    std::puts("ok");
}
