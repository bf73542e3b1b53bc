"""Minibatch SGD beside PyTorch, SGDClassifier and MLPClassifier.

SOFTMAX_DATA=FOLDER python benchmarks/minibatch.py [textbook goal tables stream text]
"""

import argparse
import os
import time
import tracemalloc
import warnings

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))

import numpy as np
import torch
from everyday import seconds
from panel import BENCHMARK, selected, versions
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from sklearn_softmax import SoftmaxRegressionClassifier

TEXTBOOK = {
    "solver": "sgd",
    "C": np.inf,
    "batch_size": 256,
    "learning_rate": "constant",
    "learning_rate_init": 0.1,
    "momentum": 0.0,
}
TABLES = (
    "iris",
    "wine",
    "breast_cancer",
    "digits",
    "satimage",
    "pendigits",
    "wine_quality_white",
    "dry_bean",
    "letter",
    "gas_drift_8of10",
    "adult_onehot",
    "shuttle",
    "otto",
    "covertype_93k",
    "clinc151",
    "newsgroups20",
    "fashion_mnist",
    "mnist",
    "correlated",
)
N_EPOCHS = 20


def datasets(*names):
    """Return data sets of the panel, for all their parameters' values."""
    return selected(BENCHMARK.get_datasets(), list(names), "dataset")


def data(dataset):
    """Return X, y with the classes counted from 0."""
    X, y = dataset.get_data().values()
    return X, np.unique(y, return_inverse=True)[1]


def split(dataset):
    """Return the rows to train on and those held out."""
    X, y = data(dataset)
    return train_test_split(X, y, test_size=0.2, random_state=0, stratify=y)


class PyTorchSoftmax:
    """The textbook loop: a linear layer, cross-entropy, SGD."""

    def __init__(self, n_features, n_classes, rate, *, batch_size=256, momentum=0.0):
        self.model = torch.nn.Linear(n_features, n_classes)
        torch.nn.init.zeros_(self.model.weight)
        torch.nn.init.zeros_(self.model.bias)
        self.batch_size = batch_size
        self.optimizer = torch.optim.SGD(self.model.parameters(), rate, momentum=momentum)

    def step(self, X, y):
        loss = torch.nn.functional.cross_entropy(self.model(X), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def epoch(self, X, y, order=None):
        """Take an epoch over slices of tensors; return the mean loss."""
        batches = range(0, len(y), self.batch_size)
        if order is None:
            parts = (slice(start, start + self.batch_size) for start in batches)
        else:
            parts = (order[start : start + self.batch_size] for start in batches)
        return np.mean([self.step(X[part], y[part]) for part in parts])

    def predict_proba(self, X):
        with torch.no_grad():
            return torch.softmax(self.model(torch.from_numpy(X)).double(), 1).numpy()

    def score(self, X, y):
        return float((self.predict_proba(X).argmax(1) == y).mean())


def fashion_mnist():
    return split(datasets("fashion_mnist[scale=1]")[0])


def textbook():
    """The same batches, losses and accuracies as PyTorch, and the time of an epoch."""
    X, X_test, y, y_test = fashion_mnist()
    X, X_test = (part.astype(np.float32) / 255 for part in (X, X_test))
    tensors = torch.from_numpy(X), torch.from_numpy(y)
    clf = SoftmaxRegressionClassifier(**TEXTBOOK, shuffle=False)
    peer = PyTorchSoftmax(X.shape[1], 10, 0.1)
    apart = []
    for _ in range(10):
        clf.partial_fit(X, y, classes=np.arange(10))
        loss = peer.epoch(*tensors)
        accuracies = clf.score(X_test, y_test), peer.score(X_test, y_test)
        apart.append((abs(clf.loss_curve_[-1] - loss), abs(accuracies[0] - accuracies[1])))
    print(
        f"textbook, {len(y)} rows, 10 epochs: loss {clf.loss_curve_[-1]:.5f}, test accuracy "
        f"{accuracies[0]:.4f}; apart from PyTorch by at most {np.max(apart, axis=0)}"
    )
    epoch = SoftmaxRegressionClassifier(**TEXTBOOK, max_iter=1, random_state=0, tol=0)
    warnings.simplefilter("ignore", ConvergenceWarning)
    ours = seconds(lambda: epoch.fit(X, y))
    views = seconds(lambda: epoch.set_params(shuffle=False).fit(X, y))

    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*tensors), batch_size=256, shuffle=True
    )
    theirs = {
        "slices, shuffled": lambda: peer.epoch(*tensors, torch.randperm(len(y))),
        "slices, not shuffled": lambda: peer.epoch(*tensors),
        "DataLoader": lambda: [peer.step(*batch) for batch in loader],
    }
    print(f"an epoch: ours {1e3 * ours:.0f} ms shuffled, {1e3 * views:.0f} ms not shuffled")
    for name, function in theirs.items():
        taken = seconds(function, 3)
        base = views if "not" in name else ours
        print(f"  PyTorch, {name}: {1e3 * taken:.0f} ms, {taken / base:.2f}x")


