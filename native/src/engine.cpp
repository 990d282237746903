#include "engine.hpp"

#include <cstring>

#include "error.hpp"
#include "fast.hpp"
#include "reference.hpp"

namespace puvae {
namespace {

constexpr std::uintptr_t alignment = 64;

bool runs(std::int32_t instructions) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (instructions == PUVAE_AVX2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (instructions == PUVAE_AVX512) {
#if defined(PUVAE_WIDE_WITHOUT_AVX512)  // the tests' build for processors without it: see kernels_avx512.cpp
        return runs(PUVAE_AVX2);
#else
        return runs(PUVAE_AVX2) && __builtin_cpu_supports("avx512f");
#endif
    }
#endif
    return instructions == PUVAE_SCALAR || instructions == PUVAE_PORTABLE;
}

std::int32_t chosen(std::int32_t asked) {
    static const char* const names[] = {"auto", "scalar", "portable", "AVX2", "AVX-512"};
    if (asked < PUVAE_AUTO || asked > PUVAE_AVX512)
        refuse(PUVAE_ERROR_ARGUMENT, "instructions: got " + std::to_string(asked) + ", expected a puvae_instructions");
    if (asked == PUVAE_AUTO)
        for (std::int32_t widest : {PUVAE_AVX512, PUVAE_AVX2, PUVAE_PORTABLE})
            if (runs(widest)) return widest;
    if (!runs(asked))
        refuse(PUVAE_ERROR_UNSUPPORTED, std::string("instructions: got ") + names[asked] +
                                            ", expected what this processor has; leave the option at PUVAE_AUTO");
    return asked;
}

const Kernels& kernels_of(std::int32_t instructions) {
#if defined(__x86_64__)
    if (instructions == PUVAE_AVX512) return avx512_kernels;
    if (instructions == PUVAE_AVX2) return avx2_kernels;
#endif
    (void)instructions;
    return portable_kernels;
}

// The weights are in the network's own memory now, the file's go.
void forget_weights(Plan& plan) {
    for (auto* part : {&plan.trunk, &plan.fc1, &plan.fc2, &plan.deconvs, &plan.prior, &plan.classifier})
        for (Layer& layer : *part) layer.weights = layer.bias = nullptr;
    for (Layer* layer : {&plan.fc1_table, &plan.fc3, &plan.decoder_fc, &plan.decoder_table})
        layer->weights = layer->bias = nullptr;
}

}  // namespace

void Engine::load(const void* data, std::size_t size, std::int32_t asked) {
    instructions = chosen(asked);
    plan = read_plan(data, size);
    if (instructions == PUVAE_SCALAR) {
        network = make_reference(plan);
        return;
    }
    network = std::make_unique<FastNetwork>(plan, kernels_of(instructions));
    forget_weights(plan);
    mapping.reset(), copy.reset();
}

std::shared_ptr<const Engine> Engine::open(const char* path, std::int32_t instructions) {
    auto engine = std::make_shared<Engine>();
    engine->mapping = std::make_unique<Mapping>(path);
    engine->load(engine->mapping->data(), engine->mapping->size(), instructions);
    return engine;
}

std::shared_ptr<const Engine> Engine::open(const void* data, std::size_t size, std::int32_t instructions) {
    auto engine = std::make_shared<Engine>();
    if (size > PTRDIFF_MAX - alignment)
        refuse(PUVAE_ERROR_ARGUMENT, "size: got " + std::to_string(size) + ", expected the bytes of an engine.puvae");
    engine->copy.reset(new unsigned char[size + alignment]);
    const auto address = reinterpret_cast<std::uintptr_t>(engine->copy.get());
    unsigned char* aligned = engine->copy.get() + (alignment - address % alignment) % alignment;
    std::memcpy(aligned, data, size);
    engine->load(aligned, size, instructions);
    return engine;
}

}  // namespace puvae
