// An open engine: the plan of one file, and its weights as one instruction set takes them.
#pragma once

#include <memory>

#include "file.hpp"
#include "puvae.h"
#include "runner.hpp"

namespace puvae {

struct Engine {
    // The engine in a file, or in `size` bytes of memory. Error when it cannot be opened.
    static std::shared_ptr<const Engine> open(const char* path, std::int32_t instructions);
    static std::shared_ptr<const Engine> open(const void* data, std::size_t size, std::int32_t instructions);

    std::int32_t instructions = PUVAE_AUTO;
    Plan plan;
    std::unique_ptr<Mapping> mapping;  // of the scalar twin, which reads weights where they lie
    std::unique_ptr<unsigned char[]> copy;
    std::unique_ptr<Network> network;

 private:
    void load(const void* data, std::size_t size, std::int32_t asked);
};

}  // namespace puvae
