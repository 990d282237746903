// Memory that is taken piece by piece and given back at once.
#pragma once

#include <cstddef>
#include <vector>

namespace puvae {

// Pieces are zeroed and aligned to a cache line. They lie one behind another in few large mappings, for which the
// kernel is asked for huge pages: a frame streams megabytes of weights, and would otherwise miss the TLB every 4096
// bytes. std::bad_alloc where the system has no memory left.
class Arena {
 public:
    explicit Arena(std::size_t block_bytes) : block_bytes_(block_bytes) {}
    ~Arena();
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    float* take(std::size_t floats);
    std::size_t bytes() const { return total_; }

 private:
    struct Block {
        char* begin;
        std::size_t size;
    };
    std::vector<Block> blocks_;
    std::size_t block_bytes_, used_ = 0, total_ = 0;  // used_: of the last block
};

}  // namespace puvae
