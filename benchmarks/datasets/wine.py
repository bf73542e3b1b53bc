from benchmark_utils import BundledDataset


class Dataset(BundledDataset):
    """178 x 13, 3 classes, unscaled."""

    name = "wine"
