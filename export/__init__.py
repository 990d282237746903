import puvae_rt  # noqa: F401 (old names below this package forward from there)
