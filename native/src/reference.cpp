#include "reference.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "choice.hpp"

namespace puvae {
namespace {

float activated(const Layer& layer, double sum) {
    const float value = static_cast<float>(sum);
    return layer.relu && value < 0 ? 0.0f : value;  // keeps a NaN
}

double first(const Layer& layer, std::size_t output) { return layer.bias ? layer.bias[output] : 0.0; }

// [inputs][side][side] -> [outputs][after][after], zeros outside.
void convolve(const Layer& layer, std::size_t side, std::size_t dilation, const float* in, float* out) {
    const auto n = static_cast<std::ptrdiff_t>(side), step = static_cast<std::ptrdiff_t>(dilation);
    const auto stride = static_cast<std::ptrdiff_t>(layer.stride),
               after = static_cast<std::ptrdiff_t>(side_after(side, layer.stride));
    const auto rows = static_cast<std::ptrdiff_t>(layer.kernel_h),
               columns = static_cast<std::ptrdiff_t>(layer.kernel_w);
    for (std::size_t o = 0; o < layer.outputs; ++o)
        for (std::ptrdiff_t y = 0; y < after; ++y)
            for (std::ptrdiff_t x = 0; x < after; ++x) {
                double sum = first(layer, o);
                const float* taps = layer.weights + o * layer.inputs * layer.kernel_h * layer.kernel_w;
                for (std::size_t c = 0; c < layer.inputs; ++c)
                    for (std::ptrdiff_t i = 0; i < rows; ++i)
                        for (std::ptrdiff_t j = 0; j < columns; ++j, ++taps) {
                            const auto row = y * stride + (i - rows / 2) * step,
                                       column = x * stride + (j - columns / 2) * step;
                            if (row >= 0 && row < n && column >= 0 && column < n)
                                sum += static_cast<double>(*taps) *
                                       in[(static_cast<std::ptrdiff_t>(c) * n + row) * n + column];
                        }
                *out++ = activated(layer, sum);
            }
}

// [inputs] -> [outputs]; `row` is added where it is not null.
void multiply(const Layer& layer, const float* row, const float* in, float* out, bool relu) {
    for (std::size_t o = 0; o < layer.outputs; ++o) {
        double sum = first(layer, o) + (row ? row[o] : 0.0f);
        for (std::size_t i = 0; i < layer.inputs; ++i)
            sum += static_cast<double>(layer.weights[o * layer.inputs + i]) * in[i];
        Layer active = layer;
        active.relu = relu;
        out[o] = activated(active, sum);
    }
}

// [inputs][from][from] -> [outputs][to][to]: input pixel i reaches output pixel 2i + tap - 3.
void deconvolve(const Layer& layer, std::size_t from, std::size_t to, const float* in, float* out,
                std::vector<double>& sums) {
    const auto n = static_cast<std::ptrdiff_t>(from), side = static_cast<std::ptrdiff_t>(to);
    for (std::size_t o = 0; o < layer.outputs; ++o) {
        std::fill_n(sums.begin(), to * to, first(layer, o));
        for (std::size_t c = 0; c < layer.inputs; ++c) {
            const float* taps = layer.weights + (c * layer.outputs + o) * 49;
            for (std::ptrdiff_t y = 0; y < n; ++y)
                for (std::ptrdiff_t x = 0; x < n; ++x)
                    for (std::ptrdiff_t i = 0; i < 7; ++i)
                        for (std::ptrdiff_t j = 0; j < 7; ++j) {
                            const auto row = 2 * y + i - 3, column = 2 * x + j - 3;
                            if (row >= 0 && row < side && column >= 0 && column < side)
                                sums[static_cast<std::size_t>(row * side + column)] +=
                                    static_cast<double>(taps[i * 7 + j]) *
                                    in[(static_cast<std::ptrdiff_t>(c) * n + y) * n + x];
                        }
        }
        for (std::size_t i = 0; i < to * to; ++i) *out++ = activated(layer, sums[i]);
    }
}

std::size_t largest(const Plan& plan) {
    std::size_t units =
        std::max({plan.pixels(), plan.fc3.outputs, plan.decoder_fc.outputs, plan.hidden(), plan.classes});
    for (const auto* part : {&plan.trunk, &plan.prior, &plan.classifier, &plan.deconvs, &plan.fc1, &plan.fc2})
        for (const Layer& layer : *part) {
            const bool image = layer.kind == Kind::convolution || layer.kind == Kind::deconvolution;
            units = std::max(units, layer.outputs * (image ? plan.side * plan.side : 1));
        }
    return units;
}

class ReferenceRunner final : public Runner {
 public:
    explicit ReferenceRunner(const Plan& plan)
        : plan_(plan),
          a_(largest(plan)),
          b_(a_.size()),
          seen_(plan.pixels()),
          shared_(plan.hidden()),
          log_p_(plan.classes),
          listed_(plan.classes),
          taken_(new bool[plan.classes]),
          sums_(plan.side * plan.side) {}

