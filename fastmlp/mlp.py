"""MLPClassifier and MLPRegressor: signatures, documentation, prediction.

Both classes keep scikit-learn's names, defaults, random stream, warnings and errors.
"""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import Tags, check_array
from sklearn.utils.multiclass import type_of_target

from . import _files
from ._base import BaseMLP, Matrix
from ._parameters import constraints
from ._sklearn import available_if, fit_context, is_first_partial_fit
from ._training import (
    Labels,
    Values,
    class_weights,
    d2_of_quantiles,
    decode,
    encode_labels,
    ordered_quantiles,
)
from .activations import Activation, ActivationName, OutActivationName
from .initializers import Initializer, InitializerName
from .losses import ClassifierLossName, Loss, LossName
from .optimizers import Optimizer, OptimizerName, is_stochastic
from .schedules import Schedule, ScheduleName


class MLPClassifier(ClassifierMixin, BaseMLP):
    """Multilayer perceptron classifier.

    A feedforward network [1]_ that minimises the log loss, or another one: scikit-learn's estimator
    of the same name, computed faster.

    Parameters
    ----------
    hidden_layer_sizes : int, array-like of shape (n_hidden_layers,) or str, default=(100,)
        Width of each hidden layer, from input to output. An int means one hidden layer; an empty
        sequence none, which makes the model linear; a string such as '64-64-32' is a sequence that
        any search can try. One or two layers of 50 to 500 units suit most tabular data; time and
        memory grow with the product of neighbouring widths.

    activation : str or Activation, or list, default='relu'
        Activation of the hidden layers, a name or an object of :mod:`fastmlp.activations`, or a
        list of them with one for each hidden layer. 'relu' is the usual choice and the fastest;
        'tanh' is smooth, which 'lbfgs' likes, and bounded. Initial weights are larger by
        ``sqrt(3)`` for all but 'logistic', as in scikit-learn.

        - 'identity': f(x) = x; in all layers it makes the model linear.
        - 'logistic': the sigmoid f(x) = 1 / (1 + exp(-x)).
        - 'tanh': the hyperbolic tangent f(x) = tanh(x).
        - 'relu': the rectified linear unit f(x) = max(0, x).
        - 'leaky_relu': f(x) = x for x > 0, else slope x: no unit dies (Maas et al., 2013).
        - 'elu': f(x) = x for x > 0, else alpha (exp(x) - 1) (Clevert et al., 2016).
        - 'selu': 1.0507 times 'elu' with alpha = 1.6733: keeps mean 0, variance 1 (Klambauer et
          al., 2017).
        - 'celu': f(x) = x for x > 0, else alpha (exp(x / alpha) - 1): smooth (Barron, 2017).
        - 'gelu': f(x) = x Phi(x), Phi the normal distribution function (Hendrycks, Gimpel, 2016).
        - 'silu': f(x) = x / (1 + exp(-x)), also called swish (Elfwing et al., 2018).
        - 'mish': f(x) = x tanh(ln(1 + exp(x))) (Misra, 2020).
        - 'softplus': f(x) = ln(1 + exp(x)), a smooth 'relu' (Dugas et al., 2001).
        - 'softsign': f(x) = x / (1 + abs(x)) (Bergstra et al., 2009).
        - 'relu6': f(x) = min(max(0, x), 6) (Krizhevsky, 2010).
        - 'hardswish': f(x) = x min(max(0, x + 3), 6) / 6, a cheap 'silu' (Howard et al., 2019).
        - 'hardsigmoid': f(x) = min(max(0, x + 3), 6) / 6, a cheap 'logistic' (Courbariaux et al.,
          2015).

    solver : str or Optimizer, default='adam'
        Optimizer, a name or an object of :mod:`fastmlp.optimizers`. 'adam' works well on most data
        without tuning, 'lbfgs' converges faster and further on small data (up to a few thousand
        samples), 'sgd' can end at a better model once its learning rate is tuned. All of them need
        features of similar scale: put a :class:`~sklearn.preprocessing.StandardScaler` in front. An
        object carries its own parameters; the strings take `momentum` and `nesterovs_momentum`
        ('sgd'), `beta_1`, `beta_2` and `epsilon` ('adam') and `max_fun` ('lbfgs'), all others the
        defaults of their objects. `alpha` applies to all; with 'adamw' set it to 0.

        - 'lbfgs': SciPy's quasi-Newton method with limited memory, on all of X at once.
        - 'sgd': gradient descent on mini-batches with momentum.
        - 'adam': steps scaled for each weight by running averages of its gradient and of its
          square.
        - 'adamw': adam with decoupled weight decay.
        - 'nadam': adam with Nesterov's momentum.
        - 'radam': adam with its first steps rectified for the variance of their denominator.
        - 'amsgrad': adam with the largest average of squared gradients so far.
        - 'rmsprop': steps scaled for each weight by a running average of its squared gradient.
        - 'adagrad': steps scaled for each weight by the sum of its squared gradients so far.
        - 'adadelta': steps scaled by running averages of the squares of both steps and gradients.
        - 'lion': steps of one size for all weights, along the sign of an average of gradients.

    alpha : float, default=0.0001
        Strength of the L2 regularisation: the loss of a mini-batch of n samples gains
        ``alpha / (2 n)`` times the sum of all squared weights. Biases are not penalised. Values
        from 1e-5 to 10 on a logarithmic grid are worth a search.

    batch_size : int or 'auto', default='auto'
        Number of samples in a mini-batch; 'auto' is ``min(200, n_samples)``. The last mini-batch of
        an epoch may be smaller. Not used by 'lbfgs'.

    learning_rate : str or Schedule, or callable, default='constant'
        Learning rate schedule, a name, an object of :mod:`fastmlp.schedules`, or a function that
        takes the number of an epoch, the first being 0, and returns a factor by which
        `learning_rate_init` is multiplied:

        - 'constant': it stays at `learning_rate_init`.
        - 'invscaling': after each epoch it is ``learning_rate_init / (t_ + 1) ** power_t``.
        - 'adaptive': it is divided by 5 whenever `n_iter_no_change` successive epochs have brought
          no progress by `tol`; training stops when that happens below 1e-6. Not used by 'adam'.
        - 'cosine': it falls along half a cosine wave, over `max_iter` epochs.
        - 'one_cycle': it rises to `learning_rate_init` and falls far below where it began.
        - 'exponential': every epoch it is multiplied by 0.95; in epoch e the factor is
          ``decay**e``.
        - 'step': every 30 epochs it is multiplied by 0.1; in epoch e the factor is
          ``decay ** (e // every)``.
        - 'plateau': it is multiplied by 0.1 after more than 5 successive epochs without progress by
          `tol`.

        Objects may begin with a warm-up. Not used by 'lbfgs', which refuses all but scikit-learn's
        'constant', 'invscaling' and 'adaptive'.

    learning_rate_init : float, default=0.001
        Initial learning rate, the most important parameter of all solvers but 'lbfgs', which does
        not use it: typically 1e-4 to 1e-2 for 'adam' and its relatives, 1e-3 to 1e-1 for 'sgd',
        1e-2 for 'adagrad', 1.0 for 'adadelta', 1e-4 for 'lion'.

    power_t : float, default=0.5
        Exponent of the schedule 'invscaling'. Only used by 'sgd'.

    max_iter : int, default=200
        Largest number of epochs, for 'lbfgs' of iterations. A fit that ends there warns.

    shuffle : bool or 'chunks', default=True
        Whether to shuffle the samples before each epoch. 'chunks' is for files that are larger than
        memory: pieces of 1 MB of consecutive samples follow each other at random, and those of 32
        MB are read and shuffled together [7]_. So a file is read in long pieces, and no list of all
        samples is made. It takes a copy of each sample per epoch; mini-batches are less mixed than
        those of a full shuffle if the samples are sorted. Not used by 'lbfgs'.

    random_state : int, RandomState instance or None, default=None
        Seed or generator of the initial weights, the validation split and the order of the samples.
        The same int gives the same fit, bit by bit, for any number of threads. None uses NumPy's
        global generator.

    tol : float, default=0.0001
        Least improvement of the loss, or of the validation score with `early_stopping`, that counts
        as progress. For 'lbfgs': training stops when no entry of the projected gradient is larger.

    verbose : bool or int, default=False
        Whether to print loss and validation score of each epoch. 2: a progress bar instead, if the
        package tqdm is installed.

    warm_start : bool, default=False
        Whether `fit` continues from the weights of the previous call instead of new random ones.
        Loss curve and counters are continued, the optimizer's state starts anew.

    momentum : float, default=0.9
        Momentum coefficient of 'sgd', in [0, 1]; typically 0.9 to 0.99.

    nesterovs_momentum : bool, default=True
        Whether 'sgd' uses Nesterov's form of momentum.

    early_stopping : bool, default=False
        Whether to hold out `validation_fraction` of the data, stop when the score on it, see
        `scoring`, has not improved by `tol` for more than `n_iter_no_change` epochs, and return the
        weights that scored best. The split keeps the proportions of two classes; with more classes,
        or several labels per sample, it is purely random. Nothing is held out if validation data
        are given to `fit`; without them it is not used by 'lbfgs' and not available in
        `partial_fit`.

    validation_fraction : float, default=0.1
        Fraction of the data that `early_stopping` holds out, in [0, 1).

    beta_1 : float, default=0.9
        Decay of the average of gradients kept by 'adam', in [0, 1).

    beta_2 : float, default=0.999
        Decay of the average of squared gradients kept by 'adam', in [0, 1).

    epsilon : float, default=1e-08
        Added to the denominator of the step of 'adam', for stability, as no less than the smallest
        normal number of the arithmetic (1.2e-38 in float32).

    n_iter_no_change : int or inf, default=10
        Number of successive epochs without progress by `tol` that are tolerated. Not used by
        'lbfgs'.

    max_fun : int, default=15000
        Largest number of evaluations of the loss by 'lbfgs'.

    max_grad_norm : float or None, default=None
        Norm to which the gradient of a mini-batch, that of all parameters together and with the L2
        term, is scaled down if it is larger (Pascanu, Mikolov, Bengio 2013, ICML): typically 0.5 to
        5, where single mini-batches would throw training off its course. None: no limit. Not
        available with 'lbfgs'.

    weight_averaging : float or None, default=None
        Decay, in (0, 1), of an exponential moving average of all parameters that takes the place of
        the last ones in `coefs_` and `intercepts_`, predictions and validation scores (Polyak,
        Juditsky 1992, SIAM J. Control Optim. 30): after update t it is the mean of the parameters
        after updates 1 to t, weighted by ``weight_averaging**age``; the initial ones are not in it
        (the correction of Kingma, Ba 2015, section 7.2). 0.99 to 0.999 suit some thousand updates.
        `loss_curve_` is the loss of the parameters themselves, with which `partial_fit` goes on; a
        warm start begins at the average. None: no average. Not available with 'lbfgs' and with
        ``normalization='batch'``.

    normalization : {'batch', 'layer'}, None or array-like of shape (n_hidden_layers,), default=None
        Normalisation of what enters the activation of each hidden layer, one for all layers or one
        for each; a scale and a shift per unit are trained, without L2 term. It lets deep networks
        train at higher learning rates.

        - 'batch': every unit to mean 0 and variance 1 over the mini-batch, in predictions by
          running averages of both with momentum 0.1 (Ioffe and Szegedy 2015, arXiv:1502.03167).
          Each mini-batch needs two samples at least, all are in memory at once, and `sample_weight`
          has no influence on mean and variance. Biases of such layers have no effect and stay as
          drawn. Not available with 'lbfgs'.
        - 'layer': every sample to mean 0 and variance 1 over the units of the layer (Ba, Kiros and
          Hinton 2016, arXiv:1607.06450).

        Variances are increased by 1e-5 before the square root is taken.

    residual : bool, default=False
        Whether hidden layers add what they are given to what they put out, after dropout; where the
        width changes it goes through a projection without biases, which is trained and regularised
        like other weights (He, Zhang, Ren and Sun 2016, arXiv:1512.03385). It lets networks of many
        layers train.

    dropout : float or array-like of shape (n_hidden_layers,), default=0.0
        Share of the outputs of each hidden layer that training sets to 0, in [0, 1), one number for
        all layers or one for each: other ones in every step, drawn at random, while those that are
        kept are divided by ``1 - dropout``. It keeps units from relying on one another; 0.2 to 0.5
        suits wide networks that overfit (Srivastava et al. 2014, JMLR 15). Predictions and
        validation scores use all units, `loss_curve_` is the loss with dropout. Not available with
        'lbfgs'.

    input_dropout : float, default=0.0
        The same of the features in X, zeros included; rarely above 0.2.

    fit_intercept : bool, default=True
        Whether the layers have biases. If not, `intercepts_` are zeros, which are neither drawn nor
        trained; a warm start keeps those that it finds.

    n_jobs : int or None, default=None
        Number of threads for training and prediction. None: all CPUs available to the process, one
        inside a joblib worker. -1: all CPUs. Small problems use one thread in any case. Results do
        not depend on it.

    precision : {'auto', 'float32', 'float64', 'bfloat16'}, default='auto'
        Arithmetic of training and prediction, and with it the dtype of weights and results:

        - 'auto': float32 for X of dtype float32, float64 for any other
        - 'float32': halves time and memory for float64 X and is accurate enough for nearly all fits
          with 'sgd' and 'adam'
        - 'float64': for any X
        - 'bfloat16': float32, except that operands of matrix products (X, weights, activations,
          back-propagated gradients) are rounded to bfloat16, which has eight significant bits.
          Sums, weights, biases, optimizer state and losses are float32. Meant for large networks on
          CPUs with instructions for such products (AMX, AVX512_BF16); elsewhere slower than
          'float32'. 'lbfgs' may end early on so coarse a loss.

    class_weight : dict, list of dicts, 'balanced' or None, default=None
        Weights of the classes in the loss: that of a sample is multiplied by that of its class.
        Scores are not affected. A dict has weights by class, 1 for those left out. 'balanced' is
        ``n_samples / (n_classes * np.bincount(y))``, each class then counts as much as any other;
        not available in `partial_fit`. Multilabel targets take 'balanced', or a list with a dict
        ``{0: weight, 1: weight}`` for each label; weights of a sample's labels are multiplied.

    loss : str or Loss, default='log_loss'
        Loss, a name or an object of :mod:`fastmlp.losses`:

        - 'log_loss': cross-entropy of class probabilities.
        - 'focal': cross-entropy times (1 - p)^gamma, p of the true class (Lin et al., 2017).

        With two classes, or several labels per sample, p is the probability of what is true of each
        output, and the loss is summed over the outputs.

    label_smoothing : float, default=0.0
        Share e of a target that is spread over all K classes [6]_: the network is trained for the
        probability ``1 - e + e / K`` of the true class and ``e / K`` of the others, which keeps it
        from growing overconfident; typically 0.1. With two classes, and for each label of several,
        K is 2. `loss_` is that of the smoothed targets; accuracies are not affected.

    scoring : str, callable or None, default=None
        Score on the validation data; greater is better. None: the accuracy. 'loss': the loss with
        its sign changed, without regularisation. Else a name known to
        :func:`sklearn.metrics.get_scorer`, or a callable ``scoring(estimator, X_val, y_val)``,
        which is given ``sample_weight=`` if there are sample weights.

    target_loss : float or None, default=None
        Training stops after the first epoch whose loss, `loss_`, is no greater. None: never.

    target_score : float or None, default=None
        Training stops after the first epoch whose validation score is no smaller. It needs
        validation data: those of `early_stopping`, or your own, which may be the training data.
        None: never.

    time_limit : float or None, default=None
        Seconds after which training stops, if need be within an epoch: that epoch counts as one,
        and its loss is that of the samples it has seen ('lbfgs': after an iteration). None: no
        limit. Results then depend on the speed of the machine.

    init : str, Initializer or pair of lists of arrays, default='auto'
        Weights that training from scratch starts from: the name of a distribution, an object of
        :mod:`fastmlp.initializers`, or a pair ``(coefs, intercepts)`` of lists of arrays, shaped
        like `coefs_` and `intercepts_`, which are copied; None for intercepts of 0.

        - 'auto': scikit-learn's form of 'glorot_uniform', which draws biases like weights.
        - 'glorot_uniform': uniform in ``[-r, r]`` with ``r = sqrt(6 / (fan_in + fan_out))``.
        - 'glorot_normal': normal of standard deviation ``sqrt(2 / (fan_in + fan_out))``.
        - 'he_uniform': uniform in ``[-r, r]`` with ``r = sqrt(6 / fan_in)``.
        - 'he_normal': normal of standard deviation ``sqrt(2 / fan_in)``.
        - 'lecun_normal': normal of standard deviation ``sqrt(1 / fan_in)``.
        - 'orthogonal': orthonormal rows or columns, whichever are fewer, times `gain`.
        - 'zeros': weights of 0, to show that hidden units that start alike stay alike.
        - 'normal': normal of standard deviation `scale`, whatever the widths.
        - 'uniform': uniform in ``[-scale, scale]``, whatever the widths.

    mixup : float, default=0.0
        Parameter of the Beta distribution by which each sample is mixed with another one: X,
        targets and sample weights become ``s * own + (1 - s) * other``, with new pairs in every
        epoch and a new share s in every mini-batch (Zhang et al. 2018, ICLR, arXiv:1710.09412). 0:
        none; 0.1 to 0.4 are usual. CSR matrices stay sparse, with up to twice the non-zeros.
        `loss_curve_` is the loss on mixed samples, validation data are not mixed. Not available
        with 'lbfgs'.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels in ascending order; for multilabel targets, the column indices of y.

    class_weight_ : ndarray of shape (n_classes,) or (n_labels, 2)
        Weights of the classes in the loss; for multilabel targets, of the absence and the presence
        of each label. Set only if `class_weight` is.

    loss_ : float
        Loss of the last epoch: the mean over its mini-batches, regularisation included. For 'lbfgs'
        the loss at the end.

    best_loss_ : float or None
        Smallest entry of `loss_curve_`; None with `early_stopping`. Not set by ``solver='lbfgs'``.

    loss_curve_ : list of float
        Loss of every epoch since training from scratch began. Warm starts and `partial_fit` append
        to it, so that it grows without bound. Not set by ``solver='lbfgs'``.

    learning_rate_curve_ : list of float
        Learning rate of every epoch in `loss_curve_`, without the bias corrections of 'adam'; NaN
        where it is not known. Not set by ``solver='lbfgs'``.

    validation_scores_ : list of float or None
        Accuracy on the validation data, or what `scoring` says, after every epoch; None without
        validation data.

    best_validation_score_ : float or None
        Largest entry of `validation_scores_`; None without validation data.

    best_iteration_ : int
        Position in `validation_scores_`, counted from 1, of the best score; 0 if all are NaN. There
        only with validation data.

    validation_loss_curve_ : list of float
        Loss on the validation data after every epoch, without regularisation. Set only if
        validation data are given to `fit` or `scoring` is set.

    stop_reason_ : str or None
        Why the last call stopped: the parameter that ended it, 'n_iter_no_change', 'max_iter',
        'target_loss', 'target_score', 'time_limit', for 'lbfgs' also 'tol' and 'max_fun'; or
        'callback', 'interrupted' by Ctrl-C, or 'abnormal' if 'lbfgs' found no better weights. None
        after a `partial_fit` that ended with its epoch.

    t_ : int
        Number of samples trained on, each counted once per epoch.

    coefs_ : list of ndarray of shape (fan_in, fan_out)
        Weights of each layer, in the dtype of X ('lbfgs': float64) or as `precision` says. They may
        be changed or replaced before `partial_fit`, a warm start or a prediction by float32 or
        float64 arrays of the same shapes.

    intercepts_ : list of ndarray of shape (fan_out,)
        Biases of each layer, likewise.

    norm_scales_ : list of (ndarray of shape (width,) or None)
        Scales of normalised hidden layers, None for others. Set only with `normalization`.

    norm_shifts_ : list of (ndarray of shape (width,) or None)
        Their shifts, likewise.

    norm_means_ : list of (ndarray of shape (width,) or None)
        Running means of hidden layers with batch normalisation, None for others; likewise.

    norm_variances_ : list of (ndarray of shape (width,) or None)
        Their running variances, likewise.

    skip_coefs_ : list of (ndarray of shape (fan_in, fan_out) or None)
        Projections of residual hidden layers, None where the width does not change. Set only with
        `residual`.

    n_iter_ : int
        Number of epochs or iterations of the last call.

    n_layers_ : int
        Number of layers, input and output included.

    n_outputs_ : int
        Width of the output layer.

    out_activation_ : str
        Activation of the output layer: 'softmax', or 'logistic' for two classes or several labels
        per sample.

    n_features_in_ : int
        Number of features in X.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features. Set only if X has names that are all strings.

    See Also
    --------
    MLPRegressor : The same network for regression.
    sklearn.neural_network.MLPClassifier : The original.

    Notes
    -----
    Weights start as uniform random numbers whose range depends on the widths of the two layers that
    they join [2]_ (see [3]_ for rectified units). Two classes share
    one output with a logistic function, more than two pass through a softmax; labels that may go
    together have a logistic function each, and their log losses are added.

    Everything is computed by a C engine that uses the vector instructions of the CPU at hand and
    several threads. For one `random_state` the fit agrees with that of
    :class:`sklearn.neural_network.MLPClassifier` to rounding. Unlike there, `partial_fit` and
    warm starts may follow a fit with another solver or another `early_stopping`.

    References
    ----------
    .. [1] G. E. Hinton, "Connectionist learning procedures", Artificial Intelligence 40 (1989),
       185-234.
    .. [2] X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural
       networks", AISTATS 2010.
    .. [3] K. He, X. Zhang, S. Ren, J. Sun, "Delving deep into rectifiers: surpassing human-level
       performance on ImageNet classification", ICCV 2015, arXiv:1502.01852.
    .. [4] D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015,
       arXiv:1412.6980.
    .. [5] R. H. Byrd, P. Lu, J. Nocedal, C. Zhu, "A limited memory algorithm for bound constrained
       optimization", SIAM Journal on Scientific Computing 16 (1995), 1190-1208.
    .. [6] C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna, "Rethinking the Inception
       architecture for computer vision", CVPR 2016, section 7.
    .. [7] L. Xu, S. Qiu, B. Yuan et al., "In-database machine learning with CorgiPile: stochastic
       gradient descent without full data shuffle", SIGMOD 2022.

    Examples
    --------
    >>> from fastmlp import MLPClassifier
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.model_selection import train_test_split
    >>> X, y = make_classification(n_samples=200, random_state=0)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> clf = MLPClassifier(max_iter=500, random_state=0).fit(X_train, y_train)
    >>> clf.predict(X_test[:5])
    array([0, 0, 1, 0, 0])
    >>> clf.predict_proba(X_test[:2]).round(2)
    array([[0.87, 0.13],
           [0.94, 0.06]])
    >>> clf.score(X_test, y_test)
    0.94
    """

    # The name by which scikit-learn's exporters know the loss of a classifier.
    loss = "log_loss"

    _original_name: ClassVar[str] = "MLPClassifier"
    _parameter_constraints: ClassVar[dict[str, list]] = constraints("MLPClassifier")
    _y_options: ClassVar[dict[str, bool]] = {}
    _y_plain_kinds: ClassVar[str] = "biufU"
    _default_score: ClassVar[str] = "accuracy"

    # Written by tools/generate.py from _parameters.py: begin
    classes_: NDArray[Any]
    class_weight_: NDArray[Any]
    loss_: float
    best_loss_: float | None
    loss_curve_: list[float]
    learning_rate_curve_: list[float]
    validation_scores_: list[float] | None
    best_validation_score_: float | None
    validation_loss_curve_: list[float]
    stop_reason_: str | None
    t_: int
    coefs_: list[NDArray[Any]]
    intercepts_: list[NDArray[Any]]
    norm_scales_: list[NDArray[Any] | None]
    norm_shifts_: list[NDArray[Any] | None]
    norm_means_: list[NDArray[Any] | None]
    norm_variances_: list[NDArray[Any] | None]
    skip_coefs_: list[NDArray[Any] | None]
    n_iter_: int
    n_layers_: int
    n_outputs_: int
    out_activation_: str
    n_features_in_: int
    feature_names_in_: NDArray[Any]

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] | NDArray[np.integer] | str = (100,),
        activation: ActivationName | Activation | Sequence[ActivationName | Activation] = "relu",
        *,
        solver: OptimizerName | Optimizer = "adam",
        alpha: float = 0.0001,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: ScheduleName | Schedule | Callable[[int], float] = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool | Literal["chunks"] = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 0.0001,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-08,
        n_iter_no_change: int | float = 10,
        max_fun: int = 15000,
        max_grad_norm: float | None = None,
        weight_averaging: float | None = None,
        normalization: str | Sequence[str | None] | None = None,
        residual: bool = False,
        dropout: float | Sequence[float] = 0.0,
        input_dropout: float = 0.0,
        fit_intercept: bool = True,
        n_jobs: int | None = None,
        precision: Literal["auto", "float32", "float64", "bfloat16"] = "auto",
        class_weight: dict[Any, float] | list[dict[int, float]] | Literal["balanced"] | None = None,
        loss: ClassifierLossName | Loss = "log_loss",
        label_smoothing: float = 0.0,
        scoring: str | Callable[..., float] | None = None,
        target_loss: float | None = None,
        target_score: float | None = None,
        time_limit: float | None = None,
        init: InitializerName | Initializer | tuple[list[Any], list[Any] | None] = "auto",
        mixup: float = 0.0,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.max_grad_norm = max_grad_norm
        self.weight_averaging = weight_averaging
        self.normalization = normalization
        self.residual = residual
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.fit_intercept = fit_intercept
        self.n_jobs = n_jobs
        self.precision = precision
        self.class_weight = class_weight
        self.loss = loss
        self.label_smoothing = label_smoothing
        self.scoring = scoring
        self.target_loss = target_loss
        self.target_score = target_score
        self.time_limit = time_limit
        self.init = init
        self.mixup = mixup

    # end

    def _encode(self, y: Any, incremental: bool) -> Labels:
        """Turn labels into positions in ``classes_``, which a fit from scratch finds in y."""
        if hasattr(self, "classes_") and (self.warm_start or incremental):
            labels, _ = encode_labels(y, self._label_binarizer, self.classes_, self.warm_start)
        else:
            labels, self._label_binarizer = encode_labels(y)
            self.classes_ = self._label_binarizer.classes_
        labels.take_loss(self.loss, self.label_smoothing)
        self.__dict__.pop("class_weight_", None)
        if self.class_weight is not None:
            labels.class_weight = class_weights(self.class_weight, labels, self.classes_)
            self.class_weight_ = labels.class_weight
        return labels

    def _encode_known(self, y: Any) -> Labels:
        is_multilabel = self._label_binarizer.y_type_.startswith("multilabel")
        if (y.ndim == 2) != is_multilabel:
            found, known = ("one class", "several labels")[:: 1 if is_multilabel else -1]
            raise ValueError(f"y has {found} per sample, but that of fit had {known}.")
        labels, _ = encode_labels(y, self._label_binarizer, self.classes_)
        labels.take_loss(self.loss, self.label_smoothing)
        labels.class_weight = self.__dict__.get("class_weight_")
        return labels

    def _take_classes(self, y: Any, classes: Any) -> None:
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"class_weight={self.class_weight!r} is not supported by partial_fit, which sees "
                "a part of the data only. Pass the result of sklearn.utils.class_weight."
                "compute_class_weight on a large enough sample of y, as a dict."
            )
        if is_first_partial_fit(self, classes):
            multilabel = type_of_target(y).startswith("multilabel")
            self._label_binarizer = LabelBinarizer().fit(y if multilabel else classes)

    def _check_first_classes(self, classes: Any) -> None:
        if classes is None and not hasattr(self, "classes_"):
            raise ValueError(
                "classes must be passed on the first call to fit_batches: the labels of all."
            )

    def _has_stochastic_solver(self) -> bool:
        if not is_stochastic(self.solver):
            raise AttributeError(
                "partial_fit is only available for stochastic"
                f" optimizers. {self.solver} is not stochastic."
            )
        return True

    @available_if(_has_stochastic_solver)
    @fit_context
    def partial_fit(
        self,
        X: Matrix,
        y: Matrix,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        *,
        X_val: Matrix | None = None,
        y_val: Matrix | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Train for one epoch on the given data. There is no such method with 'lbfgs'.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data, as for `fit`.

        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Class labels, as for `fit`. Not every class need occur.

        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each sample in the loss.

        classes : array-like of shape (n_classes,), default=None
            All classes that will ever occur. Needed in the first call only; later it may be
            left out or repeated.

        X_val, y_val, sample_weight_val : array-like, default=None
            Validation data, as for `fit`.

        Returns
        -------
        self : object
            The estimator, one epoch further.

        Raises
        ------
        ValueError
            If `classes` is missing in the first call or differs from before, if y holds others,
            if `early_stopping` is set without validation data, or for the reasons given for `fit`.

        Notes
        -----
        After `fit` the optimizer goes on from where it was: with the running averages of 'adam' or
        the velocity of 'sgd'. They are two thirds of what an estimator holds in memory ('adam'), so
        a pickle of an estimator whose last training call was `fit` leaves them out, and a
        `partial_fit` after loading it starts the optimizer anew. After `partial_fit` a pickle
        holds them.

        With `early_stopping` and validation data, calls are epochs like those of `fit`: the call
        after which the score has not improved for more than `n_iter_no_change` epochs sets
        ``stop_reason_ = "n_iter_no_change"`` and returns the weights that scored best, later ones
        return at once. `fit`, or another `n_iter_no_change`, begins anew.
        """
        train, validation = (X, y, sample_weight), (X_val, y_val, sample_weight_val)
        return self._fit(train, validation, incremental=True, classes=classes)

    def predict(self, X: Matrix) -> Any:
        """Predict the class of each sample.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_labels)
            Labels, in the dtype of ``classes_``. If a sample may have several: an indicator
            matrix, sparse if the y of `fit` was.
        """
        outputs = self._outputs(X)
        binarizer = self._label_binarizer
        if binarizer.sparse_input_:
            return binarizer.inverse_transform(outputs)
        codes = decode(outputs, binarizer.y_type_, len(binarizer.classes_))
        return binarizer.classes_[codes] if codes.ndim == 1 else codes.astype(np.int64)

    if TYPE_CHECKING:  # scikit-learn's, which has no annotations

        def score(self, X: Matrix, y: Matrix, sample_weight: ArrayLike | None = None) -> float: ...

    def decision_function(self, X: Matrix) -> NDArray[Any]:
        """Return the logits: the outputs before logistic function or softmax.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
            With two classes log-odds of ``classes_[1]``, positive where it is predicted; with more
            classes, or several labels per sample, a column for each. Those of softmax are defined
            up to a number that is the same for all classes.
        """
        return self.raw_predict(X)

    def predict_proba(self, X: Matrix) -> NDArray[Any]:
        """Predict the probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        y_prob : ndarray of shape (n_samples, n_classes)
            Probabilities in the order of ``classes_``, float32 if both X and the weights are,
            else float64. Rows sum to one, unless a sample may have several labels.
        """
        outputs = self._outputs(X)
        if self.n_outputs_ > 1:
            return outputs
        y_prob = np.empty((len(outputs), 2), outputs.dtype)
        y_prob[:, 1:] = outputs
        np.subtract(1, outputs, out=y_prob[:, :1])
        return y_prob

    def predict_log_proba(self, X: Matrix) -> NDArray[Any]:
        """Predict the logarithm of the probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        log_y_prob : ndarray of shape (n_samples, n_classes)
            The logarithm of what `predict_proba` returns.
        """
        y_prob = self.predict_proba(X)
        return np.log(y_prob, out=y_prob)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, BaseMLP):
    """Multilayer perceptron regressor.

    A feedforward network [1]_ that minimises the squared error or the Poisson deviance:
    scikit-learn's estimator of the same name, computed faster.

    Parameters
    ----------
    loss : str or Loss, default='squared_error'
        Loss, a name or an object of :mod:`fastmlp.losses`:

        - 'squared_error': half the squared error; predictions are means.
        - 'absolute_error': the absolute error, robust against outliers; predictions are medians.
        - 'huber': half the squared error up to delta, from there on linear (Huber, 1964).
        - 'quantile': max(q e, (q - 1) e) of errors e; predictions are q-quantiles (Koenker and
          Bassett, 1978).
        - 'log_cosh': ln(cosh(y - prediction)), a smooth 'huber' (Green, 1990).
        - 'poisson': half the Poisson deviance, for counts and rates; predictions are positive.
        - 'gamma': half the gamma deviance, for positive targets; predictions are positive.
        - 'tweedie': half the Tweedie deviance, for zeros and positive numbers; predictions are
          positive.

        The last three, and only they, need `out_activation` to be positive, and targets that are
        positive too ('gamma') or not negative. ``Quantile([0.1, 0.5, 0.9])`` predicts one quantile
        for each level, as columns (the last axis) which never cross: each is trained for itself,
        and predictions are sorted, which brings them no further from the true quantiles [6]_.

    hidden_layer_sizes : int, array-like of shape (n_hidden_layers,) or str, default=(100,)
        Width of each hidden layer, from input to output. An int means one hidden layer; an empty
        sequence none, which makes the model linear; a string such as '64-64-32' is a sequence that
        any search can try. One or two layers of 50 to 500 units suit most tabular data; time and
        memory grow with the product of neighbouring widths.

    activation : str or Activation, or list, default='relu'
        Activation of the hidden layers, a name or an object of :mod:`fastmlp.activations`, or a
        list of them with one for each hidden layer. 'relu' is the usual choice and the fastest;
        'tanh' is smooth, which 'lbfgs' likes, and bounded. Initial weights are larger by
        ``sqrt(3)`` for all but 'logistic', as in scikit-learn.

        - 'identity': f(x) = x; in all layers it makes the model linear.
        - 'logistic': the sigmoid f(x) = 1 / (1 + exp(-x)).
        - 'tanh': the hyperbolic tangent f(x) = tanh(x).
        - 'relu': the rectified linear unit f(x) = max(0, x).
        - 'leaky_relu': f(x) = x for x > 0, else slope x: no unit dies (Maas et al., 2013).
        - 'elu': f(x) = x for x > 0, else alpha (exp(x) - 1) (Clevert et al., 2016).
        - 'selu': 1.0507 times 'elu' with alpha = 1.6733: keeps mean 0, variance 1 (Klambauer et
          al., 2017).
        - 'celu': f(x) = x for x > 0, else alpha (exp(x / alpha) - 1): smooth (Barron, 2017).
        - 'gelu': f(x) = x Phi(x), Phi the normal distribution function (Hendrycks, Gimpel, 2016).
        - 'silu': f(x) = x / (1 + exp(-x)), also called swish (Elfwing et al., 2018).
        - 'mish': f(x) = x tanh(ln(1 + exp(x))) (Misra, 2020).
        - 'softplus': f(x) = ln(1 + exp(x)), a smooth 'relu' (Dugas et al., 2001).
        - 'softsign': f(x) = x / (1 + abs(x)) (Bergstra et al., 2009).
        - 'relu6': f(x) = min(max(0, x), 6) (Krizhevsky, 2010).
        - 'hardswish': f(x) = x min(max(0, x + 3), 6) / 6, a cheap 'silu' (Howard et al., 2019).
        - 'hardsigmoid': f(x) = min(max(0, x + 3), 6) / 6, a cheap 'logistic' (Courbariaux et al.,
          2015).

    solver : str or Optimizer, default='adam'
        Optimizer, a name or an object of :mod:`fastmlp.optimizers`. 'adam' works well on most data
        without tuning, 'lbfgs' converges faster and further on small data (up to a few thousand
        samples), 'sgd' can end at a better model once its learning rate is tuned. All of them need
        features of similar scale: put a :class:`~sklearn.preprocessing.StandardScaler` in front. An
        object carries its own parameters; the strings take `momentum` and `nesterovs_momentum`
        ('sgd'), `beta_1`, `beta_2` and `epsilon` ('adam') and `max_fun` ('lbfgs'), all others the
        defaults of their objects. `alpha` applies to all; with 'adamw' set it to 0.

        - 'lbfgs': SciPy's quasi-Newton method with limited memory, on all of X at once.
        - 'sgd': gradient descent on mini-batches with momentum.
        - 'adam': steps scaled for each weight by running averages of its gradient and of its
          square.
        - 'adamw': adam with decoupled weight decay.
        - 'nadam': adam with Nesterov's momentum.
        - 'radam': adam with its first steps rectified for the variance of their denominator.
        - 'amsgrad': adam with the largest average of squared gradients so far.
        - 'rmsprop': steps scaled for each weight by a running average of its squared gradient.
        - 'adagrad': steps scaled for each weight by the sum of its squared gradients so far.
        - 'adadelta': steps scaled by running averages of the squares of both steps and gradients.
        - 'lion': steps of one size for all weights, along the sign of an average of gradients.

    alpha : float, default=0.0001
        Strength of the L2 regularisation: the loss of a mini-batch of n samples gains
        ``alpha / (2 n)`` times the sum of all squared weights. Biases are not penalised. Values
        from 1e-5 to 10 on a logarithmic grid are worth a search.

    batch_size : int or 'auto', default='auto'
        Number of samples in a mini-batch; 'auto' is ``min(200, n_samples)``. The last mini-batch of
        an epoch may be smaller. Not used by 'lbfgs'.

    learning_rate : str or Schedule, or callable, default='constant'
        Learning rate schedule, a name, an object of :mod:`fastmlp.schedules`, or a function that
        takes the number of an epoch, the first being 0, and returns a factor by which
        `learning_rate_init` is multiplied:

        - 'constant': it stays at `learning_rate_init`.
        - 'invscaling': after each epoch it is ``learning_rate_init / (t_ + 1) ** power_t``.
        - 'adaptive': it is divided by 5 whenever `n_iter_no_change` successive epochs have brought
          no progress by `tol`; training stops when that happens below 1e-6. Not used by 'adam'.
        - 'cosine': it falls along half a cosine wave, over `max_iter` epochs.
        - 'one_cycle': it rises to `learning_rate_init` and falls far below where it began.
        - 'exponential': every epoch it is multiplied by 0.95; in epoch e the factor is
          ``decay**e``.
        - 'step': every 30 epochs it is multiplied by 0.1; in epoch e the factor is
          ``decay ** (e // every)``.
        - 'plateau': it is multiplied by 0.1 after more than 5 successive epochs without progress by
          `tol`.

        Objects may begin with a warm-up. Not used by 'lbfgs', which refuses all but scikit-learn's
        'constant', 'invscaling' and 'adaptive'.

    learning_rate_init : float, default=0.001
        Initial learning rate, the most important parameter of all solvers but 'lbfgs', which does
        not use it: typically 1e-4 to 1e-2 for 'adam' and its relatives, 1e-3 to 1e-1 for 'sgd',
        1e-2 for 'adagrad', 1.0 for 'adadelta', 1e-4 for 'lion'.

    power_t : float, default=0.5
        Exponent of the schedule 'invscaling'. Only used by 'sgd'.

    max_iter : int, default=200
        Largest number of epochs, for 'lbfgs' of iterations. A fit that ends there warns.

    shuffle : bool or 'chunks', default=True
        Whether to shuffle the samples before each epoch. 'chunks' is for files that are larger than
        memory: pieces of 1 MB of consecutive samples follow each other at random, and those of 32
        MB are read and shuffled together [7]_. So a file is read in long pieces, and no list of all
        samples is made. It takes a copy of each sample per epoch; mini-batches are less mixed than
        those of a full shuffle if the samples are sorted. Not used by 'lbfgs'.

    random_state : int, RandomState instance or None, default=None
        Seed or generator of the initial weights, the validation split and the order of the samples.
        The same int gives the same fit, bit by bit, for any number of threads. None uses NumPy's
        global generator.

    tol : float, default=0.0001
        Least improvement of the loss, or of the validation score with `early_stopping`, that counts
        as progress. For 'lbfgs': training stops when no entry of the projected gradient is larger.

    verbose : bool or int, default=False
        Whether to print loss and validation score of each epoch. 2: a progress bar instead, if the
        package tqdm is installed.

    warm_start : bool, default=False
        Whether `fit` continues from the weights of the previous call instead of new random ones.
        Loss curve and counters are continued, the optimizer's state starts anew.

    momentum : float, default=0.9
        Momentum coefficient of 'sgd', in [0, 1]; typically 0.9 to 0.99.

    nesterovs_momentum : bool, default=True
        Whether 'sgd' uses Nesterov's form of momentum.

    early_stopping : bool, default=False
        Whether to hold out `validation_fraction` of the data, stop when the score on it, see
        `scoring`, has not improved by `tol` for more than `n_iter_no_change` epochs, and return the
        weights that scored best. Nothing is held out if validation data are given to `fit`; without
        them it is not used by 'lbfgs' and not available in `partial_fit`.

    validation_fraction : float, default=0.1
        Fraction of the data that `early_stopping` holds out, in [0, 1).

    beta_1 : float, default=0.9
        Decay of the average of gradients kept by 'adam', in [0, 1).

    beta_2 : float, default=0.999
        Decay of the average of squared gradients kept by 'adam', in [0, 1).

    epsilon : float, default=1e-08
        Added to the denominator of the step of 'adam', for stability, as no less than the smallest
        normal number of the arithmetic (1.2e-38 in float32).

    n_iter_no_change : int or inf, default=10
        Number of successive epochs without progress by `tol` that are tolerated. Not used by
        'lbfgs'.

    max_fun : int, default=15000
        Largest number of evaluations of the loss by 'lbfgs'.

    max_grad_norm : float or None, default=None
        Norm to which the gradient of a mini-batch, that of all parameters together and with the L2
        term, is scaled down if it is larger (Pascanu, Mikolov, Bengio 2013, ICML): typically 0.5 to
        5, where single mini-batches would throw training off its course. None: no limit. Not
        available with 'lbfgs'.

    weight_averaging : float or None, default=None
        Decay, in (0, 1), of an exponential moving average of all parameters that takes the place of
        the last ones in `coefs_` and `intercepts_`, predictions and validation scores (Polyak,
        Juditsky 1992, SIAM J. Control Optim. 30): after update t it is the mean of the parameters
        after updates 1 to t, weighted by ``weight_averaging**age``; the initial ones are not in it
        (the correction of Kingma, Ba 2015, section 7.2). 0.99 to 0.999 suit some thousand updates.
        `loss_curve_` is the loss of the parameters themselves, with which `partial_fit` goes on; a
        warm start begins at the average. None: no average. Not available with 'lbfgs' and with
        ``normalization='batch'``.

    normalization : {'batch', 'layer'}, None or array-like of shape (n_hidden_layers,), default=None
        Normalisation of what enters the activation of each hidden layer, one for all layers or one
        for each; a scale and a shift per unit are trained, without L2 term. It lets deep networks
        train at higher learning rates.

        - 'batch': every unit to mean 0 and variance 1 over the mini-batch, in predictions by
          running averages of both with momentum 0.1 (Ioffe and Szegedy 2015, arXiv:1502.03167).
          Each mini-batch needs two samples at least, all are in memory at once, and `sample_weight`
          has no influence on mean and variance. Biases of such layers have no effect and stay as
          drawn. Not available with 'lbfgs'.
        - 'layer': every sample to mean 0 and variance 1 over the units of the layer (Ba, Kiros and
          Hinton 2016, arXiv:1607.06450).

        Variances are increased by 1e-5 before the square root is taken.

    residual : bool, default=False
        Whether hidden layers add what they are given to what they put out, after dropout; where the
        width changes it goes through a projection without biases, which is trained and regularised
        like other weights (He, Zhang, Ren and Sun 2016, arXiv:1512.03385). It lets networks of many
        layers train.

    dropout : float or array-like of shape (n_hidden_layers,), default=0.0
        Share of the outputs of each hidden layer that training sets to 0, in [0, 1), one number for
        all layers or one for each: other ones in every step, drawn at random, while those that are
        kept are divided by ``1 - dropout``. It keeps units from relying on one another; 0.2 to 0.5
        suits wide networks that overfit (Srivastava et al. 2014, JMLR 15). Predictions and
        validation scores use all units, `loss_curve_` is the loss with dropout. Not available with
        'lbfgs'.

    input_dropout : float, default=0.0
        The same of the features in X, zeros included; rarely above 0.2.

    fit_intercept : bool, default=True
        Whether the layers have biases. If not, `intercepts_` are zeros, which are neither drawn nor
        trained; a warm start keeps those that it finds.

    n_jobs : int or None, default=None
        Number of threads for training and prediction. None: all CPUs available to the process, one
        inside a joblib worker. -1: all CPUs. Small problems use one thread in any case. Results do
        not depend on it.

    precision : {'auto', 'float32', 'float64', 'bfloat16'}, default='auto'
        Arithmetic of training and prediction, and with it the dtype of weights and results:

        - 'auto': float32 for X of dtype float32, float64 for any other
        - 'float32': halves time and memory for float64 X and is accurate enough for nearly all fits
          with 'sgd' and 'adam'
        - 'float64': for any X
        - 'bfloat16': float32, except that operands of matrix products (X, weights, activations,
          back-propagated gradients) are rounded to bfloat16, which has eight significant bits.
          Sums, weights, biases, optimizer state and losses are float32. Meant for large networks on
          CPUs with instructions for such products (AMX, AVX512_BF16); elsewhere slower than
          'float32'. 'lbfgs' may end early on so coarse a loss.

    out_activation : str or Activation, default='auto'
        Activation of the output layer: 'auto' is the usual one of the loss, 'exp' for 'poisson',
        'gamma' and 'tweedie' and 'identity' for all others; else one of 'identity', 'logistic',
        'tanh', 'relu', 'softplus', 'exp' or its object. 'relu', 'softplus' and 'exp' are for
        targets that are never negative, 'logistic' and 'tanh' for targets in (0, 1) and (-1, 1).

    scoring : str, callable or None, default=None
        Score on the validation data; greater is better. None: the R^2 score. 'loss': the loss with
        its sign changed, without regularisation. Else a name known to
        :func:`sklearn.metrics.get_scorer`, or a callable ``scoring(estimator, X_val, y_val)``,
        which is given ``sample_weight=`` if there are sample weights.

    target_loss : float or None, default=None
        Training stops after the first epoch whose loss, `loss_`, is no greater. None: never.

    target_score : float or None, default=None
        Training stops after the first epoch whose validation score is no smaller. It needs
        validation data: those of `early_stopping`, or your own, which may be the training data.
        None: never.

    time_limit : float or None, default=None
        Seconds after which training stops, if need be within an epoch: that epoch counts as one,
        and its loss is that of the samples it has seen ('lbfgs': after an iteration). None: no
        limit. Results then depend on the speed of the machine.

    init : str, Initializer or pair of lists of arrays, default='auto'
        Weights that training from scratch starts from: the name of a distribution, an object of
        :mod:`fastmlp.initializers`, or a pair ``(coefs, intercepts)`` of lists of arrays, shaped
        like `coefs_` and `intercepts_`, which are copied; None for intercepts of 0.

        - 'auto': scikit-learn's form of 'glorot_uniform', which draws biases like weights.
        - 'glorot_uniform': uniform in ``[-r, r]`` with ``r = sqrt(6 / (fan_in + fan_out))``.
        - 'glorot_normal': normal of standard deviation ``sqrt(2 / (fan_in + fan_out))``.
        - 'he_uniform': uniform in ``[-r, r]`` with ``r = sqrt(6 / fan_in)``.
        - 'he_normal': normal of standard deviation ``sqrt(2 / fan_in)``.
        - 'lecun_normal': normal of standard deviation ``sqrt(1 / fan_in)``.
        - 'orthogonal': orthonormal rows or columns, whichever are fewer, times `gain`.
        - 'zeros': weights of 0, to show that hidden units that start alike stay alike.
        - 'normal': normal of standard deviation `scale`, whatever the widths.
        - 'uniform': uniform in ``[-scale, scale]``, whatever the widths.

    mixup : float, default=0.0
        Parameter of the Beta distribution by which each sample is mixed with another one: X,
        targets and sample weights become ``s * own + (1 - s) * other``, with new pairs in every
        epoch and a new share s in every mini-batch (Zhang et al. 2018, ICLR, arXiv:1710.09412). 0:
        none; 0.1 to 0.4 are usual. CSR matrices stay sparse, with up to twice the non-zeros.
        `loss_curve_` is the loss on mixed samples, validation data are not mixed. Not available
        with 'lbfgs'.

    Attributes
    ----------
    loss_ : float
        Loss of the last epoch: the mean over its mini-batches, regularisation included. For 'lbfgs'
        the loss at the end.

    best_loss_ : float or None
        Smallest entry of `loss_curve_`; None with `early_stopping`. Not set by ``solver='lbfgs'``.

    loss_curve_ : list of float
        Loss of every epoch since training from scratch began. Warm starts and `partial_fit` append
        to it, so that it grows without bound. Not set by ``solver='lbfgs'``.

    learning_rate_curve_ : list of float
        Learning rate of every epoch in `loss_curve_`, without the bias corrections of 'adam'; NaN
        where it is not known. Not set by ``solver='lbfgs'``.

    validation_scores_ : list of float or None
        R^2 score on the validation data, or what `scoring` says, after every epoch; None without
        validation data.

    best_validation_score_ : float or None
        Largest entry of `validation_scores_`; None without validation data.

    best_iteration_ : int
        Position in `validation_scores_`, counted from 1, of the best score; 0 if all are NaN. There
        only with validation data.

    validation_loss_curve_ : list of float
        Loss on the validation data after every epoch, without regularisation. Set only if
        validation data are given to `fit` or `scoring` is set.

    stop_reason_ : str or None
        Why the last call stopped: the parameter that ended it, 'n_iter_no_change', 'max_iter',
        'target_loss', 'target_score', 'time_limit', for 'lbfgs' also 'tol' and 'max_fun'; or
        'callback', 'interrupted' by Ctrl-C, or 'abnormal' if 'lbfgs' found no better weights. None
        after a `partial_fit` that ended with its epoch.

    t_ : int
        Number of samples trained on, each counted once per epoch.

    coefs_ : list of ndarray of shape (fan_in, fan_out)
        Weights of each layer, in the dtype of X ('lbfgs': float64) or as `precision` says. They may
        be changed or replaced before `partial_fit`, a warm start or a prediction by float32 or
        float64 arrays of the same shapes.

    intercepts_ : list of ndarray of shape (fan_out,)
        Biases of each layer, likewise.

    norm_scales_ : list of (ndarray of shape (width,) or None)
        Scales of normalised hidden layers, None for others. Set only with `normalization`.

    norm_shifts_ : list of (ndarray of shape (width,) or None)
        Their shifts, likewise.

    norm_means_ : list of (ndarray of shape (width,) or None)
        Running means of hidden layers with batch normalisation, None for others; likewise.

    norm_variances_ : list of (ndarray of shape (width,) or None)
        Their running variances, likewise.

    skip_coefs_ : list of (ndarray of shape (fan_in, fan_out) or None)
        Projections of residual hidden layers, None where the width does not change. Set only with
        `residual`.

    n_iter_ : int
        Number of epochs or iterations of the last call.

    n_layers_ : int
        Number of layers, input and output included.

    n_outputs_ : int
        Width of the output layer.

    levels_ : ndarray of shape (n_levels,)
        Levels of the quantiles that are predicted. Set only if they are several.

    out_activation_ : str
        Activation of the output layer: `out_activation`, or the usual one of the loss.

    n_features_in_ : int
        Number of features in X.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features. Set only if X has names that are all strings.

    See Also
    --------
    MLPClassifier : The same network for classification.
    sklearn.neural_network.MLPRegressor : The original.

    Notes
    -----
    Weights start as uniform random numbers whose range depends on the widths of the two layers that
    they join [2]_ (see [3]_ for rectified units). With several
    outputs the squared error that is reported is the mean over them, the one that is minimised
    their sum; Poisson deviances are added in both.

    Everything is computed by a C engine that uses the vector instructions of the CPU at hand and
    several threads. For one `random_state` the fit agrees with that of
    :class:`sklearn.neural_network.MLPRegressor` to rounding. Unlike there, `partial_fit` and
    warm starts may follow a fit with another solver or another `early_stopping`.

    References
    ----------
    .. [1] G. E. Hinton, "Connectionist learning procedures", Artificial Intelligence 40 (1989),
       185-234.
    .. [2] X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural
       networks", AISTATS 2010.
    .. [3] K. He, X. Zhang, S. Ren, J. Sun, "Delving deep into rectifiers: surpassing human-level
       performance on ImageNet classification", ICCV 2015, arXiv:1502.01852.
    .. [4] D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015,
       arXiv:1412.6980.
    .. [5] R. H. Byrd, P. Lu, J. Nocedal, C. Zhu, "A limited memory algorithm for bound constrained
       optimization", SIAM Journal on Scientific Computing 16 (1995), 1190-1208.
    .. [6] V. Chernozhukov, I. Fernandez-Val, A. Galichon, "Quantile and probability curves without
       crossing", Econometrica 78 (2010), 1093-1125.
    .. [7] L. Xu, S. Qiu, B. Yuan et al., "In-database machine learning with CorgiPile: stochastic
       gradient descent without full data shuffle", SIGMOD 2022.

    Examples
    --------
    >>> from fastmlp import MLPRegressor
    >>> from sklearn.datasets import make_regression
    >>> from sklearn.model_selection import train_test_split
    >>> X, y = make_regression(n_samples=200, n_features=5, noise=1.0, random_state=0)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> reg = MLPRegressor(solver="lbfgs", tol=1e-2, random_state=0).fit(X_train, y_train)
    >>> reg.predict(X_test[1:3]).round(-1)
    array([-250.,  130.])
    >>> reg.score(X_test, y_test) > 0.99
    True
    """

    _original_name: ClassVar[str] = "MLPRegressor"
    _parameter_constraints: ClassVar[dict[str, list]] = constraints("MLPRegressor")
    _y_options: ClassVar[dict[str, bool]] = {"y_numeric": True}
    _y_plain_kinds: ClassVar[str] = "biuf"

    # Written by tools/generate.py from _parameters.py: begin
    loss_: float
    best_loss_: float | None
    loss_curve_: list[float]
    learning_rate_curve_: list[float]
    validation_scores_: list[float] | None
    best_validation_score_: float | None
    validation_loss_curve_: list[float]
    stop_reason_: str | None
    t_: int
    coefs_: list[NDArray[Any]]
    intercepts_: list[NDArray[Any]]
    norm_scales_: list[NDArray[Any] | None]
    norm_shifts_: list[NDArray[Any] | None]
    norm_means_: list[NDArray[Any] | None]
    norm_variances_: list[NDArray[Any] | None]
    skip_coefs_: list[NDArray[Any] | None]
    n_iter_: int
    n_layers_: int
    n_outputs_: int
    levels_: NDArray[Any]
    out_activation_: str
    n_features_in_: int
    feature_names_in_: NDArray[Any]

    def __init__(
        self,
        loss: LossName | Loss = "squared_error",
        hidden_layer_sizes: int | Sequence[int] | NDArray[np.integer] | str = (100,),
        activation: ActivationName | Activation | Sequence[ActivationName | Activation] = "relu",
        *,
        solver: OptimizerName | Optimizer = "adam",
        alpha: float = 0.0001,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: ScheduleName | Schedule | Callable[[int], float] = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool | Literal["chunks"] = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 0.0001,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-08,
        n_iter_no_change: int | float = 10,
        max_fun: int = 15000,
        max_grad_norm: float | None = None,
        weight_averaging: float | None = None,
        normalization: str | Sequence[str | None] | None = None,
        residual: bool = False,
        dropout: float | Sequence[float] = 0.0,
        input_dropout: float = 0.0,
        fit_intercept: bool = True,
        n_jobs: int | None = None,
        precision: Literal["auto", "float32", "float64", "bfloat16"] = "auto",
        out_activation: OutActivationName | Activation | Literal["auto"] = "auto",
        scoring: str | Callable[..., float] | None = None,
        target_loss: float | None = None,
        target_score: float | None = None,
        time_limit: float | None = None,
        init: InitializerName | Initializer | tuple[list[Any], list[Any] | None] = "auto",
        mixup: float = 0.0,
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.max_grad_norm = max_grad_norm
        self.weight_averaging = weight_averaging
        self.normalization = normalization
        self.residual = residual
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.fit_intercept = fit_intercept
        self.n_jobs = n_jobs
        self.precision = precision
        self.out_activation = out_activation
        self.scoring = scoring
        self.target_loss = target_loss
        self.target_score = target_score
        self.time_limit = time_limit
        self.init = init
        self.mixup = mixup

    # end

    @property
    def _default_score(self) -> str:
        return "d2_pinball" if "levels_" in self.__dict__ else "r2"

    def _encode(self, y: Any, incremental: bool) -> Values:
        values = Values(y, self.loss, self.out_activation)
        self.__dict__.pop("levels_", None)
        if values.levels:
            self.levels_ = np.array(values.levels)
        return values

    def _encode_known(self, y: Any) -> Values:
        values = Values(y, self.loss, self.out_activation)
        if values.n_outputs != self.n_outputs_:
            raise ValueError(
                f"y has {values.n_outputs} outputs, but the network has {self.n_outputs_}."
            )
        return values

    @fit_context
    def partial_fit(
        self,
        X: Matrix,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: Matrix | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Train for one epoch on the given data.

        With 'lbfgs', which knows no epochs, as many iterations as `fit` would make, from the
        weights at hand.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data, as for `fit`.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Target values.

        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each sample in the loss.

        X_val, y_val, sample_weight_val : array-like, default=None
            Validation data, as for `fit`.

        Returns
        -------
        self : object
            The estimator, one epoch further.

        Raises
        ------
        ValueError
            If `early_stopping` is set without validation data, or for the reasons given for `fit`.

        Notes
        -----
        After `fit` the optimizer goes on from where it was: with the running averages of 'adam' or
        the velocity of 'sgd'. They are two thirds of what an estimator holds in memory ('adam'), so
        a pickle of an estimator whose last training call was `fit` leaves them out, and a
        `partial_fit` after loading it starts the optimizer anew. After `partial_fit` a pickle
        holds them.

        With `early_stopping` and validation data, calls are epochs like those of `fit`: the call
        after which the score has not improved for more than `n_iter_no_change` epochs sets
        ``stop_reason_ = "n_iter_no_change"`` and returns the weights that scored best, later ones
        return at once. `fit`, or another `n_iter_no_change`, begins anew.
        """
        train, validation = (X, y, sample_weight), (X_val, y_val, sample_weight_val)
        return self._fit(train, validation, incremental=True)

    def predict(self, X: Matrix) -> NDArray[Any]:
        """Predict the target of each sample.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predictions, float32 if both X and the weights are, else float64. Of several levels of
            quantiles, increasing ones along a last axis of length n_levels.
        """
        outputs = self._outputs(X)
        if "levels_" in self.__dict__:
            quantiles = ordered_quantiles(outputs, self.levels_)
            return quantiles[:, 0] if quantiles.shape[1] == 1 else quantiles
        return outputs.ravel() if outputs.shape[1] == 1 else outputs

    def score(self, X: Matrix, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the coefficient of determination R^2 of the prediction.

        Of several levels of quantiles it is D^2 of the pinball loss, averaged over targets and
        levels: the share of the loss of constant quantiles that the prediction explains
        (:func:`sklearn.metrics.d2_pinball_score`).

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            True values.

        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each sample in the score.

        Returns
        -------
        score : float
            1 for a perfect prediction, 0 for the best constant one.
        """
        if "levels_" not in self.__dict__:
            return super().score(X, y, sample_weight)
        quantiles = ordered_quantiles(self._outputs(X), self.levels_)
        y = check_array(y, ensure_2d=False, dtype="numeric").reshape(len(quantiles), -1)
        return d2_of_quantiles(y, quantiles, self.levels_, sample_weight)


def load_model(path: str | os.PathLike[str]) -> MLPClassifier | MLPRegressor:
    """Read an estimator from a file that its method `save_model` has written.

    Nothing in a file is executed. Files that are truncated, damaged, made up or of a newer format
    are refused, in time and memory in proportion to their size.

    Parameters
    ----------
    path : str or path-like
        Name of the file.

    Returns
    -------
    estimator : MLPClassifier or MLPRegressor
        The estimator as it was: the same parameters, the same predictions bit by bit. Training goes
        on (`partial_fit`, ``warm_start``) as it does after unpickling.

    Raises
    ------
    ValueError
        If this is no such file, or not what was written.

    Examples
    --------
    >>> import os, tempfile
    >>> from fastmlp import MLPRegressor, load_model
    >>> reg = MLPRegressor(solver="lbfgs", random_state=0).fit([[0.0], [1.0], [2.0]], [1, 3, 5])
    >>> path = os.path.join(tempfile.mkdtemp(), "line.safetensors")
    >>> reg.save_model(path)
    >>> load_model(path).predict([[3.0]]) == reg.predict([[3.0]])
    array([ True])
    """
    return _files.load(path, {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor})
