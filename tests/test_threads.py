"""Within a fit BLAS has one thread, and outside of it as many as the user set."""

import functools
import itertools
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from threadpoolctl import ThreadpoolController, threadpool_limits

from sklearn_softmax import SoftmaxRegressionClassifier
from sklearn_softmax._rows import blas_threads as _blas_threads
from sklearn_softmax._rows import blocks as _blocks
from sklearn_softmax._rows import worker_threads as _worker_threads
from sklearn_softmax._rows.blas_threads import BlasRestored, OneBlasThread
from sklearn_softmax._rows.blocks import RowBlocks

X = np.arange(12.0).reshape(6, 2) % 7
Y = np.array([0, 1, 2, 0, 1, 2])
OUTSIDE = 3


def n_threads():
    """Return the number of threads of every BLAS, as this thread sees it."""
    return {library["num_threads"] for library in _controller().info()}


@functools.cache
def _controller():
    return ThreadpoolController().select(user_api="blas")


# (Apple's Accelerate, for one, does not tell.)
pytestmark = pytest.mark.skipif(not n_threads(), reason="no BLAS that tells its number of threads")


@pytest.fixture(autouse=True)
def user_setting():
    """The user has set a number of threads, in the main thread; nobody changes it for good."""
    with threadpool_limits(limits=OUTSIDE, user_api="blas"):
        assert n_threads() == {OUTSIDE}
        yield
        assert n_threads() == {OUTSIDE}


class Looker:
    """A callback that looks at the number of threads from where a fit is."""

    def __init__(self):
        self.seen = set()

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        if context.parent is not None:
            self.seen |= n_threads()


def numbers_of_a_fit(solver="lbfgs"):
    """Return the numbers of threads within a fit, and after it."""
    looker = Looker()
    clf = SoftmaxRegressionClassifier(solver=solver, random_state=0, tol=0.1)
    clf.set_callbacks(looker).fit(X, Y)
    return looker.seen, n_threads()


def in_another_thread(function, *arguments):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_a_fit_in_any_thread_has_one(solver):
    """Also in a second thread after the first, though threadpoolctl lets only one set OpenBLAS."""
    for _ in range(2):
        assert numbers_of_a_fit(solver) == ({1}, {OUTSIDE})
        assert in_another_thread(numbers_of_a_fit, solver) == ({1}, {OUTSIDE})


def test_a_fit_where_another_thread_owns_the_limit():
    def own_the_limit(started, ended):
        with threadpool_limits(limits=OUTSIDE, user_api="blas"):
            started.set()
            ended.wait()

    started, ended = threading.Event(), threading.Event()
    owner = threading.Thread(target=own_the_limit, args=(started, ended))
    owner.start()
    started.wait()
    try:
        assert numbers_of_a_fit() == ({1}, {OUTSIDE})
    finally:
        ended.set()
        owner.join()


def test_a_prediction_that_is_over_at_once_leaves_blas_alone():
    with RowBlocks(np.ones((2, 2)), n_classes=2):
        assert n_threads() == {OUTSIDE}


def orders_of_three_stays():
    """Return every order in which three stays can begin and end."""
    events = [(who, what) for who in range(3) for what in ("enter", "leave")]
    return [
        order
        for order in itertools.permutations(events)
        if all(order.index((who, "enter")) < order.index((who, "leave")) for who in range(3))
    ]


@pytest.mark.parametrize("n_workers", [1, 3])
def test_stays_begin_and_end_in_any_order(n_workers):
    pools = [ThreadPoolExecutor(1) for _ in range(n_workers)]
    for order in orders_of_three_stays():
        stays, within = [OneBlasThread() for _ in range(3)], set()
        for who, what in order:
            (within.add if what == "enter" else within.remove)(who)
            call = pools[who % n_workers].submit(getattr(stays[who], what))
            assert what == "leave" or call.result() == OUTSIDE
            call.result()
            assert n_threads() == {1 if within else OUTSIDE}, order
    for pool in pools:
        pool.shutdown()


def test_leaving_twice_does_not_end_the_stay_of_another():
    first, second = OneBlasThread(), OneBlasThread()
    first.enter()
    second.enter()
    first.enter()
    first.leave()
    first.leave()
    assert n_threads() == {1}
    second.leave()


