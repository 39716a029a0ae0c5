"""A kernel in Numba over a large vector; says the sum of what it wrote, and how long it took."""
import json
import time

import numpy
from numba import cuda


@cuda.jit
def twice_and_one(x, out):
    at = cuda.grid(1)
    if at < x.size:
        out[at] = x[at] * 2 + 1


host = (numpy.arange(1 << 22) % 1000).astype(numpy.float32)
x = cuda.to_device(host)
out = cuda.device_array_like(x)
blocks = host.size // 256


def step():
    twice_and_one[blocks, 256](x, out)


for _ in range(20):
    step()
cuda.synchronize()
begun = time.perf_counter()
for _ in range(20000):
    step()
cuda.synchronize()
seconds = time.perf_counter() - begun
back = out.copy_to_host()
assert (back == host * 2 + 1).all()
print(json.dumps({"result": f"{back.astype(numpy.float64).sum():.0f}", "seconds": seconds}))
