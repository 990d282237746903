// The kernels for vectors of LANES floats. Included once by each kernels_*.cpp, inside a namespace of its own and
// behind a directive that lets the compiler use one instruction set. Nothing from the standard library that is inline
// may be used here: the linker would keep one copy of it, and that one could be made for instructions that a processor
// lacks.

typedef float V __attribute__((vector_size(4 * LANES), may_alias));
typedef int I __attribute__((vector_size(4 * LANES), may_alias));

constexpr int lanes = LANES, most_rows = MOST_ROWS, most_panels = MOST_PANELS;
constexpr int vectors = panel / lanes;  // of a panel

#define INLINE inline __attribute__((always_inline))
// A loop that is unrolled whole, so that arrays of vectors stay in registers.
#define EACH(i, count) _Pragma("GCC unroll 32") for (int i = 0; i < (count); ++i)

INLINE V load(const float* p) { return *reinterpret_cast<const V*>(p); }
INLINE void store(float* p, V v) { *reinterpret_cast<V*>(p) = v; }
INLINE V all(float x) { return x - V{}; }
INLINE V larger(V a, V b) { return a > b ? a : b; }  // b where a is NaN
INLINE V smaller(V a, V b) { return a < b ? a : b; }
INLINE V active(V v) { return v < 0.0f ? V{} : v; }  // keeps a NaN
INLINE float total(V v) {
    float sum = 0;
    EACH (i, lanes) sum += v[i];
    return sum;
}

// ---- products

// ROWS x PANELS panels of the result stay in registers while their weights stream by.
template <int ROWS, int PANELS>
void tile(const Product& p, std::size_t row, std::size_t column) {
    constexpr int N = PANELS * vectors;
    const std::size_t panel_floats = p.segments * p.depth * panel;
    const float* b = p.b + column * p.segments * p.depth;
    V sums[ROWS][N];
    EACH (j, N) {
        const V first = p.bias ? load(p.bias + column + j * lanes) : V{};
        EACH (i, ROWS) sums[i][j] = first;
    }
    const std::size_t a_row = p.a_row;
    for (std::size_t s = 0; s < p.segments; ++s) {
        const float* a = p.a + row * a_row + s * p.a_segment;
        for (std::size_t k = 0; k < p.depth; ++k, b += panel, ++a) {
            V weights[N];
            EACH (j, N) weights[j] = load(b + (j / vectors) * panel_floats + (j % vectors) * lanes);
            EACH (i, ROWS) {
                const V x = all(a[i * a_row]);
                EACH (j, N) sums[i][j] += x * weights[j];
            }
        }
    }
    EACH (i, ROWS)
        EACH (j, N) store(p.c + (row + i) * p.c_row + column + j * lanes, p.relu ? active(sums[i][j]) : sums[i][j]);
}

using Tile = void (*)(const Product&, std::size_t, std::size_t);

template <int PANELS, int... ROWS>
INLINE Tile tile_of(std::size_t rows, Counts<ROWS...>) {
    static constexpr Tile tiles[] = {tile<ROWS + 1, PANELS>...};
    return tiles[rows - 1];
}

// All rows of some panels: the rows are cut into equal shares, none smaller than it has to be.
template <int PANELS>
INLINE void rows_of(const Product& p, std::size_t column) {
    const std::size_t shares = (p.rows + most_rows - 1) / most_rows;
    for (std::size_t share = 0, row = 0; share < shares; ++share) {
        const std::size_t count = (p.rows - row + shares - share - 1) / (shares - share);
        tile_of<PANELS>(count, typename Upto<most_rows>::type())(p, row, column);
        row += count;
    }
}

