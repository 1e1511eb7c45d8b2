"""Whether there is a C++ compiler for the tests of what is compiled."""

import shutil

import pytest

__all__ = ["needs_compiler"]

needs_compiler = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="compiling needs g++ or clang++"
)