def test_a_number_that_is_set_within_is_kept_for_outside():
    first, second = OneBlasThread(), OneBlasThread()
    first.enter()
    threadpool_limits(limits=2, user_api="blas")
    assert second.enter() == 2
    assert n_threads() == {1}
    first.leave()
    second.leave()
    assert n_threads() == {2}
    threadpool_limits(limits=OUTSIDE, user_api="blas")


@pytest.mark.needs_sklearn("1.9")
def test_a_limit_that_is_lifted_within_a_fit_is_set_again():
    """As another library does when it ends in another thread."""

    class Lifter(Looker):
        def on_fit_task_end(self, estimator, context):
            super().on_fit_task_end(estimator, context)
            threadpool_limits(limits=2, user_api="blas")

    looker = Lifter()
    SoftmaxRegressionClassifier().set_callbacks(looker).fit(X, Y)
    assert looker.seen == {1}
    assert n_threads() == {2}
    threadpool_limits(limits=OUTSIDE, user_api="blas")


def test_many_fits_at_once():
    expected = SoftmaxRegressionClassifier(n_jobs=2).fit(X, Y).coef_

    def fit(number):
        clf = SoftmaxRegressionClassifier(n_jobs=2, warm_start=True)
        for _ in range(number % 3 + 1):
            clf.fit(X, Y).predict(X)
        return clf.set_params(warm_start=False).fit(X, Y).coef_

    with ThreadPoolExecutor(8) as pool:
        for coef in pool.map(fit, range(40)):
            assert_array_equal(coef, expected)


# Interrupts --------------------------------------------------------------------------------


# Whose contexts begin and end the limit.
WITH_CONTEXTS = _blocks.__file__, _worker_threads.__file__


def is_of_interest(code):
    """Return whether code has to do with the limit."""
    of_threads = code.co_filename == _blas_threads.__file__
    return of_threads or (
        code.co_filename in WITH_CONTEXTS and code.co_name in ("__enter__", "__exit__")
    )


class Interrupt:
    """Raises KeyboardInterrupt before the n-th step of the interpreter in code of interest.

    Steps are calls, instructions and returns, which are finer than where Ctrl-C may strike.
    """

    def __init__(self, n):
        self.left = n

    def __call__(self, frame, event, argument):
        if not is_of_interest(frame.f_code):
            return None
        frame.f_trace_opcodes = True
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return self

    def __enter__(self):
        self._before = sys.gettrace()
        sys.settrace(self)

    def __exit__(self, *exc_info):
        sys.settrace(self._before)


def interrupted_everywhere(function, every=1):
    """Call a function until it was interrupted at every step, or at some; return at how many."""
    for n in itertools.count(1, every):
        try:
            with Interrupt(n):
                function()
        except KeyboardInterrupt:
            # (While it is handled its frames are there, and nothing was cleaned up with them.)
            assert n_threads() == {OUTSIDE}, n
            assert not _blas_threads._limits._stays, n
            assert not _blas_threads._limits._lock._is_owned(), n
        else:
            break
    return n // every


def fit():
    SoftmaxRegressionClassifier(tol=0.5).fit(X, Y)


def fit_by_partial_fit():
    SoftmaxRegressionClassifier(random_state=0).partial_fit(X, Y, classes=[0, 1, 2])


def fit_within_a_fit():
    class Fitter(Looker):
        def on_fit_task_begin(self, estimator, context):
            if context.parent is None:
                fit()

    SoftmaxRegressionClassifier(tol=0.5).set_callbacks(Fitter()).fit(X, Y)


def predict():
    clf = SoftmaxRegressionClassifier(n_jobs=1)
    clf.coef_, clf.intercept_, clf.classes_ = np.ones((1, 2)), np.zeros(1), np.array([0, 1])
    clf.predict(X)


@pytest.mark.parametrize(
    ("function", "every"), [(fit, 1), (fit_by_partial_fit, 4), (fit_within_a_fit, 11), (predict, 1)]
)
def test_interrupts(function, every):
    function()
    assert interrupted_everywhere(function, every) > 100