// One row: PANELS streams of weights at a time, two sums for each vector to hide the latency of an addition.
template <int PANELS>
void single_row(const Product& p, std::size_t column) {
    constexpr int N = PANELS * vectors;
    const std::size_t panel_floats = p.depth * panel;
    const float* b = p.b + column * p.depth;
    V even[N], odd[N];
    EACH (j, N) even[j] = p.bias ? load(p.bias + column + j * lanes) : V{}, odd[j] = V{};
    std::size_t k = 0;
    for (; k + 2 <= p.depth; k += 2, b += 2 * panel) {
        const V x = all(p.a[k]), y = all(p.a[k + 1]);
        EACH (j, N) {
            const float* w = b + (j / vectors) * panel_floats + (j % vectors) * lanes;
            even[j] += x * load(w), odd[j] += y * load(w + panel);
        }
    }
    if (k < p.depth) {
        const V x = all(p.a[k]);
        EACH (j, N) even[j] += x * load(b + (j / vectors) * panel_floats + (j % vectors) * lanes);
    }
    EACH (j, N) {
        const V sum = even[j] + odd[j];
        store(p.c + column + j * lanes, p.relu ? active(sum) : sum);
    }
}

void product(const Product& p) {
    std::size_t column = 0;
    if (p.rows == 1 && p.segments == 1) {
        for (; column + 3 * panel <= p.columns; column += 3 * panel) single_row<3>(p, column);
        for (; column < p.columns; column += panel) single_row<1>(p, column);
        return;
    }
    for (; column + most_panels * panel <= p.columns; column += most_panels * panel) rows_of<most_panels>(p, column);
    for (; column < p.columns; column += panel) rows_of<1>(p, column);
}

// ---- transforms (toom.hpp), on vectors of channels

// Loops whose counter is known while compiling, so that coefficients that are 0 cost nothing.
template <int N, class Body>
INLINE void repeat(Body body) {
    if constexpr (N > 0) {
        repeat<N - 1>(body);
        body(Number<N - 1>());
    }
}

// BT d, where d[j] is only read for LEAD <= j < n - TRAIL: the others are zeros of the padding.
template <int M, int R, int LEAD, int TRAIL>
INLINE void transform_input(const V* d, V* out) {
    using T = Toom<M, R>;
    static constexpr auto rows = T::input();
    constexpr int n = T::products;
    repeat<T::pairs>([&](auto i) {
        V along{}, beside{};
        repeat<n>([&](auto c) {
            if constexpr (c() >= LEAD && c() < n - TRAIL) {
                constexpr float a = rows.along[i()][c()], b = rows.beside[i()][c()];
                if constexpr (a != 0) along += a * d[c()];
                if constexpr (b != 0) beside += b * d[c()];
            }
        });
        out[2 * i()] = along + beside, out[2 * i() + 1] = along - beside;
    });
    V zero{}, infinity{};
    repeat<n>([&](auto c) {
        if constexpr (c() >= LEAD && c() < n - TRAIL) {
            if constexpr (T::has_zero && rows.zero[c()] != 0) zero += rows.zero[c()] * d[c()];
            if constexpr (rows.infinity[c()] != 0) infinity += rows.infinity[c()] * d[c()];
        }
    });
    if constexpr (T::has_zero) out[n - 2] = zero;
    out[n - 1] = infinity;
}

// AT d.
template <int M, int R>
INLINE void transform_output(const V* d, V* out) {
    using T = Toom<M, R>;
    [[maybe_unused]] static constexpr auto rows = T::output();
    V sums[T::pairs], differences[T::pairs];
    EACH (i, T::pairs) sums[i] = d[2 * i] + d[2 * i + 1], differences[i] = d[2 * i] - d[2 * i + 1];
    repeat<M>([&](auto k) {
        V sum = k() == M - 1 ? d[T::products - 1] : V{};
        if constexpr (k() == 0 && T::has_zero) sum += d[T::products - 2];
        repeat<T::pairs>([&](auto i) { sum += rows.powers[k()][i()] * (k() % 2 ? differences[i()] : sums[i()]); });
        out[k()] = sum;
    });
}

