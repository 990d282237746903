// Numbers as types, for loops and tables that are unrolled while compiling; in place of <utility>, see kernels.inl.
#pragma once

namespace puvae {

template <int N>
struct Number {
    constexpr int operator()() const { return N; }
};

template <int...>
struct Counts {};

// Upto<N>::type is Counts<0, ..., N - 1>.
template <int N, int... TAIL>
struct Upto : Upto<N - 1, N - 1, TAIL...> {};
template <int... TAIL>
struct Upto<0, TAIL...> {
    using type = Counts<TAIL...>;
};

}  // namespace puvae
