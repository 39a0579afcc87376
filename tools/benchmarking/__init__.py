"""The parts of tools/benchmark.py, tools/flops.py and tools/plan.py."""
