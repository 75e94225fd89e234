"""Programs of others on the estimators, as on scikit-learn's: `make test-third-party`."""

import numpy as np
import pytest
import sklearn.neural_network as original
from sklearn.datasets import load_iris
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.activations import LeakyReLU
from fastmlp.losses import Huber
from fastmlp.optimizers import SGD

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # theirs
]

X, y = load_iris(return_X_y=True)
SMALL = {"hidden_layer_sizes": (8,), "max_iter": 30, "random_state": 0}
BOTH = (fastmlp, original)


def same(procedure):
    """Run it with both packages and compare the arrays that it returns."""
    ours, theirs = map(procedure, BOTH)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8)


# ---------------------------------------------------------------------------------------- MLflow
@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Function that returns the runs that calls have logged: (estimator, metrics) of each."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("mlflow.sklearn")
    mlflow.set_tracking_uri(tmp_path.as_uri())
    mlflow.set_experiment("test")

    def logged(*calls):
        for call in calls:
            call()
        found = mlflow.search_runs(output_format="list", order_by=["start_time ASC"])
        return [(run.data.tags["estimator_class"], run.data.metrics) for run in found]

    yield logged
    fastmlp.unpatch_sklearn()
    fastmlp.mlflow.autolog(disable=True)


@pytest.mark.parametrize("how", ["function", "patch"])
def test_mlflow_logs_what_it_logs_for_scikit_learn(how, runs):
    import mlflow.sklearn

    if how == "patch":
        fastmlp.patch_sklearn()
        mlflow.sklearn.autolog(silent=True, log_models=False)
        fastmlp.unpatch_sklearn()
    else:
        mlflow.sklearn.autolog(silent=True, log_models=False)
        assert runs(lambda: MLPClassifier(**SMALL).fit(X, y)) == []
        fastmlp.mlflow.autolog(silent=True)
    found = runs(
        lambda: MLPClassifier(**SMALL).fit(X, y).score(X, y),
        lambda: MLPRegressor(**SMALL, loss=Huber()).fit(X, y),
    )
    assert [name for name, _ in found] == ["fastmlp.mlp.MLPClassifier", "fastmlp.mlp.MLPRegressor"]
    assert {"training_log_loss", "training_roc_auc", "training_accuracy_score"} <= found[0][
        1
    ].keys()
    assert {"training_r2_score", "training_mean_squared_error"} <= found[1][1].keys()
    fastmlp.mlflow.autolog(disable=True)
    assert len(runs(lambda: MLPClassifier(**SMALL).fit(X, y))) == 2


# ----------------------------------------------------------------------------------------- skops
@pytest.mark.parametrize("trained", ["fit", "partial_fit"])
def test_skops_has_to_trust_public_classes_only(trained):
    io = pytest.importorskip("skops.io")
    est = MLPRegressor(**SMALL, loss=Huber(), solver=SGD(), activation=LeakyReLU())
    getattr(est, trained)(X, y)
    content = io.dumps(est)
    found = io.get_untrusted_types(data=content)
    expected = ["activations.LeakyReLU", "losses.Huber", "mlp.MLPRegressor", "optimizers.SGD"]
    expected += ["schedules.Constant"] if trained == "partial_fit" else []
    assert found == [f"fastmlp.{name}" for name in expected]
    loaded = io.loads(content, trusted=found)
    np.testing.assert_array_equal(loaded.predict(X), est.predict(X))
    if trained == "partial_fit":  # a file after fit holds no state of the optimizer
        coefs = [one.partial_fit(X, y).coefs_[0] for one in (loaded, est)]
        np.testing.assert_array_equal(*coefs)


# ------------------------------------------------------------------------ explanations, intervals
def test_shap():
    shap = pytest.importorskip("shap")

    def procedure(module):
        model = make_pipeline(StandardScaler(), module.MLPClassifier(**SMALL)).fit(X, y)
        explained = shap.KernelExplainer(model.predict_proba, X[:10]).shap_values(
            X[:3], silent=True
        )
        return np.asarray(explained)

    same(procedure)


def test_lime():
    lime = pytest.importorskip("lime.lime_tabular")

    def procedure(module):
        est = module.MLPClassifier(**SMALL).fit(X, y)
        explainer = lime.LimeTabularExplainer(X, random_state=0)
        found = explainer.explain_instance(X[0], est.predict_proba, num_features=2)
        return [weight for _, weight in found.as_list()]

    same(procedure)


def test_mapie():
    mapie = pytest.importorskip("mapie.regression")

    def procedure(module):
        model = mapie.SplitConformalRegressor(
            module.MLPRegressor(**SMALL), confidence_level=0.9, prefit=False
        )
        model.fit(X[::2], y[::2]).conformalize(X[1::2], y[1::2])
        return model.predict_interval(X[:5])[1]

    same(procedure)


# ---------------------------------------------------------------- resampling, search, ensembles
def test_imbalanced_learn():
    pipeline = pytest.importorskip("imblearn.pipeline")
    over_sampling = pytest.importorskip("imblearn.over_sampling")
    ensemble = pytest.importorskip("imblearn.ensemble")
    rare = (np.arange(len(y)) % 8 == 0).astype(int)

    def procedure(module):
        sampler = over_sampling.SMOTE(random_state=0)
        model = pipeline.make_pipeline(sampler, module.MLPClassifier(**SMALL)).fit(X, rare)
        bag = ensemble.BalancedBaggingClassifier(
            module.MLPClassifier(**SMALL), n_estimators=3, random_state=0
        ).fit(X, rare)
        return model.predict_proba(X), bag.predict_proba(X)

    same(procedure)


def test_optuna():
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def procedure(module):
        def objective(trial):
            params = SMALL | {
                "hidden_layer_sizes": (trial.suggest_int("width", 4, 20),),
                "alpha": trial.suggest_float("alpha", 1e-5, 1, log=True),
            }
            return cross_val_score(module.MLPClassifier(**params), X, y, cv=3).mean()

        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        study.optimize(objective, n_trials=3)
        return [trial.value for trial in study.trials]

    same(procedure)


def test_mlxtend():
    classifier = pytest.importorskip("mlxtend.classifier")
    selection = pytest.importorskip("mlxtend.feature_selection")

    def procedure(module):
        members = [module.MLPClassifier(**SMALL | {"random_state": seed}) for seed in range(2)]
        vote = classifier.EnsembleVoteClassifier(members, voting="soft").fit(X, y)
        selector = selection.SequentialFeatureSelector(members[0], k_features=2, cv=2).fit(X, y)
        return [*vote.predict_proba(X).ravel(), *selector.k_feature_idx_]

    same(procedure)
