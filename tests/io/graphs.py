"""Small models of every family of nodes, and data to feed them."""

from __future__ import annotations

import numpy as np

import neuromancer as nm
from neuromancer.nodes.conv import Conv

QUIET = {"print_repr": False}


@nm.register_functor
def square_plus(x, more):
    """Registered function for ApplyFunc, which files can refer to."""
    return x * x + more


@nm.register_functor
def doubled(x):
    """Function for FromTensor."""
    return 2 * x


def unregistered(x):
    """An imported function, which files must not reach."""
    return 2 * x


class Scaled(nm.Node):
    """A user's node with a parameter of its own and a constructor without a name."""

    def __init__(self, parent, *, factor=2.0):
        super().__init__(parent, "scaled")
        self.params["factor"] = nm.VariableParam(factor, name="factor")

    def _make_output(self):
        self.output = self.parent.output * self.params["factor"]


class Tall(Conv):
    """A user's layer, derived from one of the package."""

    def __init__(self, parent, n_f, name="tall", w=None):
        super().__init__(parent, n_f, (3, 1), name=name, print_repr=False, w=w)


def image(n_f=2, size=(8, 8), tags="b,f,y,x", **kwargs):
    return nm.Input((1, n_f, *size), tags, name="raw", **QUIET, **kwargs)


def finish(pred, **roles):
    """Target, squared loss and roles for a prediction."""
    target = nm.Input_like(pred, name="target", **QUIET)
    loss = nm.AggregateLoss(nm.SquaredLoss(pred, target, **QUIET), name="loss", **QUIET)
    nm.model_manager.current.designate_nodes("raw", target, loss, pred, **roles)


def classify(pred, **kwargs):
    probs = nm.Softmax(pred, name="probs", **QUIET)
    target = nm.Input_like(probs, override_f=1, dtype="int16", name="target", **QUIET)
    nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, name="nll", **QUIET, **kwargs)
    errors = nm.Errors(probs, target, target_is_sparse=True, **QUIET)
    loss = nm.AggregateLoss([nll, errors], mixing_weights=[1.0, 0.0], name="loss", **QUIET)
    nm.model_manager.current.designate_nodes(
        "raw", target, loss, probs, prediction_ext=[loss, errors, probs], error_node=errors, debug_outputs=[nll]
    )


def layers():
    out = nm.Conv(image(), 3, (3, 3), (2, 2), name="conv", activation_func="prelu", **QUIET)
    out = nm.Pool(nm.Pad(out, (1, 0), **QUIET), (1, 3), mode="average", **QUIET)
    out = nm.LRN(out, (3, 1), **QUIET)
    finish(nm.Perceptron(out, 2, flatten=True, activation_func="tanh", name="dense", **QUIET))


def batch_norm():
    out = nm.Conv(image(), 3, (3, 3), name="conv", batch_normalisation="train", **QUIET)
    out = nm.Conv(out, 3, (1, 1), name="fading", batch_normalisation="fadeout", gradnet_mode=True, **QUIET)
    finish(nm.Perceptron(out, 2, name="dense", batch_normalisation="train", **QUIET))


def dropout():
    out = nm.Conv(image(), 6, (3, 3), name="conv", dropout_rate=0.5, **QUIET)
    out = nm.FaithlessMerge(out, out, **QUIET)
    finish(nm.Perceptron(out, 2, name="dense", dropout_rate=0.3, **QUIET))


def shared():
    inp = image()
    one = nm.Conv(inp, 2, (3, 3), name="one", **QUIET)
    two = nm.Conv(one, 2, (3, 3), name="two", w=one.w, b=one.b, **QUIET)
    encoded = nm.Perceptron(two, 3, name="encode", activation_func="tanh", **QUIET)
    finish(encoded.make_dual(encoded, share_w=True, print_repr=False))


