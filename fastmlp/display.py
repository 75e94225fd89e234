"""Pictures of a fit and of a network, in the manner of scikit-learn's displays.

Each has a class method `from_estimator`, which computes what is shown and plots it with matplotlib,
and `plot`, which plots it once more; `figure_` and `ax_` are those of the last picture. Estimators
have to be fitted, and may be pipelines or searches.

>>> from fastmlp.display import LossCurveDisplay
>>> LossCurveDisplay.from_estimator(est)  # doctest: +SKIP
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from ._base import BaseMLP
from ._optional import optional
from ._summary import LayerSummary, layers_of
from ._training import State

__all__ = ["ErrorGalleryDisplay", "LossCurveDisplay", "NetworkDisplay", "WeightsDisplay"]

_GREY = "0.45"


class _Display:
    """What the displays share."""

    ax_: Any
    figure_: Any
    _size: ClassVar[tuple[float, float]] = (6.4, 4.8)

    def _axes(self, ax: Any, size: tuple[float, float] | None = None) -> Any:
        """Return axes to draw on, new ones if none are given."""
        pyplot = optional("matplotlib.pyplot", "plot", f"{type(self).__name__}.plot")
        if ax is None:
            _, ax = pyplot.subplots(figsize=size or self._size, layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        return ax


def _network(estimator: Any) -> Any:
    """Return the network of a fitted estimator, pipeline or search."""
    est = getattr(estimator, "best_estimator_", estimator)
    if hasattr(est, "steps"):
        est = est.steps[-1][1]
    if est is not estimator:
        return _network(est)
    if not isinstance(est, BaseMLP):
        raise TypeError(
            "A display needs an MLPClassifier or MLPRegressor of fastmlp, or a pipeline or search "
            f"with one, got {type(est).__name__}."
        )
    check_is_fitted(est, "coefs_")
    return est


# ----------------------------------------------------------------------------------- loss curve
class Curves(NamedTuple):
    """Curves of one fit, with a value for each epoch.

    Attributes
    ----------
    loss : list of float
        Training loss.
    validation_loss, validation_scores : list of float or None
        On validation data.
    best_iteration : int or None
        Epoch of the best score, counted from 1.
    """

    loss: Sequence[float]
    validation_loss: Sequence[float] | None = None
    validation_scores: Sequence[float] | None = None
    best_iteration: int | None = None

    @classmethod
    def of(cls, loss: Sequence[float], state: State) -> Self:
        """Return the curves of a fit so far, of which 'lbfgs' keeps no training loss."""
        scores = getattr(state, "validation_scores", None) or None
        validation_loss = getattr(state, "validation_loss_curve", None) or None
        best = None
        if scores and state.best_validation_score in scores:
            best = 1 + scores.index(state.best_validation_score)
        return cls(loss, validation_loss, scores, best)


class LossCurveDisplay(_Display):
    """Loss of every epoch, on training and validation data, of one fit or of several.

    Training loss is a solid line, validation loss a dashed one in the same colour, with a dot at
    the best iteration. Where there are only scores on validation data they are dotted, with an axis
    of their own on the right.

    Parameters
    ----------
    curves : dict of str to Curves
        Curves by the name of the fit, "" for a fit that needs none.

    Attributes
    ----------
    ax_ : matplotlib Axes
    score_ax_ : matplotlib Axes or None
        That of the scores.
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D

    Examples
    --------
    >>> from fastmlp.display import LossCurveDisplay
    >>> fits = {"relu": relu, "tanh": tanh}  # doctest: +SKIP
    >>> LossCurveDisplay.from_estimator(fits)  # doctest: +SKIP
    """

    def __init__(self, curves: Mapping[str, Curves]) -> None:
        self.curves = dict(curves)

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Any = None, log: bool = False, **line: Any
    ) -> Self:
        """Plot the curves of fitted estimators.

        Parameters
        ----------
        estimator : estimator, or dict of str to estimator
            Fitted estimator, or several by name.

        ax : matplotlib Axes, default=None
            Where to plot; None: a new figure.

        log : bool, default=False
            Whether the axis of losses is logarithmic.

        **line : dict
            Passed to matplotlib for every line.

        Returns
        -------
        display : LossCurveDisplay
        """
        several = estimator if isinstance(estimator, Mapping) else {"": estimator}
        return cls({name: _curves(est) for name, est in several.items()}).plot(ax, log=log, **line)

    def plot(self, ax: Any = None, *, log: bool = False, **line: Any) -> Self:
        """Plot the curves; the parameters are those of `from_estimator`."""
        ax = self._axes(ax)
        self.lines_: list[Any] = []
        self.score_ax_ = None
        for i, (name, curves) in enumerate(self.curves.items()):
            self._plot_one(name, curves, {"color": f"C{i}", **line})
        ax.set(xlabel="Epoch", ylabel="Loss")
        if log:
            ax.set_yscale("log")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.spines[["top"]].set_visible(False)
        ax.spines[["right"]].set_visible(self.score_ax_ is not None)
        if len(self.lines_) > 1:
            above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.5}
            ax.legend(handles=self.lines_, frameon=False, **above)
        return self

    def _plot_one(self, name: str, curves: Curves, line: dict[str, Any]) -> None:
        label = f"{name}, " if name else ""
        self._line(self.ax_, curves.loss, f"{label}training loss", line)
        best = curves.best_iteration
        if curves.validation_loss is not None:
            dashed = {"linestyle": "--", **line}
            self._line(self.ax_, curves.validation_loss, f"{label}validation loss", dashed, best)
        elif curves.validation_scores is not None:
            if self.score_ax_ is None:
                self.score_ax_ = self.ax_.twinx()
                self.score_ax_.set_ylabel("Validation score")
                self.score_ax_.spines[["top"]].set_visible(False)
            dotted = {"linestyle": ":", **line}
            scores = curves.validation_scores
            self._line(self.score_ax_, scores, f"{label}validation score", dotted, best)

    def _line(
        self, ax: Any, values: Sequence[float], label: str, line: dict, best: int | None = None
    ) -> None:
        if best:
            label += f", best in epoch {best}"
            line = {"marker": "o", "markevery": [best - 1], **line}
        epochs = range(1, len(values) + 1)
        self.lines_ += ax.plot(epochs, values, **{"label": label, **line})


def _curves(estimator: Any) -> Curves:
    est = _network(estimator)
    if "loss_curve_" not in vars(est):
        raise ValueError(f"There is no loss curve: solver={est.solver!r} records none.")
    return Curves.of(est.loss_curve_, State.of(est))


# -------------------------------------------------------------------------------------- weights
class WeightsDisplay(_Display):
    """Weights of a layer: an image for each unit, or a heat map of features and units.

    Blue is negative, red positive; all units have the same scale.

    Parameters
    ----------
    weights : ndarray of shape (fan_in, fan_out)
        The weights.
    image_shape : tuple of int or None
        Height and width of the image that the inputs are; None: a heat map.
    feature_names : sequence of str or None
        Names of the inputs in the heat map.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    image_ : matplotlib AxesImage
    """

    def __init__(
        self,
        weights: NDArray[Any],
        *,
        image_shape: tuple[int, int] | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        self.weights = weights
        self.image_shape = image_shape
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        layer: int = 0,
        image_shape: tuple[int, int] | None = None,
        feature_names: Sequence[str] | None = None,
        ax: Any = None,
        **image: Any,
    ) -> Self:
        """Plot the weights of a layer of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted estimator.

        layer : int, default=0
            Position in `coefs_`.

        image_shape : tuple of int, default=None
            Height and width, if the inputs are the pixels of an image. None: a heat map.

        feature_names : sequence of str, default=None
            Names in the heat map. None: those of the features, for the first layer.

        ax : matplotlib Axes, default=None
            Where to plot; None: a new figure.

        **image : dict
            Passed to `imshow`.

        Returns
        -------
        display : WeightsDisplay
        """
        est = _network(estimator)
        if not -len(est.coefs_) <= layer < len(est.coefs_):
            raise ValueError(f"layer={layer}, but the network has {len(est.coefs_)} of weights.")
        W = est.coefs_[layer]
        if image_shape is not None and math.prod(image_shape) != len(W):
            raise ValueError(f"image_shape={image_shape} does not hold {len(W)} weights.")
        if feature_names is None and W is est.coefs_[0]:
            feature_names = getattr(est, "feature_names_in_", None)
        if feature_names is not None and len(feature_names) != len(W):
            raise ValueError(f"There are {len(feature_names)} feature names, but {len(W)} inputs.")
        display = cls(W, image_shape=image_shape, feature_names=feature_names)
        return display.plot(ax, **image)

    def plot(self, ax: Any = None, **image: Any) -> Self:
        """Plot the weights; the parameters are those of `from_estimator`."""
        n_in, n = self.weights.shape
        limit = float(np.abs(self.weights).max()) or 1.0
        image = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit, **image}
        if self.image_shape is not None:
            values, columns = _mosaic(self.weights.T.reshape(n, *self.image_shape))
            ax = self._axes(ax, _size_of(values, columns))
            self.image_ = ax.imshow(values, interpolation="nearest", **image)
            ax.set_axis_off()
        else:
            ax = self._axes(ax, (min(12, 2.5 + 0.12 * n), min(12, 1.5 + 0.25 * n_in)))
            self.image_ = ax.imshow(self.weights, interpolation="nearest", aspect="auto", **image)
            ax.set(xlabel="Unit", ylabel="" if self.feature_names is not None else "Input")
            ax.xaxis.get_major_locator().set_params(integer=True)
            ax.yaxis.get_major_locator().set_params(integer=True)
            if self.feature_names is not None and n_in <= 60:
                ax.set_yticks(range(n_in), self.feature_names)
        self.figure_.colorbar(self.image_, ax=ax, label="Weight", shrink=0.8)
        return self


def _mosaic(images: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Return images side by side, NaN between them, and how many are in a row."""
    n, height, width = images.shape
    columns = math.ceil(math.sqrt(n * height / width))
    rows = math.ceil(n / columns)
    values = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), np.nan)
    for i, picture in enumerate(images):
        y, x = i // columns * (height + 1), i % columns * (width + 1)
        values[y : y + height, x : x + width] = picture
    return values, columns


