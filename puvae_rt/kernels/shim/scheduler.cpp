// Runs a kernel on the host: one fibre per CUDA thread, a few blocks resident at once, and at every point where threads
// wait for each other the next one is drawn at random from a seeded generator. A kernel whose result depends on the
// order, whose barriers diverge, or that misuses shared memory fails here without a GPU.
#include "scheduler.hpp"

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "device.hpp"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace shim {
namespace {

constexpr std::size_t kStackBytes = 128 * 1024;
constexpr std::size_t kResidentBlocks = 3;  // enough for the blocks of one image to overlap, and to be told apart
constexpr unsigned kWarpLanes = 32;
constexpr unsigned kMaxBlockThreads = 1024, kMaxGridYZ = 65535;
constexpr int kMaxSharedBytes = 48 * 1024;  // what every architecture gives without opting in
constexpr unsigned char kPoison = 0xff;     // a NaN in FP16 and FP32, -1 in an integer
constexpr int kNobody = -1, kSeveral = -2;

struct Block;

enum class State { ready, at_barrier, at_shuffle, done };

struct Fibre {
    ucontext_t first;  // where it starts; from then on it is left and entered by `stopped`
    jmp_buf stopped;
    bool started = false;
    Thread indices;
    Block* block;
    unsigned rank;  // linear index in the block
    State state = State::ready;
    // What it waits for, and what it gets.
    Collective kind;
    const char* file = "";
    int line = 0;
    unsigned mask = 0;
    int operand = 0;
    std::uint64_t value = 0, result = 0;
    void* fake_stack = nullptr;
};

using Warp = std::array<Fibre*, kWarpLanes>;

// Who touched a byte of shared memory since the last barrier.
struct ByteHistory {
    bool initialised = false;
    unsigned written_epoch = 0, read_epoch = 0;
    int writer = kNobody, reader = kNobody;
};

struct Block {
    Index index;
    std::deque<Fibre> fibres;  // never moves its elements
    std::unique_ptr<unsigned char[]> memory;
    std::vector<ByteHistory> history;
    unsigned epoch = 1, waiting = 0, finished = 0;
    std::size_t first_stack;
};

std::string text(Index i) {
    return "(" + std::to_string(i.x) + "," + std::to_string(i.y) + "," + std::to_string(i.z) + ")";
}

std::string place(const Fibre& f) {
    const std::string who = "thread " + text(f.indices.thread);
    if (f.state == State::done) return who + " has returned";
    const std::string what = f.state == State::at_shuffle ? "shuffle" : "barrier";
    return who + " waits at the " + what + " of " + f.file + ":" + std::to_string(f.line);
}

// Stacks are kept from launch to launch: mapping them costs more than a small kernel.
class Stacks {
  public:
    ~Stacks() { release(); }
    unsigned char* at(std::size_t i) const { return base_ + i * kStackBytes; }
    void reserve(std::size_t count) {
        if (count <= count_) return;
        release();
        void* p = mmap(nullptr, count * kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) throw std::runtime_error("no memory for " + std::to_string(count) + " thread stacks");
        base_ = static_cast<unsigned char*>(p);
        count_ = count;
        for (std::size_t i = 0; i < count; ++i) mprotect(at(i), static_cast<std::size_t>(sysconf(_SC_PAGESIZE)), PROT_NONE);
    }

  private:
    void release() {
        if (base_) munmap(base_, count_ * kStackBytes);
        base_ = nullptr;
        count_ = 0;
    }
    unsigned char* base_ = nullptr;
    std::size_t count_ = 0;
};

class Launch;
thread_local Launch* running = nullptr;
thread_local Stacks stacks;

class Launch {
  public:
    Launch(const Entry& entry, Index grid, Index block, int shared_bytes, void** arguments, std::uint64_t seed)
        : entry_(entry), grid_(grid), dim_(block), shared_bytes_(shared_bytes), arguments_(arguments), random_(seed) {}

    void run() {
        stacks.reserve(kResidentBlocks * threads());
        for (std::size_t i = 0; i < kResidentBlocks; ++i) free_stacks_.push_back(i * threads());
        draw_block_order();
        admit_blocks();
        while (!blocks_.empty()) {
            if (ready_.empty()) throw std::runtime_error(describe_deadlock());
            resume(draw());
        }
    }

    const Thread& indices() const { return fibre_->indices; }

    void suspend(State state) {
        fibre_->state = state;
        switch_to_scheduler(*fibre_);
        if (state == State::done) std::abort();
    }

    std::uint64_t wait(State state, Collective kind, unsigned mask, std::uint64_t value, int operand, const char* file, int line) {
        Fibre& f = *fibre_;
        f.kind = kind, f.mask = mask, f.value = value, f.operand = operand, f.file = file, f.line = line;
        if (state == State::at_shuffle && !(mask >> f.rank % kWarpLanes & 1))
            fail("shuffle mask " + std::to_string(mask) + " leaves out the calling lane");
        suspend(state);
        return fibre_->result;
    }

    // Ends the launch: the scheduler throws `message`, and no fibre runs again.
    void fail(const std::string& message) {
        fault_ = "block " + text(fibre_->indices.block) + ", thread " + text(fibre_->indices.thread) + ": " + message;
        suspend(State::ready);
    }

    unsigned char* shared(int offset, int size, Access access) {
        Block& b = *fibre_->block;
        if (offset < 0 || offset + size > shared_bytes_)
            fail("shared memory index outside its array, or past the " + std::to_string(shared_bytes_) + " bytes of the launch");
        for (int i = offset; i < offset + size; ++i) check_byte(b, b.history[static_cast<std::size_t>(i)], i, access);
        return b.memory.get() + offset;
    }

    void check_window(int offset, int size, int alignment) {
        if (offset < 0 || offset % alignment || offset + size > shared_bytes_)
            fail("shared array of " + std::to_string(size) + " bytes at " + std::to_string(offset) + " in the launch's " +
                 std::to_string(shared_bytes_) + " bytes of shared memory");
    }

    void enter() {
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack_, &scheduler_stack_size_);
#endif
        entry_.call(arguments_);
        suspend(State::done);
    }

  private:
    std::size_t threads() const { return std::size_t{dim_.x} * dim_.y * dim_.z; }

    void draw_block_order() {
        const std::uint64_t count = std::uint64_t{grid_.x} * grid_.y * grid_.z;
        for (std::uint64_t i = 0; i < count; ++i)
            order_.push_back({static_cast<unsigned>(i % grid_.x), static_cast<unsigned>(i / grid_.x % grid_.y),
                              static_cast<unsigned>(i / grid_.x / grid_.y)});
        std::shuffle(order_.begin(), order_.end(), random_);
    }

    void admit_blocks() {
        while (!order_.empty() && !free_stacks_.empty()) {
            blocks_.push_back(std::make_unique<Block>());
            start(*blocks_.back());
        }
    }

    void start(Block& b) {
        b.index = order_.back();
        order_.pop_back();
        b.first_stack = free_stacks_.back();
        free_stacks_.pop_back();
        b.memory = std::make_unique<unsigned char[]>(static_cast<std::size_t>(shared_bytes_));
        std::memset(b.memory.get(), kPoison, static_cast<std::size_t>(shared_bytes_));
        b.history.resize(static_cast<std::size_t>(shared_bytes_));
        for (unsigned rank = 0; rank < threads(); ++rank) {
            Fibre& f = b.fibres.emplace_back();
            f.block = &b;
            f.rank = rank;
            f.indices = {{rank % dim_.x, rank / dim_.x % dim_.y, rank / dim_.x / dim_.y}, b.index, dim_, grid_};
            prepare(f);
            ready_.push_back(&f);
        }
    }

    void prepare(Fibre& f) {
        getcontext(&f.first);
#if defined(__SANITIZE_ADDRESS__)
        __asan_unpoison_memory_region(stacks.at(f.block->first_stack + f.rank), kStackBytes);  // the last fibre's frames
#endif
        f.first.uc_stack.ss_sp = stacks.at(f.block->first_stack + f.rank);
        f.first.uc_stack.ss_size = kStackBytes;
        f.first.uc_link = nullptr;
        makecontext(&f.first, [] { running->enter(); }, 0);
    }

    Fibre& draw() {
        const std::size_t i = random_() % ready_.size();
        Fibre* f = ready_[i];
        ready_[i] = ready_.back();
        ready_.pop_back();
        return *f;
    }

    void resume(Fibre& f) {
        fibre_ = &f;
#if defined(__SANITIZE_ADDRESS__)
        void* fake = nullptr;
        __sanitizer_start_switch_fiber(&fake, f.first.uc_stack.ss_sp, f.first.uc_stack.ss_size);
#endif
        // Not swapcontext: it saves the signal mask, two system calls a switch.
        if (!_setjmp(scheduler_)) {
            if (f.started) _longjmp(f.stopped, 1);
            f.started = true;
            setcontext(&f.first);
        }
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
        if (!fault_.empty()) throw std::runtime_error(fault_);
        settle(f);
    }

    void switch_to_scheduler(Fibre& f) {
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_start_switch_fiber(f.state == State::done ? nullptr : &f.fake_stack, scheduler_stack_, scheduler_stack_size_);
#endif
        if (!_setjmp(f.stopped)) _longjmp(scheduler_, 1);
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_finish_switch_fiber(f.fake_stack, nullptr, nullptr);
#endif
    }

    // Takes a fibre that has just stopped to where it belongs.
    void settle(Fibre& f) {
        Block& b = *f.block;
        if (f.state == State::ready) ready_.push_back(&f);
        if (f.state == State::at_barrier && ++b.waiting == threads()) pass_barrier(b);
        if (f.state == State::at_shuffle) try_shuffle(b, f);
        if (f.state == State::done && ++b.finished == threads()) retire(b);
    }

    void release(Fibre& f) {
        f.state = State::ready;
        ready_.push_back(&f);
    }

    void pass_barrier(Block& b) {
        bool any = false;
        for (const Fibre& f : b.fibres) {
            same_call(b.fibres.front(), f, "barrier");
            any = any || f.value;
        }
        b.waiting = 0;
        ++b.epoch;
        for (Fibre& f : b.fibres) {
            f.result = any;
            release(f);
        }
    }

    void try_shuffle(Block& b, const Fibre& caller) {
        const unsigned first = caller.rank / kWarpLanes * kWarpLanes;
        Warp lanes = {};
        for (unsigned lane = 0; lane < kWarpLanes; ++lane) {
            if (!(caller.mask >> lane & 1)) continue;
            if (first + lane >= threads() || b.fibres[first + lane].state != State::at_shuffle) return;
            lanes[lane] = &b.fibres[first + lane];
            same_call(caller, *lanes[lane], "shuffle");
        }
        for (unsigned lane = 0; lane < kWarpLanes; ++lane)
            if (lanes[lane]) lanes[lane]->result = shuffled(lanes, lane);
        for (Fibre* f : lanes)
            if (f) release(*f);
    }

    std::uint64_t shuffled(const Warp& lanes, unsigned lane) {
        const Fibre& f = *lanes[lane];
        const auto operand = static_cast<unsigned>(f.operand);
        const unsigned from = f.kind == Collective::shuffle_xor ? lane ^ operand : lane + operand;
        if (from >= kWarpLanes) return f.value;  // as the hardware: the lane keeps its own
        if (!lanes[from]) {
            throw std::runtime_error("block " + text(f.block->index) + ": " + place(f) + " and reads lane " + std::to_string(from) +
                                     ", which its mask leaves out: undefined on a GPU");
        }
        return lanes[from]->value;
    }

    void same_call(const Fibre& a, const Fibre& b, const char* what) {
        if (a.line == b.line && a.kind == b.kind && a.mask == b.mask && !std::strcmp(a.file, b.file)) return;
        throw std::runtime_error("divergent " + std::string(what) + " in block " + text(a.block->index) + ": " + place(a) + ", " + place(b) +
                                 ". All threads of a block must meet at the same one");
    }

    void retire(Block& b) {
        free_stacks_.push_back(b.first_stack);
        blocks_.erase(std::find_if(blocks_.begin(), blocks_.end(), [&](const auto& p) { return p.get() == &b; }));
        admit_blocks();
    }

    std::string describe_deadlock() const {
        for (const auto& b : blocks_) {
            const Fibre* waiting = nullptr;
            for (const Fibre& f : b->fibres)
                if (f.state != State::done && (!waiting || f.state == State::at_shuffle)) waiting = &f;
            for (const Fibre& f : b->fibres)
                if (f.state != waiting->state || f.line != waiting->line)
                    return "divergent " + std::string(waiting->state == State::at_shuffle ? "shuffle" : "barrier") + " in block " +
                           text(b->index) + ": " + place(*waiting) + ", but " + place(f) + ". All threads concerned must meet at the same one";
            return "divergent shuffle in block " + text(b->index) + ": " + place(*waiting) + " with a mask that names lanes the block lacks";
        }
        return "no thread can run";
    }

    void check_byte(Block& b, ByteHistory& h, int offset, Access access) {
        const int me = static_cast<int>(fibre_->rank);
        const auto wrong = [&](const char* what) { fail("shared memory byte " + std::to_string(offset) + ": " + what); };
        if (access == Access::read && !h.initialised) wrong("read before anyone wrote it (uninitialised)");
        if (h.written_epoch == b.epoch && h.writer != me) wrong("race: another thread wrote it since the last barrier");
        if (access == Access::write && h.read_epoch == b.epoch && h.reader != me)
            wrong("race: another thread read it since the last barrier");
        if (access == Access::write) {
            h.initialised = true;
            h.written_epoch = b.epoch;
            h.writer = me;
        } else {
            h.reader = h.read_epoch == b.epoch && h.reader != me ? kSeveral : me;
            h.read_epoch = b.epoch;
        }
    }

    const Entry& entry_;
    const Index grid_, dim_;
    const int shared_bytes_;
    void** const arguments_;
    std::mt19937_64 random_;
    std::vector<Index> order_;  // blocks still to start, last first
    std::vector<std::unique_ptr<Block>> blocks_;
    std::vector<std::size_t> free_stacks_;
    std::vector<Fibre*> ready_;
    Fibre* fibre_ = nullptr;
    jmp_buf scheduler_;
    std::string fault_;
    const void* scheduler_stack_ = nullptr;
    std::size_t scheduler_stack_size_ = 0;
};

void check_geometry(Index grid, Index block, int shared_bytes) {
    if (!grid.x || !grid.y || !grid.z || grid.x > 0x7fffffffu || grid.y > kMaxGridYZ || grid.z > kMaxGridYZ)
        throw std::runtime_error("grid " + text(grid) + ": CUDA allows 1 to 2^31-1 by 65,535 by 65,535");
    const auto threads = std::uint64_t{block.x} * block.y * block.z;
    if (!threads || threads > kMaxBlockThreads) throw std::runtime_error("block " + text(block) + ": CUDA allows 1 to 1,024 threads");
    if (shared_bytes < 0 || shared_bytes > kMaxSharedBytes)
        throw std::runtime_error(std::to_string(shared_bytes) + " bytes of shared memory: expected 0 to 49,152");
}

void check_arguments(const Entry& entry, const std::size_t* sizes, std::size_t arity) {
    if (arity != entry.arity)
        throw std::runtime_error(std::string(entry.name) + " takes " + std::to_string(entry.arity) + " arguments: got " + std::to_string(arity));
    for (std::size_t i = 0; i < arity; ++i)
        if (sizes[i] != entry.sizes[i])
            throw std::runtime_error(std::string(entry.name) + ": argument " + std::to_string(i) + " has " + std::to_string(entry.sizes[i]) +
                                     " bytes: got " + std::to_string(sizes[i]));
}

const Entry& find_entry(const char* name) {
    for (std::size_t i = 0; i < entry_count; ++i)
        if (!std::strcmp(entries[i].name, name)) return entries[i];
    throw std::runtime_error("no kernel named " + std::string(name));
}

}  // namespace

