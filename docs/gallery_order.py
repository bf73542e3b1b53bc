"""The order of the examples in the gallery."""

EXAMPLES = [
    "quickstart.py",
    "plot_grid_search.py",
    "plot_paths.py",
    "plot_coefficients.py",
    "plot_boundaries.py",
    "plot_confusion.py",
    "plot_calibration.py",
    "plot_soft_labels.py",
    "plot_entropy.py",
    "plot_loss_curves.py",
    "plot_images.py",
    "plot_streaming.py",
    "large_file.py",
    "parquet.py",
    "cluster.py",
    "gpu.py",
]


class LearnersOrder:
    """Sorts the examples of the gallery."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, name):
        """Return the place of an example."""
        return EXAMPLES.index(name) if name in EXAMPLES else len(EXAMPLES)

    def __repr__(self):
        return "LearnersOrder"
