"""llmprep: interview questions about large language models, each with a demo that measures the answer."""

__version__ = "0.1.0"
