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
# The toy classifier's sum of 784 products, in another order.
TOY_LOGITS = 1e-3
# One of 256 gray levels, and its rounding.
ONE_LEVEL = 1.01 / 255
# Success of two implementations of one attack: two of the hundred images (the promise: 2 points).
ATTACK_SUCCESS = 0.02 + 1e-9
# One float32 addition and clipping of pixels in [0,1].
PIXEL_ATOL = 1e-6
# A KL of about 100 nats, the sum of 32 float32 terms out of activations in another order.
EXACT_KL_RELATIVE = 1e-5

# MNIST's faintest edge pixels (below a tenth) fall away when a digit is cut out, and its mass may shift by rounding.
FAINT_EDGE = 0.11
# A digit filmed at an angle of up to 7 degrees against its flat image, median RMS; two of one class differ by .25.
CAMERA_DIGIT_RMS = 0.16
# MPEG-4 at OpenCV's default rate, gray levels averaged over a frame of blurred noise.
MPEG4_MEAN_LEVELS = 6.0
# Pixels in [0,1] out of a dozen layers in FP16 (2^-11 relative each, random weights): 1.4e-3 was seen.
FP16_ATOL = 5e-3
# Candidates in [0,1] stored in FP16: half a step at 1 is 2^-12.
HALF_PIXEL = 2.5e-4
# Sums over 784 squares of such candidates, relative.
HALF_SUM = 2e-3
# Scores of a shipped model in FP32, relative: sums over 3,072 squares in another order; 1.3e-6 was seen.
NETWORK_SUM = 1e-5
# A dozen layers in FP16 against FP32, a pixel of the projection: measured 1e-3 at most on 3,000 images.
HALF_NETWORK = 5e-3
# Images whose two best scores lie closer than FP16 tells apart.
HALF_AGREEMENT = 0.998
# The same after a resize whose rounding differs by one level in some pixels.
RESIZED_NETWORK = 2e-2

# Low rank, all directions but the least of 224: what the least one carries of activations of order one.
LAST_DIRECTION_ATOL = 1e-3

# The same image in another light, through a model that normalises contrast: the epsilon under the root stays as it is.
LIGHT = 5e-3
# Success of two implementations of a random attack with other schedules: four of forty images.
STANDARD_SUCCESS = 0.1 + 1e-9

# A prior's log probabilities, out of FP16 convolutions in another library's order of sums, times a power of the image:
# relative to the largest of an image. 7e-5 was seen.
HALF_BIAS_RELATIVE = 1e-3

# libpuvae's fast convolutions in FP32 against plain sums: the promise for every candidate's distance (DESIGN: 1e-4).
NATIVE_RMSE = 1e-4
# A pixel of its projection; 4e-5 was seen on the shipped models.
NATIVE_PIXEL = 5e-4
# Its scores, relative: sums of up to 3,072 squares of such pixels, and log probabilities.
NATIVE_SCORE = 1e-4
# Its choice may differ where the two best scores lie closer than this, relative.
NATIVE_CLOSE = 2e-4
# The scalar twin, whose sums are in double precision, against ONNX Runtime: what FP32 rounds.
SCALAR_RMSE = 1e-5
