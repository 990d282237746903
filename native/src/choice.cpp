#include "choice.hpp"

#include <cfloat>
#include <cmath>

namespace puvae {

Contrast contrast_of(const float* image, std::size_t channels, std::size_t count, float epsilon) {
    Contrast contrast{};
    for (std::size_t c = 0; c < channels; ++c, image += count) {
        double sum = 0, squares = 0;
        for (std::size_t i = 0; i < count; ++i) sum += image[i];
        const double mean = sum / static_cast<double>(count);
        for (std::size_t i = 0; i < count; ++i) squares += (image[i] - mean) * (image[i] - mean);
        contrast.mean[c] = static_cast<float>(mean);
        contrast.deviation[c] = static_cast<float>(std::sqrt(squares / static_cast<double>(count) + epsilon));
    }
    return contrast;
}

void normalize(const float* image, const Contrast& contrast, std::size_t channels, std::size_t count, float* out) {
    for (std::size_t c = 0; c < channels; ++c)
        for (std::size_t i = 0; i < count; ++i) *out++ = (*image++ - contrast.mean[c]) / contrast.deviation[c];
}

void log_softmax(float* logits, std::size_t count) {
    float largest = logits[0];
    for (std::size_t k = 1; k < count; ++k) largest = logits[k] > largest ? logits[k] : largest;
    double sum = 0;
    for (std::size_t k = 0; k < count; ++k) sum += std::exp(static_cast<double>(logits[k]) - largest);
    const double shift = largest + std::log(sum);
    for (std::size_t k = 0; k < count; ++k) logits[k] = static_cast<float>(logits[k] - shift);
}

void likeliest(const float* log_p, std::size_t classes, std::size_t count, int* listed, bool* taken) {
    for (std::size_t k = 0; k < classes; ++k) taken[k] = false;
    for (std::size_t place = 0; place < count; ++place) {
        std::size_t best = classes;
        for (std::size_t k = 0; k < classes; ++k)
            if (!taken[k] && (best == classes || log_p[k] > log_p[best])) best = k;  // a NaN is never likelier
        taken[best] = true;
        listed[place] = static_cast<int>(best);
    }
}

float prior_scale(const Plan& plan, const Contrast& contrast) {
    if (!plan.normalized) return 1;
    float sum = 0;
    for (std::size_t c = 0; c < plan.channels; ++c) sum += contrast.deviation[c] * contrast.deviation[c];
    return sum / static_cast<float>(plan.channels) * plan.contrast_span * plan.contrast_span;
}

float kl_of(const float* mu, const float* raw_sigma, std::size_t latent) {
    double sum = 0;
    for (std::size_t i = 0; i < latent; ++i) {
        const double raw = raw_sigma[i];
        const double sigma = raw > 0 ? raw + std::log1p(std::exp(-raw)) : std::log1p(std::exp(raw));
        sum += static_cast<double>(mu[i]) * mu[i] + sigma * sigma - 2 * std::log(sigma) - 1;
    }
    return static_cast<float>(sum / 2);
}

bool Best::offer(float score) {
    const float finite = score < FLT_MAX ? score : FLT_MAX;  // a NaN as well, which the next line refuses
    if (std::isnan(score) || (any_ && !(finite < score_))) return false;
    any_ = true, score_ = finite;
    return true;
}

}  // namespace puvae
