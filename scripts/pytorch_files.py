"""Converts small PyTorch modules, each with what they compute; for scripts/check_pytorch.

    python pytorch_files.py FOLDER

Runs in an environment of its own, with litert-torch and without edgeprune. Writes NAME.tflite and
NAME.npz (`x`, and `y`, what PyTorch computes of it) for every module. Weights are random, and so
are the statistics of batch normalisation, so that folding them shows.
"""

import sys
from pathlib import Path

import litert_torch
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  as PyTorch's own documentation calls it
from torch import nn


def conv(inputs, outputs, kernel, stride=1, groups=1):
    """A convolution with batch normalisation and ReLU6."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


class Inverted(nn.Module):
    """MobileNetV2's block."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        inner = 2 * inputs
        self.body = nn.Sequential(
            conv(inputs, inner, 1),
            conv(inner, inner, 3, stride, inner),
            nn.Conv2d(inner, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        """Computes it."""
        return x + self.body(x) if self.residual else self.body(x)


class Mobile(nn.Module):
    """A small MobileNetV2, ended in an adaptive pool."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            conv(3, 8, 3, 2),
            Inverted(8, 16, 1),
            Inverted(16, 16, 1),
            Inverted(16, 24, 2),
            conv(24, 32, 1),
        )
        self.classes = nn.Linear(32, 4)

    def forward(self, x):
        """Computes it."""
        return self.classes(F.adaptive_avg_pool2d(self.features(x), 1).flatten(1))


class MeanEnd(nn.Module):
    """A network that ends in x.mean([2, 3])."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(conv(3, 8, 3, 2), conv(8, 16, 1), conv(16, 24, 1))
        self.classes = nn.Linear(24, 4)

    def forward(self, x):
        """Computes it."""
        return self.classes(self.features(x).mean([2, 3]))


class PaddedPool(nn.Module):
    """Maximum pools with padding, behind ReLU6 and behind values of either sign."""

    def __init__(self):
        super().__init__()
        self.first = conv(3, 8, 3)
        self.second = nn.Conv2d(8, 16, 3, padding=1)
        self.classes = nn.Linear(16, 4)

    def forward(self, x):
        """Computes it."""
        x = F.max_pool2d(self.first(x), 3, 2, 1)
        x = F.max_pool2d(self.second(x), 3, 2, 1)
        return self.classes(x.mean([2, 3]))


class Shuffle(nn.Module):
    """ShuffleNet's unit twice: half of the channels pass by, then all change places."""

    def __init__(self):
        super().__init__()
        self.first = conv(3, 16, 3, 2)
        self.units = nn.ModuleList(
            nn.Sequential(
                conv(8, 8, 1),
                nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
                nn.BatchNorm2d(8),
                conv(8, 8, 1),
            )
            for _ in range(2)
        )
        self.classes = nn.Linear(16, 4)

    def forward(self, x):
        """Computes it."""
        x = self.first(x)
        for unit in self.units:
            kept, worked = x.chunk(2, 1)
            x = torch.cat([kept, unit(worked)], 1)
            n, c, h, w = x.shape
            x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.classes(x.mean([2, 3]))


class Block(nn.Module):
    """A transformer's encoder block, with two heads."""

    def __init__(self):
        super().__init__()
        self.before, self.between = nn.LayerNorm(16), nn.LayerNorm(16)
        self.heads, self.joined = nn.Linear(16, 48), nn.Linear(16, 16)
        self.wide, self.narrow = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x):
        """Computes it."""
        q, k, v = self.heads(self.before(x)).view(1, -1, 3, 2, 8).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(1, -1, 16)
        x = x + self.joined(seen)
        return x + self.narrow(F.gelu(self.wide(self.between(x))))


MODULES = {
    "mobile": (Mobile, (3, 32, 32)),
    "mean_end": (MeanEnd, (3, 16, 16)),
    "padded_pool": (PaddedPool, (3, 16, 16)),
    "shuffle": (Shuffle, (3, 16, 16)),
    "block": (Block, (12, 16)),
}
"""By the name of the file: a class, and the shape of a sample."""


def enliven(module):
    """Sets what batch normalisation has learned to random values, in place."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-0.5, 0.5)
            part.running_var.uniform_(0.5, 1.5)
            part.weight.data.uniform_(0.5, 1.5)
            part.bias.data.uniform_(-0.3, 0.3)


def main():
    """Writes all of them."""
    folder = Path(sys.argv[1])
    for name, (kind, shape) in MODULES.items():
        torch.manual_seed(0)
        module = kind().eval()
        enliven(module)
        x = torch.randn(1, *shape)
        litert_torch.convert(module, (x,)).export(str(folder / f"{name}.tflite"))
        with torch.no_grad():
            np.savez(folder / f"{name}.npz", x=x.numpy(), y=module(x).numpy())


if __name__ == "__main__":
    main()
