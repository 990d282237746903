// The scalar twin: every layer by its definition, sums in double precision. What the fast kernels are held against.
#pragma once

#include <memory>

#include "runner.hpp"

namespace puvae {

// Reads the weights where the plan points, for as long as the network lives.
std::unique_ptr<Network> make_reference(const Plan& plan);

}  // namespace puvae
