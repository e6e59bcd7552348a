"""Adapters to trainers: they feed the op and put back what it returns; no arithmetic of the method lives here."""
