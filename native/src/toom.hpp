// Fast convolutions (Cook and Toom; Winograd): M outputs of a correlation with R taps from M + R - 1 products in place
// of M * R. The transforms come from exact rationals while the library compiles.
//
//   outputs = AT ((G taps) * (BT inputs))
//
// The products evaluate polynomials at points a_0 .. a_{n-2} and at infinity, n = M + R - 1. AT [M][n] has the powers
// of the points, G [n][R] the same over prod_{j != i} (a_i - a_j), and the rows of BT [n][n] are the coefficients of
// prod_{j != i} (x - a_j), the last one's of prod_j (x - a_j). Points come in pairs a, -a, then 0 if their number is
// odd: the rows of a pair then share their even and odd halves, which halves the sums.
//
// Points were searched for a small error in FP32 on random data (tests/native/points.py).
#pragma once

#include <cstddef>
#include <cstdint>

namespace puvae {

// An exact fraction. A product that leaves 64 bits would not compile.
struct Fraction {
    std::int64_t over = 0, under = 1;

    static constexpr std::int64_t common(std::int64_t a, std::int64_t b) {
        while (b != 0) {
            const std::int64_t rest = a % b;
            a = b, b = rest;
        }
        return a < 0 ? -a : a;
    }
    static constexpr Fraction of(std::int64_t over, std::int64_t under) {
        const std::int64_t divisor = common(over, under) * (under < 0 ? -1 : 1);
        return {over / divisor, under / divisor};
    }
    constexpr double value() const { return static_cast<double>(over) / static_cast<double>(under); }
};

constexpr Fraction operator*(Fraction a, Fraction b) {  // shortened crosswise first, so that little overflows
    const Fraction left = Fraction::of(a.over, b.under), right = Fraction::of(b.over, a.under);
    return {left.over * right.over, left.under * right.under};
}
constexpr Fraction operator-(Fraction a) { return {-a.over, a.under}; }
constexpr Fraction operator+(Fraction a, Fraction b) {
    const std::int64_t divisor = Fraction::common(a.under, b.under);
    return Fraction::of(a.over * (b.under / divisor) + b.over * (a.under / divisor), a.under / divisor * b.under);
}
constexpr Fraction operator/(Fraction a, Fraction b) {
    return a * (b.over < 0 ? Fraction{-b.under, -b.over} : Fraction{b.under, b.over});
}

// The positive points of each transform.
template <int M, int R>
struct Points;
template <>
struct Points<7, 7> {
    static constexpr Fraction positive[] = {{1, 8}, {1, 2}, {3, 4}, {1, 1}, {5, 4}, {11, 4}};
};
template <>
struct Points<8, 7> {
    static constexpr Fraction positive[] = {{1, 3}, {3, 5}, {3, 4}, {5, 4}, {13, 8}, {5, 2}};
};
template <>
struct Points<4, 4> {
    static constexpr Fraction positive[] = {{3, 8}, {4, 5}, {5, 3}};
};
template <>
struct Points<7, 4> {
    static constexpr Fraction positive[] = {{3, 8}, {4, 5}, {5, 4}, {5, 2}};
};
template <>
struct Points<8, 4> {
    static constexpr Fraction positive[] = {{1, 4}, {3, 5}, {1, 1}, {5, 4}, {5, 2}};
};
template <>
struct Points<7, 3> {
    static constexpr Fraction positive[] = {{1, 4}, {2, 3}, {5, 4}, {2, 1}};
};
template <>
struct Points<8, 3> {
    static constexpr Fraction positive[] = {{3, 8}, {4, 5}, {4, 3}, {5, 2}};
};

// The transforms F(M, R).
template <int M, int R>
struct Toom {
    static constexpr int outputs = M, taps = R, products = M + R - 1;
    static constexpr int pairs = (products - 1) / 2;      // products 2i and 2i + 1 are at the points a_i and -a_i
    static constexpr bool has_zero = (products - 1) % 2;  // then product `products` - 2 is at 0
    static_assert(sizeof(Points<M, R>::positive) / sizeof(Fraction) == pairs, "a point for each pair");

    // BT's rows of pair i are odd + even and odd - even, one of them holding the even powers and one the odd.
    struct Input {
        float along[pairs][products];   // x * rest(x)
        float beside[pairs][products];  // a_i * rest(x)
        float zero[products];           // the row of the point 0
        float infinity[products];
    };
    struct Output {
        float powers[M][pairs];  // a_i^k: for the pair's sum where k is even, for its difference where it is odd
    };

    static constexpr Fraction point(int product) {
        if (has_zero && product == products - 2) return {0, 1};
        const Fraction positive = Points<M, R>::positive[product / 2];
        return product % 2 ? -positive : positive;
    }

    static constexpr Input input() {
        Input rows{};
        for (int i = 0; i <= pairs; ++i) {  // `pairs`: leave none out
            Fraction rest[products + 1] = {{1, 1}};
            int degree = 0;
            for (int j = 0; j < pairs; ++j) {
                if (j == i) continue;
                const Fraction square = Points<M, R>::positive[j] * Points<M, R>::positive[j];
                degree += 2;  // times (x^2 - square)
                for (int c = degree; c >= 0; --c)
                    rest[c] =
                        (c >= 2 ? rest[c - 2] : Fraction{}) + -(square * (c <= degree - 2 ? rest[c] : Fraction{}));
            }
            for (int c = 0; c < products; ++c) {
                const Fraction lower = c >= 1 ? rest[c - 1] : Fraction{};
                if (i == pairs) {
                    rows.zero[c] = static_cast<float>(rest[c].value());
                    rows.infinity[c] = static_cast<float>((has_zero ? lower : rest[c]).value());
                    continue;
                }
                const Fraction shifted = has_zero ? (c >= 2 ? rest[c - 2] : Fraction{}) : lower;  // x times the rest
                const Fraction plain = has_zero ? lower : rest[c];
                rows.along[i][c] = static_cast<float>(shifted.value());
                rows.beside[i][c] = static_cast<float>((Points<M, R>::positive[i] * plain).value());
            }
        }
        return rows;
    }

    static constexpr Output output() {
        Output rows{};
        for (int i = 0; i < pairs; ++i) {
            Fraction power{1, 1};
            for (int k = 0; k < M; ++k, power = power * Points<M, R>::positive[i])
                rows.powers[k][i] = static_cast<float>(power.value());
        }
        return rows;
    }

    // G: what product `product` takes of tap `tap`.
    static constexpr double tap_weight(int product, int tap) {
        if (product == products - 1) return tap == R - 1;
        double scale = 1;  // in double: exact enough, and 64 bits are not
        for (int j = 0; j < products - 1; ++j)
            if (j != product) scale *= (point(product) + -point(j)).value();
        double power = 1;
        for (int k = 0; k < tap; ++k) power *= point(product).value();
        return power / scale;
    }
};

}  // namespace puvae
