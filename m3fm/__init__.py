"""M3FM: a platform for the medical multimodal multitask foundation model of lung cancer screening.

Research software, not a medical device.
"""

__version__ = "0.1.0"
