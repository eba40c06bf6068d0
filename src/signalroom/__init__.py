"""SignalRoom: from sources to the right number in the channel at 07:00, with every number explainable."""

__version__ = "0.1.0"
__all__ = ["__version__"]
