from tests.native.conftest import library_file

__all__ = ["library_file"]
