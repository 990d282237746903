// engine.puvae: weights and plan of one model. Little-endian; all offsets are bytes from the file's begin.
//
//   at    0  char[8]  "PUVAE\r\n\x1a"    a transfer in text mode shows at once
//   at    8  u32      version, 1
//   at   12  u32      CRC-32 (zlib's) of everything from byte 16 to the end
//   at   16  u64      size of the file
//   at   24  u32 x 4  channels (1, 3), side (28, 32), classes K (1 to 1000), decoded m (1 to K; below K with a prior)
//   at   40  u32      flags: 1 contrast is normalized for the purifier, 2 for the classifier
//   at   44  f32 x 5  tau, kl_weight, prior_weight, contrast_epsilon, contrast_span
//   at   64  u64      offset of the class names, each ended by a zero byte
//   at   72  u64      bytes of the names
//   at   80  u32      number of layers, at most 128
//   at   84  u32      0
//   at   88  layers, 64 bytes each:
//            +0  u32  part, ascending: 0 trunk, 1 fc1, 2 fc1_table, 3 fc2, 4 fc3, 5 decoder_fc, 6 decoder_table,
//                     7 deconvs, 8 prior, 9 classifier
//            +4  u32  kind: 0 convolution, 1 linear, 2 table, 3 deconvolution
//            +8  u32  1 when a ReLU follows
//            +12 u32 x 5  inputs, outputs, kernel_h, kernel_w, stride
//            +32 u64  offset of the weights, a multiple of 64
//            +40 u64  offset of the bias, a multiple of 64; 0 for none
//            +48 16 bytes of zeros
//
// Weights lie in PyTorch's order (plan.hpp), not as the kernels want them: the file is the same for every processor and
// outlives changes of the kernels, which take their own order when they open it.
//
// A trunk's convolutions have dilation 2, the others 1; all have "same" padding. A convolution or linear layer follows
// the one before it; a convolution's image is flattened for a linear layer as [channels][rows][columns]. Deconvolutions
// are three, 7x7, stride 2, and the last one's end is a sigmoid. With a kl_weight fc3 gives mu and then sigma before
// softplus; otherwise mu alone.
#pragma once

#include <cstddef>
#include <cstdint>

#include "plan.hpp"

namespace puvae {

constexpr std::uint32_t file_version = 1;

// A file mapped for reading, until destroyed.
class Mapping {
 public:
    explicit Mapping(const char* path);
    ~Mapping();
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;

    const void* data() const { return data_; }
    std::size_t size() const { return size_; }

 private:
    void* data_ = nullptr;
    std::size_t size_ = 0;
};

// The plan in `size` bytes, every number of which was checked. Its pointers lead into `data`, which has to be aligned
// to 64 bytes. Error with PUVAE_ERROR_FILE for anything else than a sound file.
Plan read_plan(const void* data, std::size_t size);

}  // namespace puvae