    int purify(const float* image, float* purified, float* rmse, float* score) noexcept override {
        const Contrast contrast = see(image, plan_.normalized);
        list_classes();
        std::fill_n(rmse, plan_.classes, std::numeric_limits<float>::quiet_NaN());
        std::fill_n(score, plan_.classes, std::numeric_limits<float>::infinity());
        share();
        Best best;
        int projected = -1;
        for (std::size_t place = 0; place < plan_.decoded; ++place) {
            const int k = listed_[place];
            const float added = decode(static_cast<std::size_t>(k), contrast);
            measure(image, rmse[k], score[k]);
            score[k] += added;
            if (best.offer(score[k])) projected = k, std::memcpy(purified, current_, plan_.pixels() * sizeof(float));
        }
        if (projected < 0) std::fill_n(purified, plan_.pixels(), std::numeric_limits<float>::quiet_NaN());
        return projected;
    }

    int classify(const float* image) noexcept override {
        see(image, plan_.classifier_normalized);
        const float* logits = network(plan_.classifier);
        return static_cast<int>(std::max_element(logits, logits + plan_.classes) - logits);
    }

    std::size_t bytes() const noexcept override {
        return sizeof(float) * (2 * a_.size() + seen_.size() + shared_.size() + 2 * log_p_.size()) +
               sums_.size() * sizeof(double);
    }

 private:
    // Puts into `seen_` what the networks see of an image.
    Contrast see(const float* image, bool normalized) {
        const std::size_t count = plan_.side * plan_.side;
        const Contrast contrast = contrast_of(image, plan_.channels, count, plan_.contrast_epsilon);
        if (normalized) normalize(image, contrast, plan_.channels, count, seen_.data());
        else std::memcpy(seen_.data(), image, plan_.pixels() * sizeof(float));
        return contrast;
    }

    // Convolutions and linear layers on `seen_`; the logits.
    const float* network(const std::vector<Layer>& layers) {
        const float* in = seen_.data();
        std::size_t side = plan_.side;
        for (const Layer& layer : layers) {
            float* out = in == a_.data() ? b_.data() : a_.data();
            if (layer.kind == Kind::convolution)
                convolve(layer, side, 1, in, out), side = side_after(side, layer.stride);
            else multiply(layer, nullptr, in, out, layer.relu);
            in = out;
        }
        return in;
    }

    void list_classes() {
        for (std::size_t k = 0; k < plan_.classes; ++k) listed_[k] = static_cast<int>(k);
        if (plan_.prior.empty()) return;
        std::memcpy(log_p_.data(), network(plan_.prior), plan_.classes * sizeof(float));
        log_softmax(log_p_.data(), plan_.classes);
        if (plan_.decoded < plan_.classes)
            likeliest(log_p_.data(), plan_.classes, plan_.decoded, listed_.data(), taken_.get());
    }

