"""Exit codes of every command; a signal's is 128 + its number."""

GOOD, CHECK_FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130
