"""From a frame or a batch to its purified images: one purifier, its engines by target, and what they are read from."""
