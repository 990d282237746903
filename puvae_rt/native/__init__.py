"""libpuvae, the native engine: its file, the library itself, and its C interface in ctypes."""
