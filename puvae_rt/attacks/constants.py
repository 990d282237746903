"""Numbers of the attacks, shared by the PyTorch ones (`attacks`) and the torch-free `onnx_attack`."""

EPSILON = 0.3  # L-infinity radius for MNIST and Fashion-MNIST in [0, 1], as in PuVAE and Defense-GAN
ALPHA = 0.05  # of it, RAND+FGSM's random step
COLOUR_EPSILON, COLOUR_ALPHA = 0.06, 0.005  # CIFAR-10 and traffic signs
IFGSM_STEPS = 10
IFGSM_STEP_SHARE = 0.2  # of epsilon, per step
PGD_TRAVEL = 2.5  # epsilons that all steps together could go, so that a random start can cross the ball
SQUARE_QUERIES = 1000
AUTO_STEPS = 100  # AutoAttack's own for randomised defenses
SEVERITIES = (1, 2, 3)  # of natural corruptions
CORRUPTION_NAMES = ("defocus", "motion", "fog", "rain", "night", "jpeg")
