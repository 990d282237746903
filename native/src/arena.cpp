#include "arena.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <new>

namespace puvae {
namespace {

constexpr std::size_t line = 64, huge_page = std::size_t{2} << 20;

constexpr std::size_t rounded(std::size_t bytes, std::size_t unit) { return (bytes + unit - 1) / unit * unit; }

}  // namespace

Arena::~Arena() {
    for (const Block& block : blocks_) ::munmap(block.begin, block.size);
}

float* Arena::take(std::size_t floats) {
    if (floats > PTRDIFF_MAX / sizeof(float) - 2 * huge_page) throw std::bad_alloc();
    const std::size_t bytes = rounded(floats * sizeof(float), line);
    if (blocks_.empty() || bytes > blocks_.back().size - used_) {
        const std::size_t size = rounded(bytes > block_bytes_ ? bytes : block_bytes_, huge_page);
        blocks_.reserve(blocks_.size() + 1);  // first: what follows must not throw with a mapping in hand
        void* begin = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (begin == MAP_FAILED) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
        ::madvise(begin, size, MADV_HUGEPAGE);  // advice: it may be refused
#endif
        blocks_.push_back({static_cast<char*>(begin), size});
        used_ = 0, total_ += size;
    }
    char* piece = blocks_.back().begin + used_;
    used_ += bytes;
    return reinterpret_cast<float*>(piece);
}

}  // namespace puvae