def test_an_interrupt_within_another_fit():
    """The number stays one as long as the other is within."""
    other = OneBlasThread()
    in_another_thread(other.enter)
    for n in range(1, 200, 7):
        try:
            with Interrupt(n):
                fit()
        except KeyboardInterrupt:
            pass
        assert n_threads() == {1}
        assert set(_blas_threads._limits._stays) == {other}
    in_another_thread(other.leave)


def test_a_context_that_is_closed_late():
    def rows():
        with RowBlocks(X, Y, n_classes=3):
            yield

    with BlasRestored():
        late = rows()
        next(late)
        assert n_threads() == {1}
    assert n_threads() == {OUTSIDE}
    with RowBlocks(X, Y, n_classes=3):
        late.close()
        assert n_threads() == {1}


# Processes ---------------------------------------------------------------------------------


def numbers_in_a_fork():
    """Return the numbers of threads in a forked child: at its start, within a fit, after it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            numbers = n_threads(), *numbers_of_a_fit()
            os.write(writer, repr(numbers).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        numbers = pipe.read()
    os.waitpid(child, 0)
    return numbers


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


@forks
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_fork_while_another_thread_fits():
    expected = repr(({OUTSIDE}, {1}, {OUTSIDE}))
    assert numbers_in_a_fork() == expected
    stay = OneBlasThread()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(stay.enter).result()
        assert numbers_in_a_fork() == expected
        assert n_threads() == {1}
        pool.submit(stay.leave).result()


@forks
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_fork_while_the_lock_is_held():
    held, release = threading.Event(), threading.Event()

    def hold():
        with _blas_threads._limits._lock:
            held.set()
            release.wait()

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        held.wait()
        assert numbers_in_a_fork() == repr(({OUTSIDE}, {1}, {OUTSIDE}))
        release.set()
        holding.result()


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib(backend):
    numbers = joblib.Parallel(n_jobs=2, backend=backend)(
        joblib.delayed(numbers_of_a_fit)() for _ in range(4)
    )
    for within, outside in numbers:
        assert within == {1}
        assert backend == "threading" or outside == numbers[0][1]
    assert n_threads() == {OUTSIDE}


# Libraries with a number for each thread -----------------------------------------------------


class PerThread:
    """A BLAS as MKL is: each thread has a number of its own."""

    internal_api = "mkl"

    def __init__(self):
        self._local = threading.local()

    def get_num_threads(self):
        return getattr(self._local, "number", OUTSIDE)

    def set_num_threads(self, number):
        self._local.number = number


@pytest.fixture
def per_thread(monkeypatch):
    controller = PerThread()
    libraries = *_blas_threads._libraries(), _blas_threads._Library(controller)
    monkeypatch.setattr(_blas_threads, "_libraries", lambda: libraries)
    return controller


def test_each_thread_of_a_fit_has_one(per_thread):
    rows = RowBlocks(np.ones((4096, 2)), np.zeros(4096, dtype=int), n_classes=2, n_jobs=3)
    barrier = threading.Barrier(3)

    def look(start, stop):
        barrier.wait()
        return threading.get_ident(), per_thread.get_num_threads()

    with rows:
        seen = rows.share(look, 4096, work=1 << 30)
        assert per_thread.get_num_threads() == 1
        assert in_another_thread(per_thread.get_num_threads) == OUTSIDE
    assert len({thread for thread, _ in seen}) == 3
    assert {number for _, number in seen} == {1}
    assert per_thread.get_num_threads() == OUTSIDE


def test_threads_with_numbers_of_their_own_end_in_any_order(per_thread):
    pools = [ThreadPoolExecutor(1) for _ in range(3)]
    for order in orders_of_three_stays():
        stays, within = [OneBlasThread() for _ in range(3)], set()
        for who, what in order:
            (within.add if what == "enter" else within.remove)(who)
            pools[who].submit(getattr(stays[who], what)).result()
            for number, pool in enumerate(pools):
                expected = 1 if number in within else OUTSIDE
                assert pool.submit(per_thread.get_num_threads).result() == expected
    for pool in pools:
        pool.shutdown()


def test_interrupts_where_each_thread_has_a_number(per_thread):
    def and_look():
        fit()
        assert per_thread.get_num_threads() == OUTSIDE

    assert interrupted_everywhere(and_look, every=4) > 100
    assert per_thread.get_num_threads() == OUTSIDE
