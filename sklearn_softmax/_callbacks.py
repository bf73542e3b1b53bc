"""scikit-learn's callbacks, where it has them: they are new in scikit-learn 1.9."""

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:

    class _NoCallbacks:
        """Takes the place of a ``CallbackContext``, and tells nobody."""

        def call_on_fit_task_begin(self, **reported):
            """Do nothing."""

        def call_on_fit_task_end(self, **reported):
            """Ask for no stop."""
            return False

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Takes the place of scikit-learn's, for an estimator that has no ``set_callbacks``."""

        def _init_callback_context(self, **options):
            return _NoCallbacks()
