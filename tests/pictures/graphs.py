"""Models for the tests of pictures."""

from __future__ import annotations

import numpy as np

import neuromancer as nm

QUIET = {"print_repr": False}
HOSTILE = (
    "</script><script>document.title='owned'</script>\"'<img src=x onerror=\"document.title='owned'\"> \u202e&amp; ü🧠"
)


def fresh(name: str) -> nm.Model:
    """Create a model, replacing one of the same name."""
    if name in nm.model_manager.models:
        nm.model_manager.delmodel(name)
    return nm.model_manager.newmodel(name)


def network(name: str = "drawn network") -> nm.Model:
    """Create a network with all roles, a constant and a shared parameter."""
    model = fresh(name)
    image = nm.Input((None, 1, 22, 22), "b,f,y,x", name="image", **QUIET)
    first = nm.Conv(image, 4, (3, 3), (2, 2), name="first", **QUIET)
    second = nm.Conv(first, 4, (3, 3), name="second", b=[np.zeros(4), "const"], **QUIET)
    third = nm.Conv(second, 4, (3, 3), name="third", w=second.params["w"], **QUIET)
    probs = nm.Softmax(nm.Conv(third, 2, (1, 1), name="scores", activation_func="lin", **QUIET), name="probs", **QUIET)
    probs.feature_names = ("inside", "outside")
    target = nm.Input_like(probs, override_f=1, name="labels", dtype="int16", **QUIET)
    nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, name="nll", **QUIET)
    loss = nm.AggregateLoss([nll], name="loss", **QUIET)
    model.designate_nodes("image", target_node=target, loss_node=loss, prediction_node=probs)
    return model


def u_net(name: str = "u") -> nm.Model:
    """Create a U-Net with two levels of pooling."""
    model = fresh(name)
    out: nm.Node = nm.Input((1, 1, 46, 46), "b,f,y,x", name="image", **QUIET)
    skips = []
    for depth in range(2):
        skips.append(nm.Conv(out, 2, (3, 3), name=f"down{depth}", **QUIET))
        out = nm.Pool(skips[-1], (2, 2), name=f"pool{depth}", **QUIET)
    out = nm.Conv(out, 2, (2, 2), name="bottom", **QUIET)
    for depth in (1, 0):
        out = nm.Conv(nm.UpConvMerge(skips[depth], out, 2, **QUIET), 2, (3, 3), name=f"up{depth}", **QUIET)
    return model


def recurrence(name: str = "recurrent") -> nm.Model:
    """Create a recurrent network."""
    model = fresh(name)
    data = nm.Input((2, 3, 5), "b,r,f", name="data", **QUIET)
    x = nm.Input((2, 5), "b,f", name="x", **QUIET)
    start = nm.InitialState_like(x, override_f=8, name="start", **QUIET)
    cell = nm.GRU(x, start, 8, name="cell", **QUIET)
    nm.Scan(cell, start, in_iterate=data, in_iterate_0=x, last_only=True, name="scan", **QUIET)
    return model


def hostile() -> nm.Model:
    """Create nodes whose names try to inject markup, scripts, styles and DOT."""
    model = fresh(HOSTILE)
    x = nm.Input((1, 2), "b,f", name=HOSTILE, **QUIET)
    y = nm.Perceptron(x, 1, name='"]; n0 -> n1 [label="', **QUIET)
    z = nm.ApplyFunc(y, nm.T.tanh, name="<!--<script>\\n\u2028\x00${data}\ud800", **QUIET)
    z.feature_names = ("<b onmouseover=document.title='owned'>",)
    return model


def long_chain(count: int) -> nm.Model:
    """Create many nodes with skip connections."""
    model = fresh("long")
    nodes: list[nm.Node] = [nm.Input((1, 2), "b,f", name="x", **QUIET)]
    for i in range(count):
        last = nodes[-1]
        nodes.append(nm.Add(last, nodes[i // 2], **QUIET) if i % 5 == 4 else nm.ApplyFunc(last, nm.T.tanh, **QUIET))
    return model
