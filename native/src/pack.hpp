// Weights in the order in which the kernels stream them.
#pragma once

#include "arena.hpp"
#include "fast.hpp"

namespace puvae {

// A convolution with taps of any number, on images of `inputs` channels in memory.
Spatial pack_window(Arena& arena, const Layer& layer, std::size_t inputs, std::size_t side);

// A 7x1 or 1x7 convolution of an image of 14 or 16 pixels.
Spatial pack_line(Arena& arena, const Layer& layer, std::size_t side);

// A linear layer on `inputs` numbers in their own order, zeros behind them.
Dense pack_dense(Arena& arena, const Layer& layer, bool relu);

// A linear layer on an image [rows][columns][channels] or, with `phases`, [4][rows / 2][columns / 2][channels].
Dense pack_flattened(Arena& arena, const Layer& layer, std::size_t channels, std::size_t side, bool phases, bool relu);

// The decoder's first layer, and its table, whose outputs become an image channels last.
Dense pack_decoder(Arena& arena, const Layer& layer, std::size_t inputs);
const float* pack_decoder_rows(Arena& arena, const Layer& table, std::size_t classes);

// [classes][outputs] -> [classes][padded outputs].
const float* pack_rows(Arena& arena, const Layer& table, std::size_t classes);

// A deconvolution as a convolution to four phases; `to` is its image's side where they are interleaved, or 0.
Grid pack_deconvolution(Arena& arena, const Layer& layer, std::size_t side, std::size_t to);

// The last deconvolution, from the four phases of its image to the 4x4 pixels under each cell.
Grid pack_last(Arena& arena, const Layer& layer, std::size_t side);

}  // namespace puvae
