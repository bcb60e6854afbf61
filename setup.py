"""Builds pyvmm's C part with cffi; the metadata is in pyproject.toml."""

from setuptools import setup

setup(cffi_modules=["pyvmm/_kvm_build.py:ffi"], scripts=["bin/pyvmm"])
