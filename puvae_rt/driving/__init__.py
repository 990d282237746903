"""Traffic signs on a street: where they are, what they say behind the purifier, and how they are followed."""
