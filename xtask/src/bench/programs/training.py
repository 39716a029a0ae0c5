"""A tinygrad job: a small network learns made-up digits for so many seconds.

Says after each step how many are done.
"""

import sys
import time

from tinygrad import Tensor, TinyJit, nn


class Net:
    def __init__(self):
        self.first, self.second = nn.Linear(784, 128), nn.Linear(128, 10)

    def __call__(self, x):
        return self.second(self.first(x).relu())


def main():
    seconds = float(sys.argv[1])
    Tensor.manual_seed(1)
    net = Net()
    optimiser = nn.optim.SGD(nn.state.get_parameters(net), lr=0.05)
    labels = Tensor.randint(512, high=10).realize()
    images = (Tensor.randn(512, 784) * 0.3 + labels.reshape(512, 1) * 0.1).realize()

    @TinyJit
    def step():
        optimiser.zero_grad()
        loss = net(images).sparse_categorical_crossentropy(labels)
        loss.backward()
        return loss.realize(*optimiser.schedule_step())

    # Compiled and captured before the clock starts.
    first = [step().item() for _ in range(4)][0]
    begin, done, loss = time.monotonic(), 0, first
    while time.monotonic() - begin < seconds:
        loss = step().item()
        done += 1
        print("done", done, flush=True)
    assert done < 20 or loss < first, "it learns nothing"


main()
