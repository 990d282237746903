#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "choice.hpp"
#include "fast.hpp"

namespace puvae {
namespace {

constexpr std::size_t work_block = std::size_t{2} << 20, phases = 4;

Product product_of(const Dense& dense, const float* in, std::size_t in_row, float* out, std::size_t rows) {
    return {in,   in_row,        0,         1, dense.depth, dense.weights, dense.bias, out, dense.columns,
            rows, dense.columns, dense.relu};
}

class FastRunner final : public Runner {
 public:
    explicit FastRunner(const FastNetwork& network)
        : net_(network),
          plan_(network.plan),
          at_once_(std::min(plan_.decoded, most_at_once)),
          arena_(work_block),
          listed_(plan_.classes),
          taken_(new bool[plan_.classes]) {
        seen_ = arena_.take(plan_.pixels()), blocks_ = arena_.take(plan_.pixels());
        log_p_ = arena_.take(padded(plan_.classes)), shared_ = arena_.take(padded(plan_.hidden()));
        std::size_t largest =
            std::max({padded(plan_.hidden()), net_.decoder.columns, padded(plan_.classes)}) * at_once_;
        for (const Dense& dense : net_.fc2) largest = std::max(largest, dense.columns * at_once_);
        for (const auto* chain : {&net_.trunk, &net_.prior, &net_.classifier})
            largest = std::max(largest, largest_of(*chain));
        std::size_t v = 0, m = 0;
        for (const Grid& grid : net_.grids) {
            largest = std::max(largest, grid.out_floats() * at_once_);
            v = std::max(v, grid.products() * at_once_ * grid.inputs),
            m = std::max(m, grid.products() * at_once_ * grid.outputs);
        }
        for (const Spatial& step : net_.trunk.spatial) {
            v = std::max(v, (step.side / 2 + 6) * 2 * step.side * step.inputs);
            m = std::max(m, (step.side / 2 + 6) * 2 * step.side * step.outputs);
        }
        a_ = arena_.take(largest), b_ = arena_.take(largest), v_ = arena_.take(v), m_ = arena_.take(m);
        for (const auto* chain : {&net_.trunk, &net_.prior, &net_.classifier})
            for (const Spatial& step : chain->spatial)
                framed_.push_back(step.how == Spatial::How::window ? arena_.take(step.framed_floats()) : nullptr);
    }

    int purify(const float* image, float* purified, float* rmse, float* score) noexcept override {
        const Contrast contrast = see(image, plan_.normalized);
        list_classes();
        share();
        to_blocks(image, blocks_);
        std::fill_n(rmse, plan_.classes, std::numeric_limits<float>::quiet_NaN());
        std::fill_n(score, plan_.classes, std::numeric_limits<float>::infinity());
        const std::size_t shares = (plan_.decoded + at_once_ - 1) / at_once_;
        Best best;
        int projected = -1;
        for (std::size_t share = 0, first = 0; share < shares; ++share) {
            const std::size_t count = (plan_.decoded - first + shares - share - 1) / (shares - share);
            decode(&listed_[first], count, contrast, rmse, score);
            for (std::size_t row = 0; row < count; ++row)
                if (const int k = listed_[first + row]; best.offer(score[k])) {
                    projected = k;
                    from_blocks(pictures_ + row * plan_.pixels(), purified);
                }
            first += count;
        }
        if (projected < 0) std::fill_n(purified, plan_.pixels(), std::numeric_limits<float>::quiet_NaN());
        return projected;
    }

    int classify(const float* image) noexcept override {
        see(image, plan_.classifier_normalized);
        const float* logits = run_network(net_.classifier, net_.trunk.spatial.size() + net_.prior.spatial.size());
        return static_cast<int>(std::max_element(logits, logits + plan_.classes) - logits);
    }

    std::size_t bytes() const noexcept override { return arena_.bytes(); }

 private:
    static std::size_t largest_of(const Chain& chain) {
        std::size_t largest = 0;
        for (const Spatial& step : chain.spatial)
            largest = std::max(largest, phases * step.after() * step.after() * step.outputs);
        for (const Dense& dense : chain.dense) largest = std::max({largest, dense.columns, dense.depth});
        return largest;
    }

    // Puts into `seen_` what the networks see of an image, channels last.
    Contrast see(const float* image, bool normalized) {
        const std::size_t count = plan_.side * plan_.side, channels = plan_.channels;
        Contrast contrast{};
        const float* planes = image;
        if (normalized) {
            contrast = contrast_of(image, channels, count, plan_.contrast_epsilon);
            normalize(image, contrast, channels, count, blocks_);
            planes = blocks_;
        }
        for (std::size_t c = 0; c < channels; ++c)
            for (std::size_t i = 0; i < count; ++i) seen_[i * channels + c] = planes[c * count + i];
        return contrast;
    }