INLINE Product tile_product(const float* v, const float* weights, float* m, std::size_t rows, std::size_t inputs,
                            std::size_t outputs) {
    return {v, inputs, 0, 1, inputs, weights, nullptr, m, outputs, rows, outputs, false};
}

template <int M>
void lines_of(const LineConvolution& p) {
    using T = Toom<M, 7>;
    constexpr int n = T::products;
    const std::size_t rows = 2 * p.side, v_step = rows * p.inputs, m_step = rows * p.outputs;
    for (std::size_t line = 0; line < p.side; ++line)
        for (std::size_t c = 0; c < p.inputs; c += lanes) {
            const float* in = p.in + line * p.in_line + c;
            float* v = p.v + 2 * line * p.inputs + c;
            V d[n], out[n];
            EACH (i, n - 3) d[i + 3] = load(in + i * p.in_step);
            transform_input<M, 7, 3, 0>(d, out);
            EACH (q, n) store(v + q * v_step, out[q]);
            EACH (i, n - 3) d[i] = load(in + (i + M - 3) * p.in_step);
            transform_input<M, 7, 0, 3>(d, out);
            EACH (q, n) store(v + q * v_step + p.inputs, out[q]);
        }
    for (int q = 0; q < n; ++q)
        product(tile_product(p.v + q * v_step, p.weights + q * p.inputs * p.outputs, p.m + q * m_step, rows, p.inputs,
                             p.outputs));
    for (std::size_t row = 0; row < rows; ++row)
        for (std::size_t c = 0; c < p.outputs; c += lanes) {
            const V bias = p.bias ? load(p.bias + c) : V{};
            V d[n], out[M];
            EACH (q, n) d[q] = load(p.m + q * m_step + row * p.outputs + c);
            transform_output<M, 7>(d, out);
            float* to = p.out + row / 2 * p.out_line + row % 2 * M * p.out_step + c;
            EACH (k, M) store(to + k * p.out_step, p.relu ? active(out[k] + bias) : out[k] + bias);
        }
}

template <int M, int R>
void grid_input(const GridConvolution& p, std::size_t b) {
    constexpr int n = Toom<M, R>::products;
    const std::size_t step = p.batch * p.inputs;
    for (std::size_t c = 0; c < p.inputs; c += lanes) {
        const float* in = p.in + b * M * M * p.inputs + c;
        float* v = p.v + b * p.inputs + c;
        V columns[M][n];
        for (int x = 0; x < M; ++x) {
            V d[n];
            EACH (y, M) d[1 + y] = load(in + (y * M + x) * p.inputs);
            transform_input<M, R, 1, R - 2>(d, columns[x]);
        }
        for (int i = 0; i < n; ++i) {
            V d[n], out[n];
            EACH (x, M) d[1 + x] = columns[x][i];
            transform_input<M, R, 1, R - 2>(d, out);
            EACH (j, n) store(v + (i * n + j) * step, out[j]);
        }
    }
}

template <int M, int R>
void grid_output(const GridConvolution& p, std::size_t b) {
    constexpr int n = Toom<M, R>::products;
    const std::size_t step = p.batch * p.outputs, side = p.interleaved_side, own = p.outputs / 4;
    for (std::size_t c = 0; c < p.outputs; c += lanes) {
        const float* m = p.m + b * p.outputs + c;
        const V bias = load(p.bias + c);
        V columns[n][M];
        for (int x = 0; x < n; ++x) {
            V d[n];
            EACH (y, n) d[y] = load(m + (y * n + x) * step);
            transform_output<M, R>(d, columns[x]);
        }
        const std::size_t down = side ? c / own / 2 : 0, across = side ? c / own % 2 : 0;
        for (std::size_t y = 0; y < M; ++y) {
            V d[n], out[M];
            EACH (x, n) d[x] = columns[x][y];
            transform_output<M, R>(d, out);
            EACH (x, M) {
                const V value = p.relu ? active(out[x] + bias) : out[x] + bias;
                if (side == 0) store(p.out + ((b * M + y) * M + x) * p.outputs + c, value);
                else if (2 * y + down < side && 2 * x + across < side)
                    store(p.out + ((b * side + 2 * y + down) * side + 2 * x + across) * own + c % own, value);
            }
        }
    }
}

