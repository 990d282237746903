// preprocess: a region of a camera frame -> the image that the model takes. Exact integers: results do not depend on
// the processor, and equal those of the CUDA kernel (puvae_rt/kernels/preprocess.cu) and of its NumPy twin.
#pragma once

#include <cstddef>

#include "puvae.h"

namespace puvae {

// PUVAE_ERROR_ARGUMENT, which says what is wrong, unless the frame is as puvae.h describes it.
void check_frame(const puvae_frame& frame);

// The same of a region of a checked frame.
void check_region(const puvae_frame& frame, const puvae_region& region);

puvae_region whole(const puvae_frame& frame);

// The region of a checked frame at the size of a model, [channels][side][side] in [0,1].
void preprocess(const puvae_frame& frame, const puvae_region& region, std::size_t channels, std::size_t side,
                float* image) noexcept;

}  // namespace puvae
