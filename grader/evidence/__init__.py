"""Untrusted files in, validated evidence out."""
