"""Trains a small network with PyTorch; says what came out of it, and how long the steps took."""
import json
import time

import torch

torch.manual_seed(7)
torch.use_deterministic_algorithms(False)
torch.backends.cuda.matmul.allow_tf32 = False
device = torch.device("cuda")
model = torch.nn.Sequential(
    torch.nn.Linear(1024, 2048), torch.nn.ReLU(), torch.nn.Linear(2048, 1024)
).to(device)
there = torch.randn(512, 1024, generator=torch.Generator().manual_seed(3)).to(device)
optimiser = torch.optim.SGD(model.parameters(), lr=1e-2)


def step():
    optimiser.zero_grad(set_to_none=True)
    loss = ((model(there) - there) ** 2).mean()
    loss.backward()
    optimiser.step()
    return loss


for _ in range(20):
    step()
torch.cuda.synchronize()
begun = time.perf_counter()
for _ in range(400):
    loss = step()
torch.cuda.synchronize()
seconds = time.perf_counter() - begun
print(json.dumps({"result": f"{loss.item():.4f}", "seconds": seconds}))
