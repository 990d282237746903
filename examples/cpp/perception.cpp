// perception ENGINE WIDTH HEIGHT DEADLINE_US < frames.bgr: a perception loop
// with a deadline. Frames that come too late or that the model cannot place are
// handed on as they are, and counted, never as if they had been purified.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <puvae.hpp>
#include <vector>

using Clock = std::chrono::steady_clock;

struct Counts {
    long frames = 0, late = 0, degraded = 0;
};

static Counts perceive(const char* path, int width, int height, std::chrono::microseconds deadline) {
    puvae::Engine engine(path);
    puvae::Context context(engine);
    puvae::Result result(engine);
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3);
    Counts counts;
    while (std::fread(pixels.data(), 1, pixels.size(), stdin) == pixels.size()) {
        const auto captured = Clock::now();  // a camera's own time stamp, where it has one
        context.run(puvae::bgr(pixels, width, height), result);
        const bool late = Clock::now() - captured > deadline;
        ++counts.frames, counts.late += late, counts.degraded += result.degraded();
        const char* label = late || result.degraded() ? "unknown" : engine.class_name(result->label);
        std::printf("%s %.4f\n", label, static_cast<double>(result->least_rmse));
    }
    return counts;
}

int main(int count, char** arguments) try {
    const int width = count == 5 ? std::atoi(arguments[2]) : 0, height = count == 5 ? std::atoi(arguments[3]) : 0;
    if (width < 1 || height < 1) return std::fputs("usage: perception ENGINE WIDTH HEIGHT DEADLINE_US\n", stderr), 2;
    const auto [frames, late, degraded] =
        perceive(arguments[1], width, height, std::chrono::microseconds(std::atoll(arguments[4])));
    std::printf("%ld frames, %ld late, %ld degraded\n", frames, late, degraded);
} catch (const std::exception& error) {
    std::fprintf(stderr, "perception: %s\n", error.what());
    return 1;
}
