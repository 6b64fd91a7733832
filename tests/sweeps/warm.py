"""Import all that a sweep needs, and run one, so that processes forked from here are quick.

Otherwise most kills would come while a child is still importing.
"""

import tempfile

import toy_study

from lazyrich import sweeps

with tempfile.TemporaryDirectory() as folder:
    study = toy_study.study(h=(3,), seed=(0,), save=True)
    sweeps.run(study, store=folder, progress=False)
    sweeps.load(study, store=folder)
