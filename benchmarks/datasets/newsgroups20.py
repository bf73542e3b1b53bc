from benchmark_utils import TextDataset


class Dataset(TextDataset):
    """11,314 x 130,107, 20 classes."""

    name = "newsgroups20"
