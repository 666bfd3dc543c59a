"""What can go wrong with a study as a whole; a run that fails is recorded instead."""


class StudyError(RuntimeError):
    """The study cannot start or go on: its file, its data or its cluster is not as it must be."""
