from benchmark_utils import FileDataset


class Dataset(FileDataset):
    """7,494 x 16, 10 classes."""

    name = "pendigits"
