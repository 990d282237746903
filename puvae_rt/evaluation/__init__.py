"""Measures what `python -m puvae_rt.evaluate` reports, stores it as data, and makes tables and figures from it."""
