#include "file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "error.hpp"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "engine.puvae is little-endian, and so has to be the processor"
#endif

namespace puvae {
namespace {

constexpr char magic[8] = {'P', 'U', 'V', 'A', 'E', '\r', '\n', '\x1a'};
constexpr std::size_t header_bytes = 88, layer_bytes = 64, checked_from = 16, alignment = 64;
constexpr std::uint32_t max_layers = 128, max_classes = 1000, max_channels = 4096, max_features = 1u << 22,
                        max_kernel = 15;
constexpr std::uint64_t max_names = 1u << 20;
const char* const remedy = "; write the file again with `puvae build --target native`";

[[noreturn]] void damaged(const std::string& what) { refuse(PUVAE_ERROR_FILE, "engine.puvae: " + what + remedy); }

void require(bool holds, const std::string& what) {
    if (!holds) damaged(what);
}

// zlib's CRC-32, eight bytes at a time: tables[i][b] is what byte b does to the sum i bytes later.
constexpr std::array<std::array<std::uint32_t, 256>, 8> crc_tables() {
    std::array<std::array<std::uint32_t, 256>, 8> tables{};
    for (std::uint32_t b = 0; b < 256; ++b) {
        std::uint32_t sum = b;
        for (int bit = 0; bit < 8; ++bit) sum = sum & 1 ? sum >> 1 ^ 0xEDB88320u : sum >> 1;
        tables[0][b] = sum;
    }
    for (std::size_t i = 1; i < 8; ++i)
        for (std::size_t b = 0; b < 256; ++b) tables[i][b] = tables[i - 1][b] >> 8 ^ tables[0][tables[i - 1][b] & 255];
    return tables;
}

std::uint32_t crc32(const unsigned char* bytes, std::size_t size) {
    static constexpr auto tables = crc_tables();
    std::uint32_t sum = ~0u;
    for (; size >= 8; bytes += 8, size -= 8) {
        std::uint32_t low, high;
        std::memcpy(&low, bytes, 4);
        std::memcpy(&high, bytes + 4, 4);
        low ^= sum;
        sum = tables[7][low & 255] ^ tables[6][low >> 8 & 255] ^ tables[5][low >> 16 & 255] ^ tables[4][low >> 24] ^
              tables[3][high & 255] ^ tables[2][high >> 8 & 255] ^ tables[1][high >> 16 & 255] ^ tables[0][high >> 24];
    }
    for (; size > 0; ++bytes, --size) sum = sum >> 8 ^ tables[0][(sum ^ *bytes) & 255];
    return ~sum;
}

class Reader {
 public:
    Reader(const void* data, std::size_t size) : bytes_(static_cast<const unsigned char*>(data)), size_(size) {}

    // `count` bytes from `offset`, where they are there.
    const unsigned char* at(std::uint64_t offset, std::uint64_t count, const char* what) const {
        require(offset <= size_ && count <= size_ - offset,
                std::string(what) + " at byte " + std::to_string(offset) + ", " + std::to_string(count) +
                    " bytes long, expected within the " + std::to_string(size_) + " bytes of the file");
        return bytes_ + offset;
    }

    template <class T>
    T number(std::uint64_t offset) const {
        T value;
        std::memcpy(&value, at(offset, sizeof value, "a number"), sizeof value);
        return value;
    }

    const float* floats(std::uint64_t offset, std::uint64_t count, const char* what) const {
        require(offset % alignment == 0,
                std::string(what) + " at byte " + std::to_string(offset) + ", expected a multiple of 64");
        return reinterpret_cast<const float*>(at(offset, count * sizeof(float), what));
    }

    std::uint32_t bounded(std::uint64_t offset, std::uint32_t low, std::uint32_t high, const char* what) const {
        const auto value = number<std::uint32_t>(offset);
        require(low <= value && value <= high, std::string(what) + " is " + std::to_string(value) + ", expected " +
                                                   std::to_string(low) + " to " + std::to_string(high));
        return value;
    }

