from benchmark_utils import FileDataset


class Dataset(FileDataset):
    """16,000 x 16, 26 classes."""

    name = "letter"
