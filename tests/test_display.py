"""What displays plot, read back from matplotlib's objects."""

import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.display import (
    ErrorGalleryDisplay,
    LossCurveDisplay,
    NetworkDisplay,
    WeightsDisplay,
)

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

rng = np.random.RandomState(0)
X = rng.uniform(0, 1, (60, 16))
y = np.arange(60) % 3
del rng

SMALL = {"hidden_layer_sizes": (5,), "max_iter": 4, "random_state": 0}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def drawn(display):
    """Draw the figure: what cannot be drawn fails here."""
    display.figure_.canvas.draw()
    assert display.ax_.figure is display.figure_
    return display


# ----------------------------------------------------------------------------------- loss curve
def test_training_loss():
    est = MLPRegressor(**SMALL).fit(X, y)
    display = drawn(LossCurveDisplay.from_estimator(est, color="red"))
    (line,) = display.lines_
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
    np.testing.assert_array_equal(line.get_ydata(), est.loss_curve_)
    assert line.get_color() == "red"
    assert display.ax_.get_legend() is None
    assert display.score_ax_ is None


def test_validation_loss_of_several():
    fits = {
        name: MLPClassifier(**SMALL, activation=name, scoring="loss").fit(X, y, X_val=X, y_val=y)
        for name in ("relu", "tanh")
    }
    _, ax = plt.subplots()
    display = drawn(LossCurveDisplay.from_estimator(fits, ax=ax, log=True))
    assert display.ax_ is ax
    assert ax.get_yscale() == "log"
    expected = [fits["relu"].loss_curve_, fits["relu"].validation_loss_curve_]
    expected += [fits["tanh"].loss_curve_, fits["tanh"].validation_loss_curve_]
    for line, values in zip(display.lines_, expected, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), values)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    best = fits["tanh"].best_iteration_
    assert texts[3] == f"tanh, validation loss, best in epoch {best}"
    assert display.lines_[3].get_markevery() == [best - 1]


def test_scores_have_an_axis():
    est = MLPClassifier(**SMALL, early_stopping=True).fit(X, y)
    search = GridSearchCV(make_pipeline(est), {"mlpclassifier__alpha": [0.1]}, cv=2).fit(X, y)
    fitted = search.best_estimator_[-1]
    display = drawn(LossCurveDisplay.from_estimator(search))
    line = display.lines_[1]
    assert line.axes is display.score_ax_ is not display.ax_
    np.testing.assert_array_equal(line.get_ydata(), fitted.validation_scores_)
    again = drawn(display.plot())
    assert again.figure_ is not line.figure


def test_curves_that_are_not_there():
    with pytest.raises(NotFittedError):
        LossCurveDisplay.from_estimator(MLPClassifier())
    est = MLPClassifier(**SMALL | {"solver": "lbfgs"}).fit(X, y)
    with pytest.raises(ValueError, match="solver='lbfgs' records none"):
        LossCurveDisplay.from_estimator(est)
    with pytest.raises(TypeError, match="got MLPClassifier"):
        LossCurveDisplay.from_estimator(TheirClassifier(max_iter=2).fit(X, y))


def test_without_matplotlib(monkeypatch):
    est = MLPClassifier(**SMALL).fit(X, y)
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"needs the package matplotlib: .*fastmlp\[plot\]"):
        NetworkDisplay.from_estimator(est)


