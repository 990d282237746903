// How a kernel compiled by g++ is entered: a table of entry points, each called with an array of pointers to its
// arguments, as cuLaunchKernel does.
#pragma once
#include <cstddef>
#include <tuple>
#include <utility>

namespace shim {

struct Entry {
    const char* name;
    void (*call)(void** arguments);
    const std::size_t* sizes;
    std::size_t arity;
};

extern const Entry entries[];
extern const std::size_t entry_count;

template <auto kernel>
struct Bound;

template <class... Arguments, void (*kernel)(Arguments...)>
struct Bound<kernel> {
    static constexpr std::size_t arity = sizeof...(Arguments);
    static constexpr std::size_t sizes[arity] = {sizeof(Arguments)...};

    static void call(void** arguments) { spread(arguments, std::make_index_sequence<arity>{}); }

    template <std::size_t... i>
    static void spread(void** arguments, std::index_sequence<i...>) {
        kernel(*static_cast<Arguments*>(arguments[i])...);
    }
};

}  // namespace shim

#define SHIM_ENTRY(kernel) \
    shim::Entry { #kernel, &shim::Bound<&kernel>::call, shim::Bound<&kernel>::sizes, shim::Bound<&kernel>::arity }
