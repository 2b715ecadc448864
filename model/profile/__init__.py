"""Profile the model on a device: micro-benchmarks, whole-model runs, what the kernels are, and a trace.

Everything here measures; nothing predicts. Rows leave as :class:`costsim.calibration.measurement.Measurement`, so that
`costsim calibrate` reads them as it reads any table of kernels.
"""
