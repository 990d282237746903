// The fast engine: the plan's layers as the kernels take them, and their weights in panels.
//
//   image -> contrast -> prior -> classes listed
//         -> four phases -> trunk -> fc1's image half                once per frame
//         -> + label's row -> fc2 -> fc3 -> decoder -> distance      for up to 12 classes at a time
//
// A trunk with dilation 2 never mixes the four parities of rows and columns: its images are split into four phases of
// half the side, on which it is an ordinary convolution (DESIGN, "Turn dilation into batch"). The first deconvolution
// makes a 7x7 or 8x8 grid, whose cells the last two fill: the second one's four phases are channels of a grid cell, and
// so are the 4x4 pixels of an image under one cell. Nothing is ever rearranged between them.
#pragma once

#include <memory>
#include <vector>

#include "arena.hpp"
#include "kernels.hpp"
#include "runner.hpp"

namespace puvae {

constexpr std::size_t most_at_once = 12;  // classes that pass the decoder together: two tiles of 6 rows

// A linear layer; its depth is that of the buffer before it, whose channels are padded.
struct Dense {
    const float *weights = nullptr, *bias = nullptr;
    std::size_t depth = 0, columns = 0;
    bool relu = false;
};

// A convolution of images channels last.
struct Spatial {
    enum class How { window, down, across };  // taps one by one, or fast along columns or rows (LineConvolution)
    How how = How::window;
    const float *weights = nullptr, *bias = nullptr;
    std::size_t inputs = 0, outputs = 0, kernel_h = 1, kernel_w = 1, stride = 1, side = 0;
    bool relu = false;

    std::size_t after() const { return side_after(side, stride); }
    std::size_t framed_width() const { return side + kernel_w - 1; }  // with its zero padding
    std::size_t framed_floats() const { return (side + kernel_h - 1) * framed_width() * inputs; }
};

struct Grid {
    const float *weights = nullptr, *bias = nullptr;
    std::size_t side = 0, taps = 0, inputs = 0, outputs = 0, interleaved_side = 0;
    bool relu = false;

    std::size_t products() const { return (side + taps - 1) * (side + taps - 1); }
    std::size_t out_floats() const {
        return interleaved_side ? interleaved_side * interleaved_side * outputs / 4 : side * side * outputs;
    }
};

// Convolutions, then linear layers.
struct Chain {
    std::vector<Spatial> spatial;
    std::vector<Dense> dense;
};

struct FastNetwork final : Network {
    FastNetwork(const Plan& plan, const Kernels& kernels);
    std::unique_ptr<Runner> make_runner() const override;
    std::size_t bytes() const noexcept override { return arena.bytes(); }

    const Plan& plan;
    const Kernels& kernels;
    Arena arena;
    Chain trunk, prior, classifier;                            // the trunk's linear layers are fc1's image half
    std::vector<Dense> fc2;                                    // and fc3 behind them
    const float *fc1_rows = nullptr, *decoder_rows = nullptr;  // [classes][padded outputs]
    Dense decoder;
    Grid grids[3];
};

}  // namespace puvae