    std::size_t size() const { return size_; }

 private:
    const unsigned char* bytes_;
    std::size_t size_;
};

void check_identity(const Reader& file) {
    require(file.size() >= header_bytes, std::to_string(file.size()) + " bytes, expected a header of 88");
    require(std::memcmp(file.at(0, sizeof magic, "the mark"), magic, sizeof magic) == 0, "no PUVAE mark at its begin");
    const auto version = file.number<std::uint32_t>(8);
    require(version == file_version,
            "version " + std::to_string(version) + ", expected " + std::to_string(file_version));
    const auto size = file.number<std::uint64_t>(16);
    require(size == file.size(),
            "says that it has " + std::to_string(size) + " bytes, has " + std::to_string(file.size()));
    const auto sum =
        crc32(file.at(checked_from, file.size() - checked_from, "the contents"), file.size() - checked_from);
    require(sum == file.number<std::uint32_t>(12), "its CRC-32 does not match its contents");
}

float fraction(const Reader& file, std::uint64_t offset, float low, float high, const char* what) {
    const auto value = file.number<float>(offset);
    require(std::isfinite(value) && low <= value && value <= high, std::string(what) + " is " + std::to_string(value) +
                                                                       ", expected " + std::to_string(low) + " to " +
                                                                       std::to_string(high));
    return value;
}

Plan read_header(const Reader& file) {
    Plan plan;
    plan.channels = file.bounded(24, 1, 3, "channels");
    plan.side = file.bounded(28, 28, 32, "side");
    require(plan.channels != 2 && plan.side % 4 == 0,
            "images of this shape, expected 1 or 3 channels of 28 or 32 pixels");
    plan.classes = file.bounded(32, 1, max_classes, "classes");
    plan.decoded = file.bounded(36, 1, static_cast<std::uint32_t>(plan.classes), "decoded");
    const auto flags = file.bounded(40, 0, 3, "flags");
    plan.normalized = flags & 1, plan.classifier_normalized = flags & 2;
    plan.tau = fraction(file, 44, 0, 1, "tau");
    plan.kl_weight = fraction(file, 48, 0, 1e30f, "kl_weight");
    plan.prior_weight = fraction(file, 52, 0, 1e30f, "prior_weight");
    plan.contrast_epsilon = fraction(file, 56, 1e-12f, 1, "contrast_epsilon");
    plan.contrast_span = fraction(file, 60, 1e-3f, 1e3f, "contrast_span");
    return plan;
}

std::vector<std::string> read_names(const Reader& file, std::size_t classes) {
    const auto size = file.number<std::uint64_t>(72);
    require(size <= max_names, "class names of " + std::to_string(size) + " bytes, expected at most 1,048,576");
    const auto* text = reinterpret_cast<const char*>(file.at(file.number<std::uint64_t>(64), size, "the class names"));
    std::vector<std::string> names;
    for (const char *end = text + size, *zero; text < end; text = zero + 1) {
        zero = static_cast<const char*>(std::memchr(text, 0, static_cast<std::size_t>(end - text)));
        require(zero != nullptr && names.size() < classes, "class names that do not fit the number of classes");
        names.emplace_back(text, zero);
    }
    require(names.size() == classes,
            std::to_string(names.size()) + " class names, expected " + std::to_string(classes));
    return names;
}

std::uint64_t weight_count(const Layer& layer, const Plan& plan) {
    const std::uint64_t rows = layer.kind == Kind::table ? plan.classes : layer.inputs;
    return rows * layer.outputs * layer.kernel_h * layer.kernel_w;  // below 2^22 * 2^22 * 15 * 15
}

Layer read_layer(const Reader& file, std::uint64_t at, const Plan& plan) {
    Layer layer;
    layer.kind = static_cast<Kind>(file.bounded(at + 4, 0, 3, "kind of a layer"));
    layer.relu = file.bounded(at + 8, 0, 1, "ReLU of a layer") == 1;
    const bool image = layer.kind == Kind::convolution || layer.kind == Kind::deconvolution;
    layer.inputs = file.bounded(at + 12, 1, image ? max_channels : max_features, "inputs of a layer");
    layer.outputs = file.bounded(at + 16, 1, max_channels, "outputs of a layer");
    layer.kernel_h = file.bounded(at + 20, 1, image ? max_kernel : 1, "kernel of a layer");
    layer.kernel_w = file.bounded(at + 24, 1, image ? max_kernel : 1, "kernel of a layer");
    layer.stride = file.bounded(at + 28, 1, image ? 2 : 1, "stride of a layer");
    require(layer.kind != Kind::table || layer.inputs == 1, "a table with inputs, expected 1");
    require(layer.kernel_h % 2 == 1 && layer.kernel_w % 2 == 1, "a kernel with an even side, expected odd ones");
    layer.weights = file.floats(file.number<std::uint64_t>(at + 32), weight_count(layer, plan), "weights");
    if (const auto bias = file.number<std::uint64_t>(at + 40)) layer.bias = file.floats(bias, layer.outputs, "a bias");
    return layer;
}

// ---- whether the layers fit together

void require_kind(const Layer& layer, Kind kind, const char* part) {
    require(layer.kind == kind, std::string("a layer of ") + part + " is of another kind than expected");
}

void require_inputs(const Layer& layer, std::size_t expected, const char* part) {
    require(layer.inputs == expected, std::string("a layer of ") + part + " takes " + std::to_string(layer.inputs) +
                                          " inputs, expected " + std::to_string(expected));
}

void check_chain(const std::vector<Layer>& layers, std::size_t inputs, std::size_t outputs, const char* part) {
    require(!layers.empty(), std::string("no layers of ") + part);
    for (const Layer& layer : layers) {
        require_kind(layer, Kind::linear, part);
        require_inputs(layer, inputs, part);
        inputs = layer.outputs;
    }
    require(inputs == outputs,
            std::string(part) + " ends in " + std::to_string(inputs) + " outputs, expected " + std::to_string(outputs));
}

// Convolutions and then linear layers, from an image to `classes` outputs.
void check_network(const std::vector<Layer>& layers, const Plan& plan, const char* part) {
    std::size_t channels = plan.channels, side = plan.side, at = 0;
    for (; at < layers.size() && layers[at].kind == Kind::convolution; ++at) {
        require_inputs(layers[at], channels, part);
        channels = layers[at].outputs, side = side_after(side, layers[at].stride);
    }
    check_chain({layers.begin() + static_cast<std::ptrdiff_t>(at), layers.end()}, channels * side * side, plan.classes,
                part);
}

void check_trunk(const Plan& plan) {
    require(!plan.trunk.empty(), "no layers of the trunk");
    std::size_t channels = plan.channels;
    for (const Layer& layer : plan.trunk) {
        require_kind(layer, Kind::convolution, "the trunk");
        require_inputs(layer, channels, "the trunk");
        require(layer.stride == 1, "a trunk with a stride, expected none");
        channels = layer.outputs;
    }
    check_chain(plan.fc1, channels * plan.side * plan.side, plan.hidden(), "fc1");
}

void check_decoder(const Plan& plan) {
    const std::size_t cells = decoder_grid * decoder_grid;
    require_kind(plan.decoder_fc, Kind::linear, "the decoder");
    require_kind(plan.decoder_table, Kind::table, "the decoder");
    require(plan.decoder_fc.outputs == plan.decoder_table.outputs && plan.decoder_fc.outputs % cells == 0,
            "a decoder whose first layer and table differ, or are no 4x4 image");
    require(plan.deconvs.size() == 3, std::to_string(plan.deconvs.size()) + " deconvolutions, expected 3");
    std::size_t channels = plan.decoder_fc.outputs / cells;
    for (const Layer& layer : plan.deconvs) {
        require_kind(layer, Kind::deconvolution, "the decoder");
        require_inputs(layer, channels, "the decoder");
        require(layer.kernel_h == 7 && layer.kernel_w == 7 && layer.stride == 2 && layer.bias,
                "a deconvolution that is not 7x7 with stride 2 and a bias");
        channels = layer.outputs;
    }
    require(plan.deconvs[0].relu && plan.deconvs[1].relu && !plan.deconvs[2].relu && channels == plan.channels,
            "a decoder that does not end in the image's channels behind two ReLUs");
}

void check_layers(const Plan& plan) {
    check_trunk(plan);
    require_kind(plan.fc1_table, Kind::table, "fc1");
    check_chain(plan.fc2, plan.hidden(), plan.fc3.inputs, "fc2");
    require_kind(plan.fc3, Kind::linear, "fc3");
    require(plan.fc3.outputs == plan.latent() * (plan.has_kl() ? 2 : 1),
            "fc3 whose outputs do not fit the decoder's inputs");
    check_decoder(plan);
    if (!plan.prior.empty()) check_network(plan.prior, plan, "the prior");
    if (!plan.classifier.empty()) check_network(plan.classifier, plan, "the classifier");
    require(!plan.prior.empty() || (plan.decoded == plan.classes && plan.prior_weight == 0),
            "a shortlist or weight without a prior");
}

void read_layers(const Reader& file, Plan& plan) {
    std::array<std::vector<Layer>, 10> parts;
    const auto count = file.bounded(80, 1, max_layers, "number of layers");
    require(file.number<std::uint32_t>(84) == 0, "a number where a zero is expected");
    std::uint32_t last = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
        const std::uint64_t at = header_bytes + std::uint64_t{i} * layer_bytes;
        const auto part = file.bounded(at, last, static_cast<std::uint32_t>(parts.size() - 1), "part of a layer");
        parts[last = part].push_back(read_layer(file, at, plan));
    }
    for (std::size_t single : {2, 4, 5, 6})
        require(parts[single].size() == 1, "part " + std::to_string(single) + " of " +
                                               std::to_string(parts[single].size()) + " layers, expected 1");
    plan.trunk = std::move(parts[0]), plan.fc1 = std::move(parts[1]), plan.fc1_table = parts[2][0];
    plan.fc2 = std::move(parts[3]), plan.fc3 = parts[4][0], plan.decoder_fc = parts[5][0],
    plan.decoder_table = parts[6][0];
    plan.deconvs = std::move(parts[7]), plan.prior = std::move(parts[8]), plan.classifier = std::move(parts[9]);
}

}  // namespace

Mapping::Mapping(const char* path) {
    const int file = ::open(path, O_RDONLY | O_CLOEXEC);
    struct stat status{};
    int failure = file < 0 ? errno : 0;
    if (!failure && ::fstat(file, &status) != 0) failure = errno;
    if (!failure && (!S_ISREG(status.st_mode) || status.st_size <= 0)) failure = EINVAL;
    if (!failure) {
        size_ = static_cast<std::size_t>(status.st_size);
        data_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
        if (data_ == MAP_FAILED) failure = errno;
    }
    if (file >= 0) ::close(file);
    if (failure) {
        const std::string reason = failure == EINVAL ? "no regular file, or an empty one" : std::strerror(failure);
        refuse(PUVAE_ERROR_FILE,
               std::string(path) + ": " + reason + ", expected an engine.puvae of a bundle for target native");
    }
}

Mapping::~Mapping() { ::munmap(data_, size_); }

Plan read_plan(const void* data, std::size_t size) {
    const Reader file(data, size);
    check_identity(file);
    Plan plan = read_header(file);
    plan.names = read_names(file, plan.classes);
    read_layers(file, plan);
    check_layers(plan);
    return plan;
}

}  // namespace puvae
