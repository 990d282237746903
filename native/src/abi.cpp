// The C interface: arguments checked, exceptions turned into a status and a message.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>

#include "engine.hpp"
#include "error.hpp"
#include "frame.hpp"
#include "puvae.h"

struct puvae_engine {
    std::shared_ptr<const puvae::Engine> engine;
};

struct puvae_context {
    explicit puvae_context(const std::shared_ptr<const puvae::Engine>& opened)
        : engine(opened),
          runner(engine->network->make_runner()),
          image(engine->plan.pixels()),
          purified(engine->plan.pixels()),
          rmse(engine->plan.classes),
          score(engine->plan.classes) {}

    std::shared_ptr<const puvae::Engine> engine;
    std::unique_ptr<puvae::Runner> runner;
    std::vector<float> image, purified, rmse, score;
    std::atomic<bool> busy{false};
};

namespace {

using puvae::refuse;

constexpr std::size_t max_regions = 1 << 16;

thread_local char message[512];

puvae_status failed(puvae_status status, const char* text) noexcept {
    std::strncpy(message, text, sizeof message - 1);
    return status;
}

template <class Body>
puvae_status guarded(Body body) noexcept {
    try {
        body();
        return PUVAE_OK;
    } catch (const puvae::Error& error) {
        return failed(error.status, error.what());
    } catch (const std::bad_alloc&) {
        return failed(PUVAE_ERROR_MEMORY,
                      "no memory left, expected room for the weights and a context; close other engines");
    } catch (const std::exception& error) {
        return failed(PUVAE_ERROR_INTERNAL, error.what());
    } catch (...) {
        return failed(PUVAE_ERROR_INTERNAL, "an unknown failure; please report it");
    }
}

void require(bool holds, const char* text) {
    if (!holds) refuse(PUVAE_ERROR_ARGUMENT, text);
}

void require_size(std::size_t got, std::size_t expected, const char* name) {
    if (got < expected || got > 4096)
        refuse(PUVAE_ERROR_ARGUMENT, std::string(name) + ".struct_size: got " + std::to_string(got) +
                                         ", expected sizeof(" + name + "), " + std::to_string(expected));
}

std::int32_t instructions_of(const puvae_engine_options* options) {
    if (options == nullptr) return PUVAE_AUTO;
    require_size(options->struct_size, sizeof *options, "puvae_engine_options");
    return options->instructions;
}

// A context for the length of one call.
class Use {
 public:
    explicit Use(puvae_context* context) : context_(context) {
        require(context != nullptr, "context: got NULL, expected one that puvae_context_open made");
        if (context->busy.exchange(true, std::memory_order_acquire))
            refuse(
                PUVAE_ERROR_BUSY,
                "context: another thread is in a call on it, expected one at a time; open a context for each thread");
    }
    ~Use() { context_->busy.store(false, std::memory_order_release); }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

 private:
    puvae_context* context_;
};

using Clock = std::chrono::steady_clock;

std::int64_t since(Clock::time_point& last) {
    const auto now = Clock::now();
    const auto passed = std::chrono::duration_cast<std::chrono::nanoseconds>(now - last).count();
    last = now;
    return passed;
}

void check_result(const puvae_result* result) {
    require(result != nullptr, "results: got NULL, expected a puvae_result for each region");
    require_size(result->struct_size, sizeof *result, "puvae_result");
}

template <class T>
void copy_where_wanted(T* to, const std::vector<T>& from) {
    if (to != nullptr) std::copy(from.begin(), from.end(), to);
}

// From `context.image` to a result.
void run_one(puvae_context& context, puvae_result& result, Clock::time_point last) {
    const auto& plan = context.engine->plan;
    result.projected = context.runner->purify(context.image.data(), context.purified.data(), context.rmse.data(),
                                              context.score.data());
    result.purify_ns = since(last);
    result.degraded = result.projected < 0;
    result.label = result.projected;
    if (!result.degraded && !plan.classifier.empty()) result.label = context.runner->classify(context.purified.data());
    result.classify_ns = since(last);
    result.least_rmse = std::numeric_limits<float>::quiet_NaN();
    for (const float rmse : context.rmse)
        if (std::isfinite(rmse) && !(result.least_rmse <= rmse)) result.least_rmse = rmse;
    copy_where_wanted(result.image, context.purified);
    copy_where_wanted(result.rmse, context.rmse);
    copy_where_wanted(result.score, context.score);
}

void check_frame(const puvae_frame* frame) {
    require(frame != nullptr, "frame: got NULL, expected a puvae_frame");
    require_size(frame->struct_size, sizeof *frame, "puvae_frame");
    puvae::check_frame(*frame);
}

puvae_result& result_at(puvae_result* results, std::size_t index) {
    return *reinterpret_cast<puvae_result*>(reinterpret_cast<char*>(results) + index * results->struct_size);
}

}  // namespace

