"""What `python -m puvae_rt.doctor` looks at."""
