#include "fast.hpp"

#include "pack.hpp"

namespace puvae {
namespace {

constexpr std::size_t weight_block = std::size_t{8} << 20;

Chain pack_network(Arena& arena, const std::vector<Layer>& layers, const Plan& plan) {
    Chain chain;
    std::size_t channels = plan.channels, in_memory = channels, side = plan.side;
    for (const Layer& layer : layers) {
        if (layer.kind == Kind::convolution) {
            chain.spatial.push_back(pack_window(arena, layer, in_memory, side));
            channels = layer.outputs, in_memory = padded(channels), side = side_after(side, layer.stride);
        } else if (chain.dense.empty()) {
            chain.dense.push_back(pack_flattened(arena, layer, channels, side, false, layer.relu));
        } else {
            chain.dense.push_back(pack_dense(arena, layer, layer.relu));
        }
    }
    return chain;
}

// Convolutions of the four phases of an image, and fc1's image half behind them, whose ReLU follows the label's row.
Chain pack_trunk(Arena& arena, const Plan& plan) {
    Chain chain;
    std::size_t in_memory = plan.channels;
    for (const Layer& layer : plan.trunk) {
        const bool line = layer.kernel_h * layer.kernel_w == 7 && (layer.kernel_h == 7 || layer.kernel_w == 7);
        const bool fast = line && in_memory == padded(layer.inputs);
        chain.spatial.push_back(fast ? pack_line(arena, layer, plan.side / 2)
                                     : pack_window(arena, layer, in_memory, plan.side / 2));
        in_memory = padded(layer.outputs);
    }
    for (const Layer& layer : plan.fc1)
        chain.dense.push_back(chain.dense.empty()
                                  ? pack_flattened(arena, layer, plan.trunk.back().outputs, plan.side, true, false)
                                  : pack_dense(arena, layer, false));
    return chain;
}

}  // namespace

FastNetwork::FastNetwork(const Plan& plan, const Kernels& kernels) : plan(plan), kernels(kernels), arena(weight_block) {
    // In the order in which a frame reads them.
    if (!plan.prior.empty()) prior = pack_network(arena, plan.prior, plan);
    trunk = pack_trunk(arena, plan);
    fc1_rows = pack_rows(arena, plan.fc1_table, plan.classes);
    for (const Layer& layer : plan.fc2) fc2.push_back(pack_dense(arena, layer, layer.relu));
    fc2.push_back(pack_dense(arena, plan.fc3, false));
    decoder = pack_decoder(arena, plan.decoder_fc, plan.latent());
    decoder_rows = pack_decoder_rows(arena, plan.decoder_table, plan.classes);
    const std::size_t grid = grid_side(plan.side);
    grids[0] = pack_deconvolution(arena, plan.deconvs[0], decoder_grid, grid);
    grids[1] = pack_deconvolution(arena, plan.deconvs[1], grid, 0);
    grids[2] = pack_last(arena, plan.deconvs[2], grid);
    if (!plan.classifier.empty()) classifier = pack_network(arena, plan.classifier, plan);
}

}  // namespace puvae
