from benchmark_utils import FileDataset


class Dataset(FileDataset):
    """24,345 x 441, 1,623 classes."""

    name = "omniglot"