def _size_of(values: NDArray[Any], columns: int) -> tuple[float, float]:
    """Return the size of a figure in which a mosaic fills the axes."""
    width = min(10.0, max(3.0, 0.6 * columns))
    return width + 1, width * values.shape[0] / values.shape[1]


# --------------------------------------------------------------------------------------- errors
class ErrorGalleryDisplay(_Display):
    """Misclassified images, the most confident errors first, ten in a row.

    Below each image are the predicted label, its probability, and the true label.

    Parameters
    ----------
    images : ndarray of shape (n_errors, height, width) or (n_errors, height, width, channels)
        The images.
    y_true, y_pred : ndarray of shape (n_errors,)
        True and predicted labels.
    confidence : ndarray of shape (n_errors,) or None
        Probabilities of the predicted labels.
    n_errors, n_samples : int
        How many errors and how many samples there were, those that are not shown included.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    """

    _columns: ClassVar[int] = 10

    def __init__(
        self,
        images: NDArray[Any],
        y_true: NDArray[Any],
        y_pred: NDArray[Any],
        confidence: NDArray[Any] | None,
        n_errors: int,
        n_samples: int,
    ) -> None:
        self.images, self.y_true, self.y_pred = images, y_true, y_pred
        self.confidence, self.n_errors, self.n_samples = confidence, n_errors, n_samples

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        image_shape: tuple[int, ...] | None = None,
        n_images: int = 50,
        ax: Any = None,
        **image: Any,
    ) -> Self:
        """Plot what a fitted classifier gets wrong.

        Parameters
        ----------
        estimator : classifier
            Any fitted classifier, pipelines included.

        X : array-like of shape (n_samples, n_features)
            Images, a row of pixels each.

        y : array-like of shape (n_samples,)
            True labels.

        image_shape : tuple of int, default=None
            Height, width and, if there are any, channels. None: square grey images.

        n_images : int, default=50
            How many errors to show at most.

        ax : matplotlib Axes, default=None
            Where to plot; None: a new figure.

        **image : dict
            Passed to `imshow`.

        Returns
        -------
        display : ErrorGalleryDisplay
        """
        y_pred = estimator.predict(X)
        confidence = None
        if hasattr(estimator, "predict_proba"):
            confidence = estimator.predict_proba(X).max(axis=1)
        return cls.from_predictions(
            X,
            y,
            y_pred,
            confidence=confidence,
            image_shape=image_shape,
            n_images=n_images,
            ax=ax,
            **image,
        )

    @classmethod
    def from_predictions(
        cls,
        X: ArrayLike,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        *,
        confidence: ArrayLike | None = None,
        image_shape: tuple[int, ...] | None = None,
        n_images: int = 50,
        ax: Any = None,
        **image: Any,
    ) -> Self:
        """Plot where predictions are wrong.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Images, a row of pixels each.

        y_true, y_pred : array-like of shape (n_samples,)
            True and predicted labels.

        confidence : array-like of shape (n_samples,), default=None
            Probabilities of the predicted labels.

        image_shape, n_images, ax, **image
            As for `from_estimator`.

        Returns
        -------
        display : ErrorGalleryDisplay
        """
        X, y_true, y_pred = np.asarray(X), np.asarray(y_true), np.asarray(y_pred)
        if y_true.ndim != 1 or not len(X) == len(y_true) == len(y_pred):
            raise ValueError(
                "X, y_true and y_pred need a row and a label for each sample, got shapes "
                f"{X.shape}, {y_true.shape} and {y_pred.shape}."
            )
        shape = image_shape or (math.isqrt(X.shape[1]),) * 2
        if math.prod(shape) != X.shape[1]:
            raise ValueError(f"image_shape={image_shape} does not hold {X.shape[1]} features.")
        wrong = np.flatnonzero(y_true != y_pred)
        if confidence is not None:
            confidence = np.asarray(confidence)
            wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
            confidence = confidence[wrong[:n_images]]
        first = wrong[:n_images]
        images = X[first].reshape(-1, *shape)
        counts = len(wrong), len(y_true)
        return cls(images, y_true[first], y_pred[first], confidence, *counts).plot(ax, **image)

    def plot(self, ax: Any = None, **image: Any) -> Self:
        """Plot the gallery; the parameters are those of `from_estimator`."""
        rows = max(1, math.ceil(len(self.images) / self._columns))
        ax = self._axes(ax, (self._columns, 0.5 + 1.35 * rows))
        image = {"cmap": "gray_r", "interpolation": "nearest", **image}
        for i, picture in enumerate(self.images):
            x, y = i % self._columns, i // self._columns * 1.35
            ax.imshow(picture, extent=(x + 0.05, x + 0.95, y + 0.95, y + 0.05), **image)
            ax.text(x + 0.5, y + 1.0, self._caption(i), ha="center", va="top", fontsize=8)
        # After imshow, which sets the limits to those of the last image.
        ax.set(xlim=(0, self._columns), ylim=(rows * 1.35, 0), aspect="equal")
        ax.set_axis_off()
        ax.set_title(f"{self.n_errors:,} of {self.n_samples:,} misclassified", loc="left")
        return self

    def _caption(self, i: int) -> str:
        sure = "" if self.confidence is None else f" ({self.confidence[i]:.0%})"
        return f"{self.y_pred[i]}{sure}\nnot {self.y_true[i]}"


