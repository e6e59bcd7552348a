"""Adapters to trainers: they feed the op and put back what it returns; no arithmetic of the method lives here.

Most modules beside this one know no trainer: the options of a config, a batch from embedding to metrics and picture,
the text of messages. A trainer's folder or file holds the seam between them and that trainer alone.
"""
