"""A busy machine is no failure: hypothesis has no deadline here."""

from hypothesis import settings

settings.register_profile("llmprep", deadline=None)
settings.load_profile("llmprep")