    float* other(const float* buffer) { return buffer == a_ ? b_ : a_; }

    // Taps one by one: a row of outputs is a product whose rows are overlapping windows of the framed image.
    void convolve(const Spatial& step, const float* framed, float* out) {
        const std::size_t after = step.after(), line = step.framed_width() * step.inputs;
        for (std::size_t y = 0; y < after; ++y, out += after * step.outputs)
            net_.kernels.product({framed + y * step.stride * line, step.stride * step.inputs, line, step.kernel_h,
                                  step.kernel_w * step.inputs, step.weights, step.bias, out, step.outputs, after,
                                  step.outputs, step.relu});
    }

    // Copies an image into the middle of its frame, whose border stays 0.
    static void frame(const Spatial& step, const float* image, float* framed) {
        const std::size_t row = step.side * step.inputs, line = step.framed_width() * step.inputs;
        float* to = framed + step.kernel_h / 2 * line + step.kernel_w / 2 * step.inputs;
        for (std::size_t y = 0; y < step.side; ++y) std::memcpy(to + y * line, image + y * row, row * sizeof(float));
    }

    // `first`: the chain's first in `framed_`.
    const float* run_network(const Chain& chain, std::size_t first) {
        const float* in = seen_;
        for (const Spatial& step : chain.spatial) {
            float* out = other(in);
            frame(step, in, framed_[first]);
            convolve(step, framed_[first++], out);
            in = out;
        }
        return run_dense(chain.dense, in);
    }

    const float* run_dense(const std::vector<Dense>& layers, const float* in) {
        for (const Dense& dense : layers) {
            float* out = other(in);
            net_.kernels.product(product_of(dense, in, dense.depth, out, 1));
            in = out;
        }
        return in;
    }

    void list_classes() {
        for (std::size_t k = 0; k < plan_.classes; ++k) listed_[k] = static_cast<int>(k);
        if (plan_.prior.empty()) return;
        std::memcpy(log_p_, run_network(net_.prior, net_.trunk.spatial.size()), plan_.classes * sizeof(float));
        log_softmax(log_p_, plan_.classes);
        if (plan_.decoded < plan_.classes)
            likeliest(log_p_, plan_.classes, plan_.decoded, listed_.data(), taken_.get());
    }

    // What does not depend on the class: the trunk, phase by phase, and fc1's image half, left in `shared_`.
    void share() {
        const auto& steps = net_.trunk.spatial;
        const std::size_t half = plan_.side / 2, pixels = half * half;
        const float* in = nullptr;
        for (std::size_t i = 0; i < steps.size(); ++i) {
            float* out = other(in);
            for (std::size_t phase = 0; phase < phases; ++phase) {
                float* to = out + phase * pixels * steps[i].outputs;
                if (i == 0) frame_phase(steps[0], phase);
                else if (framed_[i]) frame(steps[i], in + phase * pixels * steps[i].inputs, framed_[i]);
                if (framed_[i]) convolve(steps[i], framed_[i], to);
                else run_line(steps[i], in + phase * pixels * steps[i].inputs, to);
            }
            in = out;
        }
        std::memcpy(shared_, run_dense(net_.trunk.dense, in), padded(plan_.hidden()) * sizeof(float));
    }

    // One phase of what the trunk sees, into the frame of its first convolution.
    void frame_phase(const Spatial& step, std::size_t phase) {
        const std::size_t line = step.framed_width() * step.inputs, channels = plan_.channels;
        float* to = framed_[0] + step.kernel_h / 2 * line + step.kernel_w / 2 * step.inputs;
        for (std::size_t y = 0; y < step.side; ++y)
            for (std::size_t x = 0; x < step.side; ++x)
                std::memcpy(to + y * line + x * channels,
                            seen_ + ((2 * y + phase / 2) * plan_.side + 2 * x + phase % 2) * channels,
                            channels * sizeof(float));
    }

    void run_line(const Spatial& step, const float* in, float* out) {
        const bool down = step.how == Spatial::How::down;
        const std::size_t line = down ? 1 : step.side, along = down ? step.side : 1;
        net_.kernels.lines({in, line * step.inputs, along * step.inputs, step.inputs, step.weights, step.bias, out,
                            line * step.outputs, along * step.outputs, step.outputs, step.side, step.relu, v_, m_});
    }