def goal(accuracy=0.84):
    """Time to an accuracy on Fashion-MNIST: ours on raw pixels at the defaults."""
    X, X_test, y, y_test = fashion_mnist()
    warnings.simplefilter("ignore", ConvergenceWarning)
    ours = None
    for n_epochs in range(1, N_EPOCHS + 1):
        clf = SoftmaxRegressionClassifier(solver="sgd", max_iter=n_epochs, random_state=0)
        taken = seconds(lambda clf=clf: clf.fit(X, y), 3)
        if clf.score(X_test, y_test) >= accuracy:
            ours = taken
            break
    reached = f"{ours:.2f} s" if ours else "not reached"
    print(f"to {accuracy:.0%} on raw pixels, defaults: {reached}, {n_epochs} epochs")
    X, X_test = (part.astype(np.float32) / 255 for part in (X, X_test))
    tensors = torch.from_numpy(X), torch.from_numpy(y)
    peer, taken, n_epochs = PyTorchSoftmax(X.shape[1], 10, 0.1), 0.0, 0
    while n_epochs < 100:
        start = time.perf_counter()
        peer.epoch(*tensors, torch.randperm(len(y)))
        taken += time.perf_counter() - start
        n_epochs += 1
        if peer.score(X_test, y_test) >= accuracy:
            break
    ratio = f", {taken / ours:.1f}x" if ours else ""
    print(f"  PyTorch, textbook, pixels / 255: {taken:.2f} s, {n_epochs} epochs{ratio}")


def held_out(model, X_test, y_test):
    proba = np.clip(model.predict_proba(X_test), 1e-15, 1.0)
    return log_loss(y_test, proba / proba.sum(axis=1, keepdims=True))


def peers(X, y, X_test, y_test, rate):
    """Yield the name and held-out log loss of each peer at a learning rate."""
    sgd = SGDClassifier(
        loss="log_loss",
        alpha=1 / len(y),  # our penalty at C=1
        learning_rate="constant",
        eta0=rate,
        max_iter=N_EPOCHS,
        average=True,
        n_jobs=os.cpu_count(),
        random_state=0,
    )
    yield "SGDClassifier", held_out(sgd.fit(X, y), X_test, y_test)
    if hasattr(X, "toarray"):  # (the two below take minutes an epoch, or have no sparse layer)
        return
    mlp = MLPClassifier((), learning_rate_init=rate, max_iter=N_EPOCHS, random_state=0)
    yield "MLPClassifier", held_out(mlp.fit(X, y), X_test, y_test)
    X, X_test = (part.astype(np.float32) for part in (X, X_test))
    loop = PyTorchSoftmax(X.shape[1], y.max() + 1, rate, momentum=0.9)
    for _ in range(N_EPOCHS):
        loop.epoch(torch.from_numpy(X), torch.from_numpy(y), torch.randperm(len(y)))
    if np.isfinite(loop.predict_proba(X_test)).all():
        yield "PyTorch", held_out(loop, X_test, y_test)


