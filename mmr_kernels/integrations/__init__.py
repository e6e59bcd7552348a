"""Adapters to trainers: they feed the op and put back what it returns; no arithmetic of the method lives here.

The modules beside this one know no trainer: the options of a config, a scored batch, its metrics and its picture, and
the text of messages. Each trainer's folder holds the seam between them and that trainer alone.
"""
