// The choice among the projections, and the small sums round it: the same for every instruction set.
#pragma once

#include <cstddef>

#include "plan.hpp"

namespace puvae {

// Mean and deviation of each channel of an image [channels][count], as contrast is normalized by them.
struct Contrast {
    float mean[3], deviation[3];
};
Contrast contrast_of(const float* image, std::size_t channels, std::size_t count, float epsilon);

// (image - mean) / deviation, [channels][count].
void normalize(const float* image, const Contrast& contrast, std::size_t channels, std::size_t count, float* out);

// log p out of logits, in place.
void log_softmax(float* logits, std::size_t count);

// The `count` likeliest classes, the likeliest first, the lower index first among equals. `taken` [classes] is scratch.
void likeliest(const float* log_p, std::size_t classes, std::size_t count, int* listed, bool* taken);

// What -prior_weight * log p is multiplied by: the mean over the channels of (span * deviation)^2, or 1.
float prior_scale(const Plan& plan, const Contrast& contrast);

// KL(q || N(0,1)) of mu and of sigma before softplus.
float kl_of(const float* mu, const float* raw_sigma, std::size_t latent);

// Remembers the smallest score: the first of equals, an infinite one before a NaN, which never wins.
class Best {
 public:
    bool offer(float score);  // whether it is the best so far

 private:
    bool any_ = false;
    float score_ = 0;
};

}  // namespace puvae
