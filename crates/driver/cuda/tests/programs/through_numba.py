"""numba-cuda through libcuda.so.1, which it asks for every function by cuGetProcAddress. The stand-in
computes nothing, so only what is copied is looked at."""
import numpy
from numba import cuda


@cuda.jit("void(float32[:])")
def double(values):
    at = cuda.grid(1)
    if at < values.size:
        values[at] *= 2


there = numpy.arange(1 << 18, dtype=numpy.float32)
values = cuda.to_device(there)
assert (values.copy_to_host() == there).all()
for _ in range(50):
    double[1024, 256](values)
cuda.synchronize()
free, total = cuda.current_context().get_memory_info()
print(f"numba-cuda is done on {total >> 20} MiB")
try:
    cuda.device_array(total, dtype=numpy.uint8)
    print("more than the lease has was there")
except Exception as error:
    print(f"more: {type(error).__name__}: {error}")
