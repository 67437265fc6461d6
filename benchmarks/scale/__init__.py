"""A sweep of thousands of trials on a thousand GPUs, simulated: `python -m benchmarks.scale`."""
