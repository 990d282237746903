// Failures on their way to the C interface, which turns them into a status and a message.
#pragma once

#include <stdexcept>
#include <string>

#include "puvae.h"

namespace puvae {

struct Error : std::runtime_error {
    Error(puvae_status status, const std::string& message) : std::runtime_error(message), status(status) {}
    puvae_status status;
};

[[noreturn]] inline void refuse(puvae_status status, const std::string& message) { throw Error(status, message); }

}  // namespace puvae
