"""Kernels in plain C++ for processors, compiled at first use, loaded through ctypes.

A kernel is a ``.cpp`` file in this folder; every one of them is compiled into one shared library. Functions are
``extern "C"`` with the prefix ``lx_``, take raw pointers and int64 sizes, and the number of threads last.
"""
