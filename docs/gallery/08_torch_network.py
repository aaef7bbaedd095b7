"""
A network from PyTorch
======================

A module becomes a model of nodes, compared with its source. It is then trained, saved, and predicts volumes like any
other.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import neuromancer as nm


class Edges(torch.nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(1, 8, 3, padding=1)
        self.second = torch.nn.Conv2d(8, 1, 3, padding=1)

    def forward(self, x):
        """Return the image, with the edges added."""
        return x + self.second(torch.relu(self.first(x)))


torch.manual_seed(0)
module = Edges()
model = nm.from_torch(module, (1, 1, 32, 32))
for node in model.nodes.values():
    print(type(node).__name__, node.shape)

# %%
# An image of any size, tile by tile, gives what torch gives for the whole image at once.

rows, columns = np.indices((150, 210))
image = (np.hypot(rows - 75, columns - 100) % 30 < 12)[None].astype("float32")
tiled = model.predict_dense(image, tile=(64, 64))[0]
with torch.no_grad():
    whole = module(torch.from_numpy(image[None]))[0, 0].numpy()
print("largest difference:", abs(tiled - whole).max())

figure, axes = plt.subplots(1, 3, figsize=(11, 2.9))
for panel, picture, title in zip(axes, (image[0], whole, tiled), ("image", "torch, at once", "neuromancer, in tiles")):
    panel.imshow(picture, cmap="gray")
    panel.set(title=title, xticks=[], yticks=[])
figure.tight_layout()
