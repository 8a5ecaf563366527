"""What do we know for certain?

journal.py   the raw bytes that arrived, in append-only segments: the truth
index.py     identity, place and fate of each record: disposable, rebuilt from the journal and the dataset manifests
state.py     jobs, models, deployments, events: the truth, one writer
reading.py   what the worker and the CLI may read
"""
