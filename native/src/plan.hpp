// What engine.puvae says, checked: the layers of the networks in it, and where their weights lie.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace puvae {

enum class Kind : std::uint32_t { convolution = 0, linear = 1, table = 2, deconvolution = 3 };

// Weights are FP32 in PyTorch's order: convolution [outputs][inputs][kernel_h][kernel_w], linear [outputs][inputs],
// table [classes][outputs], deconvolution [inputs][outputs][kernel_h][kernel_w].
struct Layer {
    Kind kind = Kind::linear;
    bool relu = false;
    std::size_t inputs = 0, outputs = 0, kernel_h = 1, kernel_w = 1, stride = 1;
    const float* weights = nullptr;
    const float* bias = nullptr;  // [outputs], or null
};

// The model (DESIGN: image -> trunk once -> head and decoder for every class decoded -> the closest). `fc1_table` holds
// fc1's bias and label columns, `decoder_table` those of the decoder's first layer.
struct Plan {
    std::size_t channels = 1, side = 28, classes = 0, decoded = 0;
    bool normalized = false, classifier_normalized = false;
    float tau = 0, kl_weight = 0, prior_weight = 0, contrast_epsilon = 0, contrast_span = 0;
    std::vector<Layer> trunk, fc1, fc2, deconvs, prior, classifier;
    Layer fc1_table, fc3, decoder_fc, decoder_table;
    std::vector<std::string> names;

    std::size_t pixels() const { return channels * side * side; }
    std::size_t latent() const { return decoder_fc.inputs; }
    std::size_t hidden() const { return fc1_table.outputs; }
    bool has_kl() const { return kl_weight > 0; }  // then fc3 gives sigma behind mu
};

constexpr std::size_t decoder_grid = 4;  // the decoder's first image is 4x4

// The side that a convolution with "same" padding leaves.
constexpr std::size_t side_after(std::size_t side, std::size_t stride) { return (side + stride - 1) / stride; }

// The side of the decoder's second image: 7 of 28 pixels, 8 of 32.
constexpr std::size_t grid_side(std::size_t side) { return side / 4; }

}  // namespace puvae
