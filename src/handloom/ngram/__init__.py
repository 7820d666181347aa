"""n-gram language models, beside the engine: counted, smoothed and scored by NumPy; kept as ARPA files.

`files.py` opens and publishes files, `corpus.py` turns text into numbers, `counts.py` counts, `kneser_ney.py` and
`baselines.py` make probabilities of counts, `table.py` holds them, `scoring.py` reads them, `arpa_writer.py` and
`arpa_reader.py` are the way to other programs, `model.py` is what a user sees.
"""
