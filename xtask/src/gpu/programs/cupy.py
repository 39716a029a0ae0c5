"""Elementwise work and sums in CuPy; says the sum, and how long it took."""
import json
import time

import cupy

x = cupy.arange(1 << 24, dtype=cupy.float32) % 1000
work = cupy.ElementwiseKernel("float32 x", "float32 y", "y = x * 2 + 1", "twice_and_one")
for _ in range(20):
    y = work(x)
cupy.cuda.Device().synchronize()
begun = time.perf_counter()
for _ in range(2000):
    y = work(x)
cupy.cuda.Device().synchronize()
seconds = time.perf_counter() - begun
assert bool((y == x * 2 + 1).all())
print(json.dumps({"result": f"{float(y.astype(cupy.float64).sum()):.0f}", "seconds": seconds}))
