"""Random networks of the whole vocabulary: branches and skip connections between grids, on one to three axes."""

from __future__ import annotations

from collections import Counter

import numpy as np

import neuromancer as nm
from neuromancer.graph.geometry import sizes_through

QUIET = {"print_repr": False}
FEATURES = 2
SIZES = range(20, 60)


def pick(rng, values):
    return values[int(rng.integers(len(values)))]


class NoSize(Exception):
    """No image has a size that all branches take."""


class Builder:
    """Builder of a random network.

    Parameters
    ----------
    rng : numpy.random.Generator
    ndim : int
    """

    def __init__(self, rng, ndim):
        self.rng, self.ndim = rng, ndim

    # ---- random arguments
    def ints(self, low, high):
        return tuple(int(n) for n in self.rng.integers(low, high + 1, self.ndim))

    def ends(self, most):
        return tuple((int(a), int(b)) for a, b in self.rng.integers(0, most + 1, (self.ndim, 2)))

    def chance(self, p):
        return self.rng.random() < p

    def mode(self):
        return pick(self.rng, ["zeros", "zeros", "reflect", "replicate"])

    # ---- layers that keep the grid
    def conv(self, x, **options):
        kernel = self.ints(1, 3)
        given = {"dilation": self.ints(1, 2), "padding": self.ends(2), "padding_mode": self.mode(), **options}
        return nm.Conv(x, FEATURES, kernel, activation_func="tanh", **given, **QUIET)

    def same(self, x):
        kernel = tuple(2 * n + 1 for n in self.ints(0, 1))
        return nm.Conv(x, FEATURES, kernel, conv_mode="same", activation_func="tanh", padding_mode=self.mode(), **QUIET)

    def elementwise(self, x):
        kind = self.rng.integers(5)
        if kind == 0:
            return nm.Activation(x, pick(self.rng, ["relu", "leaky_relu 0.2", "silu"]), **QUIET)
        if kind == 1:
            statistics = {"mean": self.rng.normal(size=FEATURES), "var": 1 + self.rng.random(FEATURES)}
            return nm.BatchNorm(x, **statistics, **QUIET)
        if kind == 2:
            return nm.LayerNorm(x, axes="f", **QUIET)
        if kind == 3:
            return nm.split(nm.Repeat(x, 2, interleave=True, **QUIET), "f", n_out=2)[int(self.rng.integers(2))]
        return nm.Softmax(nm.Activation(x, "lin", **QUIET), **QUIET)

    def layer(self, x):
        """A layer that keeps the grid."""
        kind = pick(
            self.rng, ["conv", "conv", "same", "crop", "pad", "transposed", "pool", "elementwise", "add", "aspp"]
        )
        if kind == "crop":
            return nm.Crop(x, self.ends(2), **QUIET)
        if kind == "pad":
            return nm.Pad(x, self.ends(3), padding_mode=self.mode(), **QUIET)
        if kind == "transposed":
            padding = self.ends(1)
            return nm.ConvTranspose(x, FEATURES, self.ints(2, 3), padding=padding, activation_func="tanh", **QUIET)
        if kind == "pool":
            size = self.ints(2, 3)
            how = pick(self.rng, ["max", "average", "average_exc_pad", "sum"])
            return nm.Pool(x, size, (1,) * self.ndim, mode=how, padding=self.ends(1), **QUIET)
        if kind == "add":
            return self.join(x, self.same(x))
        if kind == "aspp":
            branches = [self.conv(x, dilation=self.ints(1, 3)) for _ in range(2)]
            return self.join(*branches)
        return getattr(self, kind)(x)

    # ---- coarser and finer grids
    def coarser(self, x, factor):
        kind = pick(self.rng, ["pool", "conv", "shortcut", "pooled conv", "unpadded"])
        if kind == "pool":
            size = tuple(max(1, f + int(self.rng.integers(0, 2))) for f in factor)
            padding = tuple(tuple(int(n) for n in self.rng.integers(0, min(n, 2), 2)) for n in size)
            how, ceil = pick(self.rng, ["max", "average", "average_exc_pad"]), pick(self.rng, [None, False, True, True])
            return nm.Pool(x, size, factor, mode=how, padding=padding, ceil_mode=ceil, **QUIET)
        if kind == "pooled conv":
            padding, own = self.ends(1), self.ints(1, 3)
            return nm.Conv(x, FEATURES, own, factor, padding=padding, activation_func="tanh", **QUIET)
        if kind == "conv":
            return self.conv(x, stride=factor)
        if kind == "unpadded":
            return nm.Pool(x, factor, ceil_mode=pick(self.rng, [None, False, True]), **QUIET)
        main = nm.Conv(x, FEATURES, (3,) * self.ndim, stride=factor, padding=1, activation_func="tanh", **QUIET)
        short = nm.Conv(x, FEATURES, (1,) * self.ndim, stride=factor, activation_func="lin", **QUIET)
        return nm.Sum([main, short], **QUIET)

    def finer(self, x, factor, skip=None):
        kinds = ["transposed", "nearest", "linear", "shuffle", "up"] + ([] if skip is None else ["size", "size"])
        kind = pick(self.rng, kinds)
        if kind == "transposed":
            kernel, dilation = self.ints(1, 4), self.ints(1, 2)
            most = [(d * (k - 1)) // 2 for k, d in zip(kernel, dilation, strict=True)]
            padding = tuple(tuple(int(n) for n in self.rng.integers(0, m + 1, 2)) for m in most)
            extra = tuple(int(self.rng.integers(0, f)) for f in factor)
            options = {"dilation": dilation, "padding": padding, "output_padding": extra, "activation_func": "tanh"}
            return nm.ConvTranspose(x, FEATURES, kernel, factor, **options, **QUIET)
        if kind == "shuffle":
            wide = nm.Conv(x, FEATURES * int(np.prod(factor)), (1,) * self.ndim, activation_func="tanh", **QUIET)
            return nm.PixelShuffle(wide, factor, **QUIET)
        if kind == "up":
            return nm.UpConv(x, FEATURES, factor, activation_func="tanh", identity_init=False, **QUIET)
        if kind == "size":
            return nm.Upsample(x, size=skip, mode=pick(self.rng, ["nearest", "linear"]), **QUIET)
        return nm.Upsample(x, factor, mode=kind, **QUIET)

    # ---- merging
    def differences(self, a, b):
        """By how much `a` is larger than `b` on every axis, for most sizes of the image that both take."""
        found = []
        for k in range(self.ndim):
            sizes = [(sizes_through(a, k, n), sizes_through(b, k, n)) for n in SIZES]
            counted = Counter(i - j for i, j in sizes if i is not None and j is not None)
            if not counted:
                raise NoSize
            found.append(counted.most_common(1)[0][0])
        return found

    def split_ends(self, amount):
        """Divide numbers of voxels between both ends of the axes."""
        first = [int(self.rng.integers(0, n + 1)) if self.chance(0.5) else n // 2 for n in amount]
        return tuple((a, n - a) for a, n in zip(first, amount, strict=True))

    def join(self, a, b):
        """Merge nodes on the same grid, after cropping the larger one or padding the smaller one on every axis."""
        more = self.differences(a, b)
        a_larger, b_larger = [max(0, n) for n in more], [max(0, -n) for n in more]
        if self.chance(0.3):
            a, b = self.resized(nm.Pad, a, b_larger), self.resized(nm.Pad, b, a_larger)
        else:
            a, b = self.resized(nm.Crop, a, a_larger), self.resized(nm.Crop, b, b_larger)
        kind = self.rng.integers(3)
        if kind == 0:
            both = nm.Concat([a, b], **QUIET)
            return nm.Conv(both, FEATURES, (1,) * self.ndim, activation_func="tanh", **QUIET)
        return (nm.Sum if kind == 1 else nm.Product)([a, b], **QUIET)

    def resized(self, kind, x, amount):
        if not any(amount):
            return x
        options = {"padding_mode": self.mode()} if kind is nm.Pad else {}
        return kind(x, self.split_ends(amount), **options, **QUIET)

    # ---- whole networks
    def layers(self, x, most):
        for _ in range(int(self.rng.integers(0, most + 1))):
            x = self.layer(x)
        return x

    def factor(self):
        high = 3 if self.ndim == 1 else 2
        factor = self.ints(1, high)
        return factor if max(factor) > 1 else (2,) * self.ndim

    def unet(self, x, depth):
        x = self.layers(x, 1)
        if depth == 0:
            return x
        factor = self.factor()
        low = self.unet(self.coarser(x, factor), depth - 1)
        up = self.finer(low, factor, x)
        x = self.join(x, up) if self.chance(0.8) else up
        return self.layers(x, 1)

    def chain(self, x, depth):
        for _ in range(depth):
            x = self.layers(self.coarser(self.layers(x, 1), self.factor()), 1)
        return x


def random_network(seed, ndim=None, kind=None):
    """Return the last node of a random network and its random numbers; None if its branches never meet in size.

    Parameters
    ----------
    seed : int
    ndim : int, optional
    kind : {'unet', 'chain', 'strided unet'}, optional
    """
    rng = np.random.default_rng(seed)
    nm.model_manager.newmodel(None)
    nm.seed(seed)
    ndim = ndim or pick(rng, [1, 1, 1, 2, 2, 3])
    builder = Builder(rng, ndim)
    image = nm.Input((None, 1, *(None,) * ndim), ",".join("bf" + "zyx"[3 - ndim :]), **QUIET)
    depth = int(rng.integers(1, 4 if ndim == 1 else 3))
    kind = kind or pick(rng, ["unet", "unet", "unet", "chain", "strided unet"])
    try:
        node = nm.Conv(image, FEATURES, (1,) * ndim, activation_func="tanh", **QUIET)
        node = builder.chain(node, depth) if kind == "chain" else builder.unet(node, depth)
        if kind == "strided unet":
            node = builder.coarser(node, builder.factor())
    except NoSize:
        return None, rng
    return node, rng
