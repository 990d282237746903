// What a context runs: one image at a time, in memory that was all taken when it was made.
#pragma once

#include <cstddef>
#include <memory>

#include "plan.hpp"

namespace puvae {

class Runner {
 public:
    virtual ~Runner() = default;

    // Chooses the projection of `image` [C,H,W] in [0,1]. Writes it to `purified` [C,H,W], and rmse and score [K].
    // Returns its class; -1 with NaN in `purified` when no class had a finite distance.
    virtual int purify(const float* image, float* purified, float* rmse, float* score) noexcept = 0;

    // The classifier's class of an image.
    virtual int classify(const float* image) noexcept = 0;

    virtual std::size_t bytes() const noexcept = 0;
};

// Weights in a runner's own order, shared by all contexts.
class Network {
 public:
    virtual ~Network() = default;
    virtual std::unique_ptr<Runner> make_runner() const = 0;
    virtual std::size_t bytes() const noexcept = 0;
};

}  // namespace puvae
