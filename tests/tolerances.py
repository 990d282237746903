"""Every numeric tolerance of the tests, with its reason."""

# Two float32 implementations that add up to 25,000 products in different orders.
GRADIENT_RELATIVE = 2e-5
# Central differences of a float32 loss of about 1, step 1e-2: rounding 1e-7 / 1e-2, curvature 1e-2^2.
GRADIENT_FINITE_DIFFERENCE = 1e-3
# The same sum in float32, in another order.
LOSS_RTOL = 1e-5
# Exact rewriting of the network, float32, outputs of order one (the promise of DESIGN: 1e-5).
EXACT_ATOL = 1e-5
