"""Runs what was compiled: memory, threads, the driver that walks a program's table, the kernel cache, timings.

Knows neither graphs nor LLVM: object code and addresses come in from `handloom.compile`.
"""
