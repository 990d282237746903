// A target of libFuzzer: an engine.puvae from a stranger is opened, and runs an image where it opens.
//
// What a file says of itself is what has to be fuzzed, and its checksum would stop every mutation: where the checksum
// of an input is 0, the input is filled up with zeros, the weights, to the size that it names, and sealed. Any other
// input is opened as it is. tests/native/corpus has one sound file of each kind (tests/native/test_fuzz.py makes them).
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "puvae.h"

namespace {

constexpr std::size_t checksum_at = 12, checked_from = 16, header = 88, largest = std::size_t{1} << 16;

std::uint32_t crc32(const std::uint8_t* bytes, std::size_t size) {
    std::uint32_t sum = ~0u;
    for (std::size_t i = 0; i < size; ++i) {
        sum ^= bytes[i];
        for (int bit = 0; bit < 8; ++bit) sum = sum & 1 ? sum >> 1 ^ 0xEDB88320u : sum >> 1;
    }
    return ~sum;
}

void seal(std::vector<std::uint8_t>& file) {
    std::uint32_t sum = 0;
    std::memcpy(&sum, file.data() + checksum_at, sizeof sum);
    if (sum != 0) return;
    std::uint64_t size = 0;
    std::memcpy(&size, file.data() + checked_from, sizeof size);
    if (size <= largest && size > file.size()) file.resize(size);
    sum = crc32(file.data() + checked_from, file.size() - checked_from);
    std::memcpy(file.data() + checksum_at, &sum, sizeof sum);
}

void run(puvae_engine* engine) {
    puvae_engine_info info{};
    info.struct_size = sizeof info;
    puvae_context* context = nullptr;
    if (puvae_engine_get_info(engine, &info) != PUVAE_OK || puvae_context_open(engine, &context) != PUVAE_OK) return;
    const std::vector<float> image(static_cast<std::size_t>(info.channels * info.height * info.width), 0.5f);
    puvae_result result{};
    result.struct_size = sizeof result;
    if (puvae_run_image(context, image.data(), &result) != PUVAE_OK || result.projected >= info.classes) std::abort();
    if (puvae_engine_class_name(engine, info.classes - 1) == nullptr) std::abort();
    puvae_context_close(context);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::vector<std::uint8_t> file(data, data + size);
    if (size >= header) seal(file);
    for (const std::int32_t instructions : {PUVAE_SCALAR, PUVAE_PORTABLE}) {
        puvae_engine_options options{};
        options.struct_size = sizeof options, options.instructions = instructions;
        puvae_engine* engine = nullptr;
        if (puvae_engine_open_memory(file.data(), file.size(), &options, &engine) != PUVAE_OK) return 0;
        if (instructions == PUVAE_PORTABLE) run(engine);
        puvae_engine_close(engine);
    }
    return 0;
}
