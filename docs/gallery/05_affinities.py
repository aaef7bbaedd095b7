"""
Affinities, and the objects in them
===================================

Affinities say for each pair of neighbours whether they belong to the same object. The objects are what the edges above
a threshold connect.
"""

import matplotlib.pyplot as plt
import numpy as np

from neuromancer.affinities import (
    affinities_from_segmentation,
    neighbourhood,
    rand_statistics,
    segmentation_from_affinities,
)

rng = np.random.default_rng(1)
centres = rng.uniform(0, 96, (14, 2))
points = np.moveaxis(np.indices((96, 96)), 0, -1)
cells = 1 + np.argmin(((points[:, :, None] - centres) ** 2).sum(axis=-1), axis=-1)

nhood = neighbourhood(ndim=2)
true = affinities_from_segmentation(cells, nhood)
noisy = np.clip(0.1 + 0.8 * true + rng.normal(0, 0.15, true.shape), 0, 1)
thresholds = np.linspace(0.2, 0.98, 27)
scores = [rand_statistics(segmentation_from_affinities(noisy, nhood, t), cells) for t in thresholds]

# %%
# A single wrong edge merges two objects: too low a threshold joins what is separate, and one that is too high splits.

figure, axes = plt.subplots(1, 4, figsize=(13, 3.2))
axes[0].imshow(cells, cmap="tab20", interpolation="nearest")
axes[0].set_title("cells")
axes[1].imshow(noisy.min(axis=0), cmap="gray")
axes[1].set_title("affinities, with noise")
best = thresholds[np.argmax([score.rand_index for score in scores])]
axes[2].imshow(segmentation_from_affinities(noisy, nhood, best) % 20, cmap="tab20", interpolation="nearest")
axes[2].set_title(f"objects above {best:.2f}")
for panel in axes[:3]:
    panel.set(xticks=[], yticks=[])
axes[3].plot(thresholds, [score.false_merges for score in scores], ".-", label="falsely joined")
axes[3].plot(thresholds, [score.false_splits for score in scores], ".-", label="falsely separated")
axes[3].set(xlabel="threshold", title="pairs of voxels", yscale="symlog")
axes[3].legend(loc="center left", fontsize=8)
figure.tight_layout()