    // rmse and score of `count` classes; their pictures are left in `pictures_`, in blocks.
    void decode(const int* classes, std::size_t count, const Contrast& contrast, float* rmse, float* score) {
        const std::size_t hidden = padded(plan_.hidden());
        float* in = a_;
        for (std::size_t row = 0; row < count; ++row)
            net_.kernels.add_relu(in + row * hidden, shared_,
                                  net_.fc1_rows + static_cast<std::size_t>(classes[row]) * hidden, hidden);
        for (const Dense& dense : net_.fc2) {
            float* out = other(in);
            net_.kernels.product(product_of(dense, in, dense.depth, out, count));
            in = out;
        }
        const std::size_t posterior = net_.fc2.back().columns, units = net_.decoder.columns;
        for (std::size_t row = 0; row < count; ++row)
            score[classes[row]] = bias_of(classes[row], in + row * posterior, contrast);
        float* out = other(in);
        net_.kernels.product(product_of(net_.decoder, in, posterior, out, count));
        for (std::size_t row = 0; row < count; ++row) {
            const float* table = net_.decoder_rows + static_cast<std::size_t>(classes[row]) * units;
            net_.kernels.add_relu(out + row * units, out + row * units, table, units);
        }
        for (const Grid& grid : net_.grids) {
            in = out, out = other(in);
            net_.kernels.grid({in, count, grid.side, grid.taps, grid.inputs, grid.outputs, grid.weights, grid.bias, out,
                               grid.interleaved_side, grid.relu, v_, m_});
        }
        pictures_ = out;
        measure(classes, count, contrast, rmse, score);
    }

    float bias_of(int k, const float* posterior, const Contrast& contrast) const {
        float added = 0;
        if (plan_.has_kl()) added += plan_.kl_weight * kl_of(posterior, posterior + plan_.latent(), plan_.latent());
        if (plan_.prior_weight > 0) added -= plan_.prior_weight * prior_scale(plan_, contrast) * log_p_[k];
        return added;
    }

    void measure(const int* classes, std::size_t count, const Contrast& contrast, float* rmse, float* score) {
        for (std::size_t row = 0; row < count; ++row) {
            Finish finish{};
            finish.pixels = pictures_ + row * plan_.pixels(), finish.image = blocks_;
            finish.count = plan_.pixels(), finish.channels = plan_.channels;
            finish.normalized = plan_.normalized, finish.tau = plan_.tau;
            for (std::size_t c = 0; c < plan_.channels; ++c)
                finish.mean[c] = contrast.mean[c], finish.spread[c] = plan_.contrast_span * contrast.deviation[c];
            net_.kernels.finish(finish);
            rmse[classes[row]] = std::sqrt(finish.squares / static_cast<float>(plan_.pixels()));
            score[classes[row]] += finish.excess;
        }
    }

    // Where pixels of planes [channels][side][side] lie in blocks [cells][channels][4][4]: calls move(plane, block) for
    // every run of four.
    template <class Move>
    void each_run(Move move) const {
        const std::size_t side = plan_.side, grid = grid_side(side);
        for (std::size_t c = 0; c < plan_.channels; ++c)
            for (std::size_t y = 0; y < side; ++y)
                for (std::size_t x = 0; x < grid; ++x)
                    move((c * side + y) * side + 4 * x, ((y / 4 * grid + x) * plan_.channels + c) * panel + y % 4 * 4);
    }
    void to_blocks(const float* image, float* blocks) const {
        each_run([&](std::size_t plane, std::size_t block) {
            std::memcpy(blocks + block, image + plane, 4 * sizeof(float));
        });
    }
    void from_blocks(const float* blocks, float* image) const {
        each_run([&](std::size_t plane, std::size_t block) {
            std::memcpy(image + plane, blocks + block, 4 * sizeof(float));
        });
    }

    const FastNetwork& net_;
    const Plan& plan_;
    std::size_t at_once_;
    Arena arena_;
    std::vector<int> listed_;
    std::unique_ptr<bool[]> taken_;
    std::vector<float*> framed_;  // of every convolution of trunk, prior and classifier that has a frame
    float *seen_, *blocks_, *log_p_, *shared_, *a_, *b_, *v_, *m_;
    float* pictures_ = nullptr;
};

}  // namespace

std::unique_ptr<Runner> FastNetwork::make_runner() const { return std::make_unique<FastRunner>(*this); }

}  // namespace puvae
