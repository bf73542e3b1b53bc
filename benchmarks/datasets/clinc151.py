from benchmark_utils import TextDataset


class Dataset(TextDataset):
    """15,100 x 5,146, 151 classes."""

    name = "clinc151"
