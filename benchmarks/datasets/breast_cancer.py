from benchmark_utils import BundledDataset


class Dataset(BundledDataset):
    """569 x 30, 2 classes, unscaled."""

    name = "breast_cancer"
