#include "pack.hpp"

#include "toom.hpp"

namespace puvae {
namespace {

// Panels of `columns` outputs, of which value(k, n) gives output n's weight of input k.
template <class Value>
float* pack_panels(float* to, std::size_t depth, std::size_t columns, Value value) {
    for (std::size_t first = 0; first < columns; first += panel)
        for (std::size_t k = 0; k < depth; ++k)
            for (std::size_t n = first; n < first + panel; ++n) *to++ = value(k, n);
    return to;
}

const float* pack_bias(Arena& arena, const Layer& layer) {
    float* to = arena.take(padded(layer.outputs));
    for (std::size_t o = 0; layer.bias && o < layer.outputs; ++o) to[o] = layer.bias[o];
    return to;
}

Dense dense_of(Arena& arena, const Layer& layer, std::size_t depth, bool relu) {
    return {arena.take(depth * padded(layer.outputs)), pack_bias(arena, layer), depth, padded(layer.outputs), relu};
}

// Output n of a decoder's first layer, whose image lies channels last, in its own order; `units` for padding.
std::size_t decoder_unit(std::size_t n, std::size_t units) {
    constexpr std::size_t cells = decoder_grid * decoder_grid;
    const std::size_t channels = units / cells, width = padded(channels);
    const std::size_t cell = n / width, channel = n % width;
    return channel < channels ? channel * cells + cell : units;
}

// G of F(M, R): [products][R].
using TapMatrix = std::vector<std::vector<double>>;

template <int M, int R>
TapMatrix tap_matrix() {
    using T = Toom<M, R>;
    TapMatrix matrix(T::products, std::vector<double>(R));
    for (int q = 0; q < T::products; ++q)
        for (int t = 0; t < R; ++t)
            matrix[static_cast<std::size_t>(q)][static_cast<std::size_t>(t)] = T::tap_weight(q, t);
    return matrix;
}

TapMatrix tap_matrix_of(std::size_t outputs, std::size_t taps) {
    if (taps == 7) return outputs == 7 ? tap_matrix<7, 7>() : tap_matrix<8, 7>();
    if (taps == 4) return outputs == 4 ? tap_matrix<4, 4>() : outputs == 7 ? tap_matrix<7, 4>() : tap_matrix<8, 4>();
    return outputs == 7 ? tap_matrix<7, 3>() : tap_matrix<8, 3>();
}

// Panels for each product of a grid's tile: sum over taps of G[i][t] G[j][u] tap(k, n, t, u).
template <class Tap>
const float* pack_grid(Arena& arena, const Grid& grid, Tap tap) {
    const TapMatrix g = tap_matrix_of(grid.side, grid.taps);
    float* const begin = arena.take(grid.products() * grid.inputs * grid.outputs);
    float* to = begin;
    for (const auto& down : g)
        for (const auto& across : g)
            to = pack_panels(to, grid.inputs, grid.outputs, [&](std::size_t k, std::size_t n) {
                double sum = 0;
                for (std::size_t t = 0; t < grid.taps; ++t)
                    for (std::size_t u = 0; u < grid.taps; ++u)
                        if (down[t] != 0 && across[u] != 0) sum += down[t] * across[u] * tap(k, n, t, u);
                return static_cast<float>(sum);
            });
    return begin;
}

// Pixel r of a block of four takes row r / 2 - 1 + t of the image before, t = 0 .. 3, with tap r % 2 + 5 - 2t; that row
// is phase (row mod 2) of the cell row div 2. The tap that leads from a phase of cell `block` - 1; -1 for none.
int block_tap(std::size_t r, std::size_t phase, std::size_t block) {
    const int row = 2 * (static_cast<int>(block) - 1) + static_cast<int>(phase);
    const int t = row + 1 - static_cast<int>(r / 2);
    const int tap = static_cast<int>(r % 2) + 5 - 2 * t;
    return t >= 0 && t < 4 && tap >= 0 && tap < 7 ? tap : -1;
}

}  // namespace

Spatial pack_window(Arena& arena, const Layer& layer, std::size_t inputs, std::size_t side) {
    Spatial step;
    step.inputs = inputs, step.outputs = padded(layer.outputs), step.side = side, step.stride = layer.stride;
    step.kernel_h = layer.kernel_h, step.kernel_w = layer.kernel_w, step.relu = layer.relu;
    const std::size_t taps = layer.kernel_h * layer.kernel_w;
    float* to = arena.take(taps * inputs * step.outputs);
    pack_panels(to, taps * inputs, step.outputs, [&](std::size_t k, std::size_t n) {
        const std::size_t channel = k % inputs, tap = k / inputs;
        return channel < layer.inputs && n < layer.outputs ? layer.weights[(n * layer.inputs + channel) * taps + tap]
                                                           : 0.0f;
    });
    step.weights = to, step.bias = pack_bias(arena, layer);
    return step;
}

Spatial pack_line(Arena& arena, const Layer& layer, std::size_t side) {
    Spatial step;
    step.how = layer.kernel_h == 7 ? Spatial::How::down : Spatial::How::across;
    step.inputs = padded(layer.inputs), step.outputs = padded(layer.outputs), step.side = side, step.relu = layer.relu;
    const TapMatrix g = tap_matrix_of(side / 2, 7);
    float* const begin = arena.take(g.size() * step.inputs * step.outputs);
    float* to = begin;
    for (const auto& row : g)
        to = pack_panels(to, step.inputs, step.outputs, [&](std::size_t k, std::size_t n) {
            double sum = 0;
            for (std::size_t t = 0; k < layer.inputs && n < layer.outputs && t < 7; ++t)
                sum += row[t] * layer.weights[(n * layer.inputs + k) * 7 + t];
            return static_cast<float>(sum);
        });
    step.weights = begin, step.bias = pack_bias(arena, layer);
    return step;
}

Dense pack_dense(Arena& arena, const Layer& layer, bool relu) {
    const Dense dense = dense_of(arena, layer, padded(layer.inputs), relu);
    pack_panels(const_cast<float*>(dense.weights), dense.depth, dense.columns, [&](std::size_t k, std::size_t n) {
        return k < layer.inputs && n < layer.outputs ? layer.weights[n * layer.inputs + k] : 0.0f;
    });
    return dense;
}

Dense pack_flattened(Arena& arena, const Layer& layer, std::size_t channels, std::size_t side, bool phases, bool relu) {
    const std::size_t width = padded(channels), pixels = side * side, half = side / 2;
    const Dense dense = dense_of(arena, layer, width * pixels, relu);
    pack_panels(const_cast<float*>(dense.weights), dense.depth, dense.columns, [&](std::size_t k, std::size_t n) {
        const std::size_t channel = k % width;
        std::size_t at = k / width;
        if (phases) {
            const std::size_t phase = at / (half * half), y = at % (half * half) / half, x = at % half;
            at = (2 * y + phase / 2) * side + 2 * x + phase % 2;
        }
        return channel < channels && n < layer.outputs ? layer.weights[n * layer.inputs + channel * pixels + at] : 0.0f;
    });
    return dense;
}

Dense pack_decoder(Arena& arena, const Layer& layer, std::size_t inputs) {
    const std::size_t cells = decoder_grid * decoder_grid, columns = cells * padded(layer.outputs / cells);
    float *to = arena.take(inputs * columns), *bias = arena.take(columns);
    pack_panels(to, inputs, columns, [&](std::size_t k, std::size_t n) {
        const std::size_t unit = decoder_unit(n, layer.outputs);
        return unit < layer.outputs && k < layer.inputs ? layer.weights[unit * layer.inputs + k] : 0.0f;
    });
    for (std::size_t n = 0; layer.bias && n < columns; ++n)
        if (const std::size_t unit = decoder_unit(n, layer.outputs); unit < layer.outputs) bias[n] = layer.bias[unit];
    return {to, bias, inputs, columns, false};
}

const float* pack_decoder_rows(Arena& arena, const Layer& table, std::size_t classes) {
    const std::size_t cells = decoder_grid * decoder_grid, columns = cells * padded(table.outputs / cells);
    float* to = arena.take(classes * columns);
    for (std::size_t k = 0; k < classes; ++k)
        for (std::size_t n = 0; n < columns; ++n)
            if (const std::size_t unit = decoder_unit(n, table.outputs); unit < table.outputs)
                to[k * columns + n] = table.weights[k * table.outputs + unit];
    return to;
}

const float* pack_rows(Arena& arena, const Layer& table, std::size_t classes) {
    const std::size_t columns = padded(table.outputs);
    float* to = arena.take(classes * columns);
    for (std::size_t k = 0; k < classes; ++k)
        for (std::size_t n = 0; n < table.outputs; ++n) to[k * columns + n] = table.weights[k * table.outputs + n];
    return to;
}

Grid pack_deconvolution(Arena& arena, const Layer& layer, std::size_t side, std::size_t to) {
    Grid grid;
    const std::size_t own = padded(layer.outputs);
    grid.side = side, grid.taps = 4, grid.inputs = padded(layer.inputs), grid.outputs = 4 * own;
    grid.interleaved_side = to, grid.relu = layer.relu;
    grid.weights = pack_grid(arena, grid, [&](std::size_t k, std::size_t n, std::size_t t, std::size_t u) {
        const std::size_t phase = n / own, output = n % own;
        const int i = static_cast<int>(phase / 2) + 5 - 2 * static_cast<int>(t),
                  j = static_cast<int>(phase % 2) + 5 - 2 * static_cast<int>(u);
        if (k >= layer.inputs || output >= layer.outputs || i < 0 || j < 0 || i > 6 || j > 6) return 0.0f;
        return layer.weights[(k * layer.outputs + output) * 49 + static_cast<std::size_t>(i * 7 + j)];
    });
    float* bias = arena.take(grid.outputs);
    for (std::size_t n = 0; n < grid.outputs; ++n) bias[n] = n % own < layer.outputs ? layer.bias[n % own] : 0;
    grid.bias = bias;
    return grid;
}

Grid pack_last(Arena& arena, const Layer& layer, std::size_t side) {
    Grid grid;
    const std::size_t own = padded(layer.inputs);
    grid.side = side, grid.taps = 3, grid.inputs = 4 * own, grid.outputs = layer.outputs * panel;
    grid.weights = pack_grid(arena, grid, [&](std::size_t k, std::size_t n, std::size_t t, std::size_t u) {
        const std::size_t phase = k / own, input = k % own, output = n / panel, pixel = n % panel;
        const int i = block_tap(pixel / 4, phase / 2, t), j = block_tap(pixel % 4, phase % 2, u);
        if (input >= layer.inputs || i < 0 || j < 0) return 0.0f;
        return layer.weights[(input * layer.outputs + output) * 49 + static_cast<std::size_t>(i * 7 + j)];
    });
    float* bias = arena.take(grid.outputs);
    for (std::size_t n = 0; n < grid.outputs; ++n) bias[n] = layer.bias[n / panel];
    grid.bias = bias;
    return grid;
}

}  // namespace puvae