const Thread& current() { return running->indices(); }
bool barrier(Collective kind, bool predicate, const char* file, int line) {
    return running->wait(State::at_barrier, kind, 0, predicate, 0, file, line) != 0;
}
std::uint64_t shuffle(Collective kind, unsigned mask, std::uint64_t bits, int operand, const char* file, int line) {
    return running->wait(State::at_shuffle, kind, mask, bits, operand, file, line);
}
void yield() { running->suspend(State::ready); }
unsigned char* shared(int offset, int size, Access access) { return running->shared(offset, size, access); }
void check_shared_window(int offset, int size, int alignment) { running->check_window(offset, size, alignment); }

}  // namespace shim

// Returns 0, or 1 with the fault's text in `message`. One launch at a time per host thread; host threads are independent.
extern "C" int shim_launch(const char* name, const unsigned* grid, const unsigned* block, int shared_bytes, void** arguments,
                           const std::size_t* sizes, std::size_t arity, std::uint64_t seed, char* message, std::size_t message_size) {
    try {
        const shim::Entry& entry = shim::find_entry(name);
        const shim::Index g = {grid[0], grid[1], grid[2]}, b = {block[0], block[1], block[2]};
        shim::check_geometry(g, b, shared_bytes);
        shim::check_arguments(entry, sizes, arity);
        shim::Launch launch(entry, g, b, shared_bytes, arguments, seed);
        shim::running = &launch;
        launch.run();
    } catch (const std::exception& e) {
        std::snprintf(message, message_size, "%s", e.what());
        shim::running = nullptr;
        return 1;
    }
    shim::running = nullptr;
    return 0;
}
