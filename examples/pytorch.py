"""Turns a PyTorch module into a .tflite file that edgeprune prunes.

    python examples/pytorch.py mobilenet_v2.tflite
    edgeprune prune mobilenet_v2.tflite --device xnnpack-arm64 --sparsity 0.8 -o pruned.tflite
    edgeprune export pruned.tflite --device xnnpack-arm64 -o fast.tflite

The first line runs where `litert-torch` and `torchvision` are installed, the others where edgeprune
is; the two need not share an environment. Put your own trained module in the place of `module`.
"""

import sys

import litert_torch
import torch
import torchvision


def main() -> None:
    """Writes the file that is named on the command line."""
    module = torchvision.models.mobilenet_v2(weights=None).eval()
    samples = (torch.zeros(1, 3, 224, 224),)
    litert_torch.convert(module, samples).export(sys.argv[1])


if __name__ == "__main__":
    main()