def functions():
    out = nm.ApplyFunc(image(), nm.T.tanh, name="tanh")
    out = nm.ApplyFunc(out, square_plus, args=(0.5,), name="square")
    out = nm.FromTensor(doubled, out.shape, out, name="doubled")
    scaled = Scaled(out, factor=3.0)
    finish(Tall(scaled, 3))


def splits():
    a, b = nm.split(image(4), "f", n_out=2, name="half")
    c, d, e = nm.split(a, "y", index=[2, 5], name=["top", "middle", "rest"])
    joined = nm.Concat([c, d, e], axis="y", **QUIET)
    product = nm.MultMerge(joined, b, **QUIET)
    finish(nm.Perceptron(nm.Add(product, b, **QUIET), 2, name="dense", **QUIET))


def unet():
    inp = image(size=(12, 12))
    high = nm.Conv(inp, 3, (3, 3), name="high", **QUIET)
    low = nm.Conv(high, 3, (3, 3), (2, 2), name="low", **QUIET)
    merged = nm.AutoMerge(high, low, upconv_n_f=3, print_repr=False)
    finish(nm.Conv(merged, 2, (1, 1), name="last", **QUIET))


def fragments():
    out = nm.Conv(image(size=(9, 9)), 3, (3, 3), (2, 2), mfp=True, name="conv", **QUIET)
    finish(nm.FragmentsToDense(out, **QUIET))


def classes():
    out = nm.Conv(image(), 3, (3, 3), activation_func="lin", name="conv", **QUIET)
    classify(out, class_weights=[1.0, 2.5, 0.5])


def values():
    inp = image()
    mask = nm.ValueNode((1, 2, 8, 8), "b,f,y,x", value=np.arange(128.0).reshape(1, 2, 8, 8), name="mask", **QUIET)
    noise = nm.ValueNode((1, 2, 8, 8), "b,f,y,x", init_kwargs={"mode": "fix-uni", "scale": 1.0}, name="noise", **QUIET)
    free = nm.ValueNode((1, 2, 8, 8), "b,f,y,x", apply_train=True, value=0.5, name="free", **QUIET)
    out = nm.Add(nm.Add(nm.MultMerge(inp, mask, **QUIET), noise, **QUIET), free, **QUIET)
    w = np.full((2, 2, 1, 1), 0.25, "float32")
    finish(nm.Conv(out, 2, (1, 1), w=[w, "const"], b=np.ones(2, "float32"), name="conv", **QUIET))


def recurrent():
    inp = nm.Input((4, 3), "b,f", name="raw", **QUIET)
    state = nm.InitialState_like(inp, 5, **QUIET)
    gru = nm.GRU(inp, state, 5, **QUIET)
    memory = nm.InitialState_like(inp, 10, name="memory", **QUIET)
    lstm = nm.LSTM(gru, memory, 5, **QUIET)
    finish(nm.Perceptron(lstm, 2, name="dense", **QUIET))


def latent():
    inp = nm.Input((4, 3), "b,f", name="raw", **QUIET)
    mu = nm.Perceptron(inp, 2, name="mu", activation_func="lin", **QUIET)
    sig = nm.Perceptron(inp, 2, name="sig", activation_func="lin", **QUIET)
    sample = nm.GaussianRV(mu, sig, seed=3, **QUIET)
    sample.make_priorlayer(print_repr=False)
    finish(nm.Perceptron(nm.Reshape(sample, (4, 2), "b,f", **QUIET), 3, name="dense", **QUIET))


FAMILIES = [layers, batch_norm, dropout, shared, functions, splits, unet, fragments, classes, values, recurrent, latent]


def feed(node, seed=0):
    """Arrays for the sources of a node."""
    rng = np.random.default_rng(seed)
    arrays = []
    for source in node.input_nodes:
        shape = source.shape.shape
        if "int" in source.dtype:
            arrays.append(rng.integers(0, 3, shape).astype(source.dtype))
        else:
            arrays.append(rng.normal(size=shape).astype(source.dtype))
    return arrays