# -------------------------------------------------------------------------------------- network
class NetworkDisplay(_Display):
    """The layers of a network: widths, activations and numbers of parameters.

    Parameters
    ----------
    layers : list of LayerSummary
        Name, width, activation, what there is besides, and number of parameters of each layer.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    """

    # As many units are drawn; of wider layers the first and the last ones.
    _shown: ClassVar[int] = 8

    def __init__(self, layers: Sequence[LayerSummary]) -> None:
        self.layers = list(layers)

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> Self:
        """Plot the network of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted estimator.

        ax : matplotlib Axes, default=None
            Where to plot; None: a new figure.

        Returns
        -------
        display : NetworkDisplay
        """
        return cls(layers_of(_network(estimator))).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Plot the network; the parameter is that of `from_estimator`."""
        ax = self._axes(ax, (max(4.0, 1.9 * len(self.layers)), 4.2))
        heights = [self._places(layer.units) for layer in self.layers]
        collections = optional("matplotlib.collections", "plot", "NetworkDisplay.plot")
        for x in range(1, len(heights)):
            lines = [[(x - 1, a), (x, b)] for a in heights[x - 1] for b in heights[x]]
            ax.add_collection(collections.LineCollection(lines, colors="0.85", linewidths=0.5))
            ax.text(x - 0.5, 4.6, f"{self.layers[x].parameters:,}", ha="center", color=_GREY)
        for x, (layer, places) in enumerate(zip(self.layers, heights, strict=True)):
            ax.scatter([x] * len(places), places, s=130, color="C0", edgecolor="white", zorder=2)
            if layer.units > self._shown:
                ax.text(x, 0, "\u22ee", ha="center", va="center", fontsize=14)
            ax.text(x, -4.5, self._caption(layer), ha="center", va="top", linespacing=1.4)
        total = sum(layer.parameters for layer in self.layers)
        ax.set(xlim=(-0.6, len(heights) - 0.4), ylim=(-6.6, 5.2))
        ax.set_title(f"{total:,} parameters")
        ax.set_axis_off()
        return self

    def _places(self, units: int) -> list[float]:
        """Return the heights of the units, around 0."""
        shown = min(units, self._shown)
        gap = 0.5 if units > shown else 0.0
        return [(i - (shown - 1) / 2) + (gap if i >= shown / 2 else -gap) for i in range(shown)]

    @staticmethod
    def _caption(layer: LayerSummary) -> str:
        lines = [f"{layer.name} {layer.units:,}", layer.activation]
        lines += [part.strip() for part in layer.besides.split(",")]
        return "\n".join(line for line in lines if line)