extern "C" {

const char* puvae_version(void) { return PUVAE_VERSION; }

const char* puvae_last_message(void) { return message; }

puvae_status puvae_engine_open(const char* path, const puvae_engine_options* options, puvae_engine** engine) {
    if (engine != nullptr) *engine = nullptr;
    return guarded([&] {
        require(path != nullptr && engine != nullptr,
                "path and engine: got NULL, expected a file's name and where to put the engine");
        *engine = new puvae_engine{puvae::Engine::open(path, instructions_of(options))};
    });
}

puvae_status puvae_engine_open_memory(const void* data, size_t size, const puvae_engine_options* options,
                                      puvae_engine** engine) {
    if (engine != nullptr) *engine = nullptr;
    return guarded([&] {
        require(data != nullptr && engine != nullptr,
                "data and engine: got NULL, expected the file's bytes and where to put the engine");
        *engine = new puvae_engine{puvae::Engine::open(data, size, instructions_of(options))};
    });
}

void puvae_engine_close(puvae_engine* engine) { delete engine; }

puvae_status puvae_engine_get_info(const puvae_engine* engine, puvae_engine_info* info) {
    return guarded([&] {
        require(engine != nullptr && info != nullptr,
                "engine and info: got NULL, expected an open engine and a puvae_engine_info");
        require_size(info->struct_size, sizeof *info, "puvae_engine_info");
        const puvae::Engine& opened = *engine->engine;
        const auto& plan = opened.plan;
        info->channels = static_cast<int32_t>(plan.channels);
        info->height = info->width = static_cast<int32_t>(plan.side);
        info->classes = static_cast<int32_t>(plan.classes);
        info->decoded = static_cast<int32_t>(plan.decoded);
        info->has_classifier = !plan.classifier.empty();
        info->instructions = opened.instructions;
        info->engine_bytes = opened.network->bytes() + (opened.mapping ? opened.mapping->size() : 0);
        info->context_bytes = opened.network->make_runner()->bytes();
    });
}

const char* puvae_engine_class_name(const puvae_engine* engine, int32_t index) {
    if (engine == nullptr || index < 0 || static_cast<std::size_t>(index) >= engine->engine->plan.names.size())
        return nullptr;
    return engine->engine->plan.names[static_cast<std::size_t>(index)].c_str();
}

puvae_status puvae_context_open(puvae_engine* engine, puvae_context** context) {
    if (context != nullptr) *context = nullptr;
    return guarded([&] {
        require(engine != nullptr && context != nullptr,
                "engine and context: got NULL, expected an open engine and where to put the context");
        *context = new puvae_context(engine->engine);
    });
}

puvae_status puvae_context_close(puvae_context* context) {
    if (context == nullptr) return PUVAE_OK;
    if (context->busy.exchange(true, std::memory_order_acquire))
        return failed(PUVAE_ERROR_BUSY,
                      "context: a call on it is under way, expected none; close it when its thread is done");
    delete context;
    return PUVAE_OK;
}

puvae_status puvae_run(puvae_context* context, const puvae_frame* frame, const puvae_region* regions, size_t count,
                       puvae_result* results) {
    return guarded([&] {
        const Use use(context);
        check_frame(frame);
        require(count >= 1 && count <= max_regions, "count: expected 1 to 65536 regions");
        require(regions != nullptr || count == 1,
                "regions: got NULL with several results, expected one region for each");
        const puvae_region all = puvae::whole(*frame);
        if (regions == nullptr) regions = &all;
        for (std::size_t i = 0; i < count; ++i) puvae::check_region(*frame, regions[i]);
        check_result(results);
        for (std::size_t i = 0; i < count; ++i) {
            auto last = Clock::now();
            const auto& plan = context->engine->plan;
            puvae::preprocess(*frame, regions[i], plan.channels, plan.side, context->image.data());
            puvae_result& result = result_at(results, i);
            result.preprocess_ns = since(last);
            run_one(*context, result, last);
        }
    });
}

puvae_status puvae_run_image(puvae_context* context, const float* image, puvae_result* result) {
    return guarded([&] {
        const Use use(context);
        require(image != nullptr, "image: got NULL, expected floats in [0,1]");
        check_result(result);
        const std::size_t pixels = context->engine->plan.pixels();
        for (std::size_t i = 0; i < pixels; ++i)
            if (!(image[i] >= 0 && image[i] <= 1))
                refuse(PUVAE_ERROR_ARGUMENT, "image: got " + std::to_string(image[i]) + " at " + std::to_string(i) +
                                                 ", expected [0,1]; clip, or drop damaged images");
        const auto last = Clock::now();
        std::copy(image, image + pixels, context->image.begin());
        result->preprocess_ns = 0;
        run_one(*context, *result, last);
    });
}

puvae_status puvae_preprocess(puvae_context* context, const puvae_frame* frame, const puvae_region* region,
                              float* image) {
    return guarded([&] {
        const Use use(context);
        check_frame(frame);
        const puvae_region taken = region != nullptr ? *region : puvae::whole(*frame);
        puvae::check_region(*frame, taken);
        require(image != nullptr, "image: got NULL, expected room for [channels,height,width] floats");
        puvae::preprocess(*frame, taken, context->engine->plan.channels, context->engine->plan.side, image);
    });
}

}  // extern "C"