template <int M, int R>
void grid_of(const GridConvolution& p) {
    constexpr std::size_t products = Toom<M, R>::products * Toom<M, R>::products;
    for (std::size_t b = 0; b < p.batch; ++b) grid_input<M, R>(p, b);
    for (std::size_t q = 0; q < products; ++q)
        product(tile_product(p.v + q * p.batch * p.inputs, p.weights + q * p.inputs * p.outputs,
                             p.m + q * p.batch * p.outputs, p.batch, p.inputs, p.outputs));
    for (std::size_t b = 0; b < p.batch; ++b) grid_output<M, R>(p, b);
}

void lines(const LineConvolution& p) { p.side == 14 ? lines_of<7>(p) : lines_of<8>(p); }

void grid(const GridConvolution& p) {
    if (p.side == 4) grid_of<4, 4>(p);
    else if (p.side == 7) p.taps == 4 ? grid_of<7, 4>(p) : grid_of<7, 3>(p);
    else p.taps == 4 ? grid_of<8, 4>(p) : grid_of<8, 3>(p);
}

// ---- pixels

// e^x: 2^k times a Taylor polynomial of degree 7 in x - k ln 2, which is at most .35: exact to 1e-8 before rounding.
INLINE V exponential(V x) {
    x = larger(smaller(x, all(88.0f)), all(-87.0f));
    const V scaled = x * 1.44269504f;
    const V shifted = scaled + 12582912.0f;  // 1.5 * 2^23: the nearest integer k in the low bits
    const V k = shifted - 12582912.0f;
    const V r = (x - k * 0.693359375f) + k * 2.12194440e-4f;  // ln 2 in two parts, of which k times the first is exact
    V sum = all(1.0f / 5040);
    sum = sum * r + 1.0f / 720;
    sum = sum * r + 1.0f / 120;
    sum = sum * r + 1.0f / 24;
    sum = sum * r + 1.0f / 6;
    sum = sum * r + 0.5f;
    sum = sum * r + 1.0f;
    sum = sum * r + 1.0f;
    const I power = (reinterpret_cast<const I&>(shifted) - 0x4B400000 + 127) << 23;  // 2^k
    return sum * reinterpret_cast<const V&>(power);
}

void finish(Finish& p) {
    V squares{}, excess{};
    std::size_t channel = 0;
    for (std::size_t i = 0; i < p.count; i += panel, channel = channel + 1 == p.channels ? 0 : channel + 1)
        EACH (j, vectors) {
            const V logit = load(p.pixels + i + j * lanes);
            V pixel = 1.0f / (1.0f + exponential(-logit));
            pixel = logit == logit ? pixel : logit;  // `exponential` loses a NaN
            if (p.normalized) {
                pixel = (pixel - 0.5f) * p.spread[channel] + p.mean[channel];
                pixel = pixel < 0.0f ? V{} : pixel;
                pixel = pixel > 1.0f ? all(1.0f) : pixel;
            }
            store(p.pixels + i + j * lanes, pixel);
            const V difference = load(p.image + i + j * lanes) - pixel;
            const V beyond = active((difference < 0.0f ? -difference : difference) - p.tau);
            squares += difference * difference;
            excess += beyond * beyond;
        }
    p.squares = total(squares), p.excess = total(excess);
}

void add_relu(float* out, const float* a, const float* b, std::size_t count) {
    for (std::size_t i = 0; i < count; i += panel)
        EACH (j, vectors) store(out + i + j * lanes, active(load(a + i + j * lanes) + load(b + i + j * lanes)));
}

#undef INLINE
#undef EACH