    // What does not depend on the class: the trunk and the image's half of fc1.
    void share() {
        const float* in = seen_.data();
        for (const Layer& layer : plan_.trunk) {
            float* out = in == a_.data() ? b_.data() : a_.data();
            convolve(layer, plan_.side, 2, in, out);
            in = out;
        }
        for (const Layer& layer : plan_.fc1) {
            float* out = &layer == &plan_.fc1.back() ? shared_.data() : in == a_.data() ? b_.data() : a_.data();
            multiply(layer, nullptr, in, out, false);
            in = out;
        }
    }

    // The projection on class k, left in `current_`; what is added to its distance.
    float decode(std::size_t k, const Contrast& contrast) {
        float *in = a_.data(), *out = b_.data();
        for (std::size_t i = 0; i < plan_.hidden(); ++i) {
            const float value = shared_[i] + plan_.fc1_table.weights[k * plan_.hidden() + i];
            in[i] = value < 0 ? 0 : value;  // keeps a NaN
        }
        for (const Layer& layer : plan_.fc2) multiply(layer, nullptr, in, out, layer.relu), std::swap(in, out);
        multiply(plan_.fc3, nullptr, in, out, false), std::swap(in, out);  // mu, and sigma before softplus
        const float added = bias_of(k, in, contrast);
        multiply(plan_.decoder_fc, plan_.decoder_table.weights + k * plan_.decoder_table.outputs, in, out, true);
        std::size_t from = decoder_grid;
        for (const Layer& layer : plan_.deconvs) {
            std::swap(in, out);
            const std::size_t to = from == decoder_grid ? grid_side(plan_.side) : 2 * from;
            deconvolve(layer, from, to, in, out, sums_);
            from = to;
        }
        paint(out, contrast);
        current_ = out;
        return added;
    }

    float bias_of(std::size_t k, const float* posterior, const Contrast& contrast) const {
        float added = 0;
        if (plan_.has_kl()) added += plan_.kl_weight * kl_of(posterior, posterior + plan_.latent(), plan_.latent());
        if (plan_.prior_weight > 0) added -= plan_.prior_weight * prior_scale(plan_, contrast) * log_p_[k];
        return added;
    }

    // The decoder's end: sigmoid, and the image's contrast given back.
    void paint(float* pixels, const Contrast& contrast) const {
        const std::size_t count = plan_.side * plan_.side;
        for (std::size_t i = 0; i < plan_.pixels(); ++i) {
            double value = 1 / (1 + std::exp(-static_cast<double>(pixels[i])));
            if (plan_.normalized) {
                const std::size_t c = i / count;
                value = (value - 0.5) * plan_.contrast_span * contrast.deviation[c] + contrast.mean[c];
                value = value < 0 ? 0 : value > 1 ? 1 : value;
            }
            pixels[i] = static_cast<float>(value);
        }
    }

    void measure(const float* image, float& rmse, float& distance) const {
        double squares = 0, excess = 0;
        for (std::size_t i = 0; i < plan_.pixels(); ++i) {
            const double difference = std::fabs(static_cast<double>(image[i]) - current_[i]);
            const double beyond = difference - plan_.tau;
            squares += difference * difference;
            excess += beyond < 0 ? 0 : beyond * beyond;
        }
        rmse = static_cast<float>(std::sqrt(squares / static_cast<double>(plan_.pixels())));
        distance = static_cast<float>(excess);
    }

    const Plan& plan_;
    std::vector<float> a_, b_, seen_, shared_, log_p_;
    std::vector<int> listed_;
    std::unique_ptr<bool[]> taken_;
    std::vector<double> sums_;
    const float* current_ = nullptr;
};

class Reference final : public Network {
 public:
    explicit Reference(const Plan& plan) : plan_(plan) {}
    std::unique_ptr<Runner> make_runner() const override { return std::make_unique<ReferenceRunner>(plan_); }
    std::size_t bytes() const noexcept override { return sizeof *this; }

 private:
    const Plan& plan_;
};

}  // namespace

std::unique_ptr<Network> make_reference(const Plan& plan) { return std::make_unique<Reference>(plan); }

}  // namespace puvae
