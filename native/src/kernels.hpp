// What the engine asks of an instruction set: dense products and the transforms round them. Each kernels_*.cpp compiles
// kernels.inl for one of them.
//
// Memory: activations lie channels last, [image][row][column][channel], their channels padded with zeros to a multiple
// of `panel`. Weights lie in panels of 16 outputs, [outputs / 16][depth][16]: a kernel streams them once, in order, and
// a cache line of them serves 16 outputs. All buffers are aligned to 64 bytes.
#pragma once

#include <cstddef>

namespace puvae {

constexpr std::size_t panel = 16;
constexpr std::size_t padded(std::size_t channels) { return (channels + panel - 1) / panel * panel; }

// c [rows][columns] = activation(a [rows][segments * depth] b + bias). A row of `a` is `segments` runs of `depth`
// floats: the rows of a window where this is a convolution, whose neighbouring pixels share most of them.
struct Product {
    const float* a;
    std::size_t a_row, a_segment;  // floats from one row, one run, to the next
    std::size_t segments, depth;
    const float* b;
    const float* bias;  // [columns], or null
    float* c;
    std::size_t c_row;
    std::size_t rows, columns;  // columns: a multiple of `panel`
    bool relu;
};

// A 7-tap convolution along one axis of a square image of 14 or 16 pixels, by F(7,7) or F(8,7): two tiles a line.
struct LineConvolution {
    const float* in;
    std::size_t in_line, in_step, inputs;  // floats from line to line, along a line; channels
    const float* weights;                  // [products] panels of [inputs][outputs]
    const float* bias;
    float* out;
    std::size_t out_line, out_step, outputs;
    std::size_t side;
    bool relu;
    float *v, *m;  // scratch: products * 2 * side * inputs and outputs
};

// A two-dimensional convolution of `side` x `side` pixels with `taps` x `taps` taps, one row and column of zeros before
// the image and taps - 2 behind it, as one tile.
struct GridConvolution {
    const float* in;  // [batch][side][side][inputs]
    std::size_t batch, side, taps, inputs, outputs;
    const float* weights;  // [products^2] panels of [inputs][outputs]
    const float* bias;     // [outputs]
    float* out;
    // 0: [batch][side][side][outputs]. Otherwise the outputs are four phases of an image [batch][s][s][outputs / 4] of
    // this side s: phase 2p + q of pixel (y, x) is its pixel (2y + p, 2x + q), where there is one.
    std::size_t interleaved_side;
    bool relu;
    float *v, *m;  // scratch: products^2 * batch * inputs and outputs
};

// The end of one projection, in blocks [cells][channels][16]: logits -> pixels, in place, and their distances.
struct Finish {
    float* pixels;
    const float* image;
    std::size_t count, channels;
    bool normalized;
    float mean[3], spread[3];  // of the image's contrast, which is given back
    float tau;
    float squares, excess;  // results: sum d^2 and sum max(|d| - tau, 0)^2
};

struct Kernels {
    void (*product)(const Product&);
    void (*lines)(const LineConvolution&);
    void (*grid)(const GridConvolution&);
    void (*finish)(Finish&);
    void (*add_relu)(float* out, const float* a, const float* b, std::size_t count);  // max(a + b, 0)
};

extern const Kernels portable_kernels;
#if defined(__x86_64__)
extern const Kernels avx2_kernels, avx512_kernels;
#endif

}  // namespace puvae
