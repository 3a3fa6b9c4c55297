"""Guard models behind vLLM, as classifiers. What a guard is asked and how it must answer is a `Family`, without I/O.

A guard that says anything but what its grammar allows has not judged: that is a ClassifierError, never «safe».
"""
