"""A pyopencl job: products of matrices, some in the queue, for so many seconds.

Says twenty times a second how many are done and how long they took on the device by the stamps of
their own events, nanoseconds.
"""

import sys
import time
from collections import deque

import numpy as np
import pyopencl as cl

SIZE = 160
IN_QUEUE = 6
SOURCE = """
kernel void product(global const float *a, global const float *b, global float *c, int size) {
    int column = get_global_id(0), row = get_global_id(1);
    float sum = 0;
    for (int k = 0; k < size; k++) sum += a[row * size + k] * b[k * size + column];
    c[row * size + column] = sum;
}
"""


def main():
    seconds = float(sys.argv[1])
    context = cl.Context(cl.get_platforms()[0].get_devices())
    properties = cl.command_queue_properties.PROFILING_ENABLE
    queue = cl.CommandQueue(context, properties=properties)
    values = np.random.default_rng(1).random((SIZE, SIZE), dtype=np.float32)
    flags = cl.mem_flags
    a = cl.Buffer(context, flags.READ_ONLY | flags.COPY_HOST_PTR, hostbuf=values)
    c = cl.Buffer(context, flags.WRITE_ONLY, values.nbytes)
    kernel = cl.Kernel(cl.Program(context, SOURCE).build(), "product")
    kernel.set_args(a, a, c, np.int32(SIZE))
    launched, done, busy, last_end = deque(), 0, 0, 0
    begin = said = time.monotonic()
    while True:
        launched.append(cl.enqueue_nd_range_kernel(queue, kernel, (SIZE, SIZE), (SIZE, 1)))
        queue.flush()
        if len(launched) < IN_QUEUE:
            continue
        event = launched.popleft()
        event.wait()
        # Two that overlap took the device once.
        busy += max(0, event.profile.end - max(event.profile.start, last_end))
        last_end = max(last_end, event.profile.end)
        done += 1
        now = time.monotonic()
        if now - said >= 0.05:
            print("done", done, busy, flush=True)
            said = now
        if now - begin > seconds:
            break
    queue.finish()
    product = np.empty_like(values)
    cl.enqueue_copy(queue, product, c)
    assert np.allclose(product, values @ values, rtol=1e-3), "a wrong product"


main()
