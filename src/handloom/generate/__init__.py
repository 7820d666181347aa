"""Going on with texts: decoders behind one protocol, sampling, search, stop strings, chat templates."""
