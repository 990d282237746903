"""From weights to a verified bundle: `puvae build` and `puvae verify`, and the tools round them."""
