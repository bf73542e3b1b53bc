from benchmark_utils import BundledDataset


class Dataset(BundledDataset):
    """1,797 x 64, 10 classes, 8 x 8 pixels."""

    name = "digits"
