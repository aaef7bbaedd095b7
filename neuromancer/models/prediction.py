"""Dense prediction by a model: its prediction node, with the processing that belongs to it."""

from __future__ import annotations

from typing import Any, Unpack, overload

import numpy as np

from neuromancer.dense import DensePlan
from neuromancer.dense.options import DenseOptions, Labelled, Out, PlanOptions, RunOptions
from neuromancer.dense.processing.steps import steps_of
from neuromancer.optim.trainable import TrainableGraph
from neuromancer.progress import Progress

Stated = tuple[str, dict[str, Any]]
"""A step of processing: its name and arguments."""


class DensePrediction(TrainableGraph):
    """A graph whose prediction node can be evaluated at every voxel of an image.

    Parameters
    ----------
    name : str
    """

    @property
    def preprocessing(self) -> list[Stated]:
        """Steps that :meth:`predict_dense` applies to the image, and saved with the model.

        Set to a list of names or pairs of a name and a dict, e.g. ``[("zero_mean_unit_variance", {"axes": "yx"})]``.
        Calls of nodes and :meth:`predict` are not affected.

        Examples
        --------
        >>> import neuromancer as nm
        >>> model = nm.model_manager.newmodel("with steps")
        >>> model.preprocessing = ["zero_mean_unit_variance", ("clip", {"max": 3})]
        >>> model.preprocessing
        [('zero_mean_unit_variance', {}), ('clip', {'max': 3.0})]
        >>> nm.model_manager.delmodel("with steps")
        """
        return [step.stated for step in self.processing.get("preprocess", ())]

    @preprocessing.setter
    def preprocessing(self, steps: Any) -> None:
        self.processing["preprocess"] = steps_of(steps, "preprocessing")

    @property
    def postprocessing(self) -> list[Stated]:
        """Steps that :meth:`predict_dense` applies to the prediction, before ``reduce``; as :attr:`preprocessing`."""
        return [step.stated for step in self.processing.get("postprocess", ())]

    @postprocessing.setter
    def postprocessing(self, steps: Any) -> None:
        self.processing["postprocess"] = steps_of(steps, "postprocessing")

    @overload
    def predict_dense(
        self,
        raw_img: Labelled,
        as_uint8: bool = ...,
        pad_raw: bool = ...,
        progress: Progress = ...,
        precision: str = ...,
        *,
        out: None = ...,
        **options: Unpack[RunOptions],
    ) -> Labelled | np.ndarray: ...

    @overload
    def predict_dense(
        self,
        raw_img: Any,
        as_uint8: bool = ...,
        pad_raw: bool = ...,
        progress: Progress = ...,
        precision: str = ...,
        *,
        out: None = ...,
        **options: Unpack[RunOptions],
    ) -> np.ndarray: ...

    @overload
    def predict_dense(
        self,
        raw_img: Any,
        as_uint8: bool = ...,
        pad_raw: bool = ...,
        progress: Progress = ...,
        precision: str = ...,
        *,
        out: Out,
        **options: Unpack[RunOptions],
    ) -> Out: ...

    def predict_dense(
        self,
        raw_img: Any,
        as_uint8: bool = False,
        pad_raw: bool = False,
        progress: Progress = None,
        precision: str = "f32",
        **options: Unpack[DenseOptions],
    ) -> Any:
        """Predict every voxel of an image of any size; see ``Node.predict_dense``.

        Parameters
        ----------
        raw_img : array, (f, (z,) y, x)
            Processed by :attr:`preprocessing`; the prediction by :attr:`postprocessing`. ``preprocess=[]`` and
            ``postprocess=[]`` leave these out.
        as_uint8 : bool
            Return ``floor(255 * prediction)`` as uint8.
        pad_raw : bool
            Mirror-pad the image so that the result has the same size.
        progress, precision, **options
            See ``Node.predict_dense``.

        Returns
        -------
        numpy.ndarray, xarray.DataArray, or `out`, (f, (z,) y, x)
        """
        node = self._require("prediction_node")
        options.setdefault("preprocess", self.preprocessing)
        options.setdefault("postprocess", self.postprocessing)
        return node.predict_dense(raw_img, as_uint8, pad_raw, progress, precision, **options)

    def plan_dense(self, image: Any, dtype: Any = None, **options: Unpack[PlanOptions]) -> DensePlan:
        """Plan a prediction of an image, or of one of this shape; see :func:`neuromancer.plan_dense`."""
        options.setdefault("preprocess", self.preprocessing)
        options.setdefault("postprocess", self.postprocessing)
        return self._require("prediction_node").plan_dense(image, dtype, **options)
