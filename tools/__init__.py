"""Commands that neither train nor test."""