def tables(names, *, with_peers=True):
    """Log loss on held-out rows after 20 epochs, relative to the optimum's."""
    print(f"log loss on held-out rows after at most {N_EPOCHS} epochs, over that of the optimum")
    warnings.simplefilter("ignore")
    names = [f"{name}[scale=1]" if name.endswith("mnist") else name for name in names]
    for dataset in datasets(*names):
        X, X_test, y, y_test = split(dataset)
        scaler = StandardScaler(with_mean=not hasattr(X, "toarray")).fit(X)
        scaled = scaler.transform(X), scaler.transform(X_test)
        optima, found, taken = {}, {}, {}
        for kind, (train, test) in {"raw": (X, X_test), "scaled": scaled}.items():
            best = SoftmaxRegressionClassifier().fit(train, y)
            optima[kind] = held_out(best, test, y_test)
            clf = SoftmaxRegressionClassifier(solver="sgd", max_iter=N_EPOCHS, random_state=0)
            start = time.perf_counter()
            clf.fit(train, y)
            taken[kind] = time.perf_counter() - start
            # A penalty means another thing on other scales: another optimum.
            found[f"ours {kind}"] = held_out(clf, test, y_test) / optima[kind]
            for rate in 10.0 ** np.arange(-4, 1) if with_peers else ():
                for peer, value in peers(train, y, test, y_test, rate):
                    key = f"{peer} {kind}"
                    found[key] = min(value / optima["raw"], found.get(key, np.inf))
        shares = ", ".join(f"{key} {value:.3f}" for key, value in found.items())
        print(
            f"{dataset}: optimum {optima['raw']:.4f}, scaled {optima['scaled']:.4f}; {shares}; "
            f"ours took {taken['raw']:.2f} s, scaled {taken['scaled']:.2f} s",
            flush=True,
        )


def stream():
    """partial_fit on chunks: rows a second beside fit, and memory."""
    X, _, y, _ = split(datasets("covertype_93k")[0])
    options = {"random_state": 0, "batch_size": 256}
    warnings.simplefilter("ignore", ConvergenceWarning)
    whole = SoftmaxRegressionClassifier(solver="sgd", max_iter=1, **options)
    fit = seconds(lambda: whole.fit(X, y))

    def run():
        clf = SoftmaxRegressionClassifier(**options)
        for start in range(0, len(X), 8192):
            rows = slice(start, start + 8192)
            clf.partial_fit(X[rows], y[rows], classes=np.arange(7))

    chunks = seconds(run)
    print(
        f"stream of {len(X)} rows in chunks of 8192: {len(X) / chunks:.0f} rows/s, "
        f"fit {len(X) / fit:.0f} rows/s, {fit / chunks:.0%}"
    )
    tracemalloc.start()
    clf, peaks = SoftmaxRegressionClassifier(**options), []
    for _ in range(3):
        tracemalloc.reset_peak()
        for start in range(0, len(X), 8192):
            rows = slice(start, start + 8192)
            clf.partial_fit(X[rows], y[rows], classes=np.arange(7))
        peaks.append(tracemalloc.get_traced_memory()[1] / 2**20)
    tracemalloc.stop()
    print(f"  peak memory of the first, second and third pass: {np.round(peaks, 1)} MiB")


def text():
    """Rows a second for each class on sparse text."""
    X, y = data(datasets("newsgroups20")[0])
    n_classes = y.max() + 1
    warnings.simplefilter("ignore", ConvergenceWarning)
    clf = SoftmaxRegressionClassifier(solver="sgd", random_state=0, tol=0)
    epochs = [seconds(lambda n=n: clf.set_params(max_iter=n).fit(X, y), 3) for n in (1, 4)]
    ours = (epochs[1] - epochs[0]) / 3
    peer = SGDClassifier(loss="log_loss", random_state=0, tol=None, n_jobs=os.cpu_count())
    epochs = [seconds(lambda n=n: peer.set_params(max_iter=n).fit(X, y), 3) for n in (1, 4)]
    theirs = (epochs[1] - epochs[0]) / 3
    rates = [len(y) * n_classes / taken for taken in (ours, theirs)]
    print(
        f"an epoch of newsgroups20: {rates[0]:.2e} rows x classes a second, SGDClassifier "
        f"{rates[1]:.2e}: {rates[0] / rates[1]:.2f}x"
    )


PARTS = {"textbook": textbook, "goal": goal, "tables": tables, "stream": stream, "text": text}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    parser.add_argument("--data", nargs="+", default=TABLES, help="data sets for the tables")
    parser.add_argument("--ours", action="store_true", help="leave peers out of the tables")
    arguments = parser.parse_args()
    print(versions())
    for name in arguments.parts or PARTS:
        if name == "tables":
            tables(arguments.data, with_peers=not arguments.ours)
        else:
            PARTS[name]()


if __name__ == "__main__":
    main()
