from benchmark_utils import BundledDataset


class Dataset(BundledDataset):
    """150 x 4, 3 classes."""

    name = "iris"
