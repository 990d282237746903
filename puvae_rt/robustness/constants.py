"""Numbers of the attacks, shared by the PyTorch ones (`attacks`) and the torch-free `onnx_attack`."""

EPSILON = 0.3  # L-infinity radius for MNIST and Fashion-MNIST in [0, 1], as in PuVAE and Defense-GAN
IFGSM_STEPS = 10
IFGSM_STEP_SHARE = 0.2  # of epsilon, per step
