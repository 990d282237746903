"""Every numeric tolerance of the tests, with its reason."""

# Two float32 implementations that add up to 25,000 products in different orders.
GRADIENT_RELATIVE = 2e-5
# Central differences of a float32 loss of about 1, step 1e-2: rounding 1e-7 / 1e-2, curvature 1e-2^2.
GRADIENT_FINITE_DIFFERENCE = 1e-3
# The same sum in float32, in another order.
LOSS_RTOL = 1e-5
# Exact rewriting of the network, float32, outputs of order one (the promise of DESIGN: 1e-5).
EXACT_ATOL = 1e-5
# select_projection's FP32 sums of up to 65,536 squares against float64: each thread adds up to 2,048 of them in turn
# (2,048 * 2^-24 = 1.2e-4 at worst, its square root in practice), then a tree.
KERNEL_DISTANCE_RELATIVE = 1e-5

# The toy purifier's projections and distances: a handful of float32 operations on values in [0,1].
TOY_GRAPH = 1e-6
# Its scores, relative: sums over 3,072 float32 squares in another order.
TOY_GRAPH_SUM = 1e-5
# One of 256 gray levels, and its rounding.
ONE_LEVEL = 1.01 / 255