# -------------------------------------------------------------------------------------- weights
def test_weights_as_images():
    est = MLPClassifier(**SMALL).fit(X, y)
    display = drawn(WeightsDisplay.from_estimator(est, image_shape=(4, 4)))
    values = display.image_.get_array().filled(np.nan)
    assert values.shape == (9, 14)  # two rows of three images, the last place empty
    for unit in range(5):
        i, j = 5 * (unit // 3), 5 * (unit % 3)
        image = est.coefs_[0][:, unit].reshape(4, 4)
        np.testing.assert_array_equal(values[i : i + 4, j : j + 4], image)
    assert np.isnan(values).sum() == 9 * 14 - 5 * 16
    assert display.image_.norm.vmax == -display.image_.norm.vmin == np.abs(est.coefs_[0]).max()


def test_weights_with_names():
    frame = pd.DataFrame(X).rename(columns="f{}".format)
    est = MLPClassifier(**SMALL).fit(frame, y)
    display = drawn(WeightsDisplay.from_estimator(est, cmap="PuOr"))
    np.testing.assert_array_equal(display.image_.get_array(), est.coefs_[0])
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == list(frame.columns)
    assert display.image_.get_cmap().name == "PuOr"
    display = drawn(WeightsDisplay.from_estimator(est, layer=-1))
    assert display.feature_names is None
    np.testing.assert_array_equal(display.image_.get_array(), est.coefs_[1])


def test_weights_that_are_not_there():
    est = MLPClassifier(**SMALL).fit(X, y)
    with pytest.raises(ValueError, match="layer=2, but the network has 2"):
        WeightsDisplay.from_estimator(est, layer=2)
    with pytest.raises(ValueError, match=r"image_shape=\(3, 4\) does not hold 16"):
        WeightsDisplay.from_estimator(est, image_shape=(3, 4))
    with pytest.raises(ValueError, match="1 feature names, but 16 inputs"):
        WeightsDisplay.from_estimator(est, feature_names=["a"])


# --------------------------------------------------------------------------------------- errors
def test_error_gallery():
    model = make_pipeline(StandardScaler(), MLPClassifier(**SMALL)).fit(X, y)
    predicted, proba = model.predict(X), model.predict_proba(X).max(axis=1)
    wrong = np.flatnonzero(predicted != y)
    assert len(wrong) > 12
    wrong = wrong[np.argsort(-proba[wrong], kind="stable")]
    display = drawn(ErrorGalleryDisplay.from_estimator(model, X, y, n_images=12))
    assert len(display.ax_.images) == len(display.ax_.texts) == 12
    for i, image, text in zip(wrong, display.ax_.images, display.ax_.texts, strict=False):
        np.testing.assert_array_equal(image.get_array(), X[i].reshape(4, 4))
        assert text.get_text() == f"{predicted[i]} ({proba[i]:.0%})\nnot {y[i]}"
    assert display.ax_.get_title("left") == f"{len(wrong)} of 60 misclassified"
    left, right = (display.ax_.texts[i].get_position() for i in (0, 10))
    assert left[0] == right[0]  # ten in a row
    assert left[1] < right[1]


def test_error_gallery_of_predictions():
    labels = np.array(["a", "b"])
    images = np.zeros((4, 2 * 3 * 3))
    y_true, y_pred = labels[[0, 1, 0, 1]], labels[[0, 0, 0, 0]]
    display = ErrorGalleryDisplay.from_predictions(images, y_true, y_pred, image_shape=(2, 3, 3))
    assert [text.get_text() for text in drawn(display).ax_.texts] == ["a\nnot b"] * 2
    assert display.images.shape == (2, 2, 3, 3)
    right = drawn(ErrorGalleryDisplay.from_predictions(X, y, y))
    assert right.ax_.get_title("left") == "0 of 60 misclassified"
    with pytest.raises(ValueError, match=r"image_shape=None does not hold 18 features"):
        ErrorGalleryDisplay.from_predictions(images, y_true, y_pred)
    with pytest.raises(ValueError, match=r"got shapes \(60, 16\), \(60,\) and \(59,\)"):
        ErrorGalleryDisplay.from_predictions(X, y, y[1:])


# -------------------------------------------------------------------------------------- network
def test_network():
    est = MLPClassifier((20, 3), "gelu", normalization="layer", max_iter=1).fit(X, y)
    display = drawn(NetworkDisplay.from_estimator(est))
    texts = [text.get_text() for text in display.ax_.texts]
    assert "hidden 20\ngelu\nlayer normalisation" in texts
    assert "output 3\nsoftmax" in texts
    assert {"input 16", "380", "69", "12"} <= set(texts)
    assert texts.count("\u22ee") == 2  # of 16 and 20 units
    assert display.ax_.get_title() == "461 parameters"
    circles = [len(points.get_offsets()) for points in display.ax_.collections[3:]]
    assert circles == [8, 8, 3, 3]
