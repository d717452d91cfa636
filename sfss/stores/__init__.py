"""The stores: one small interface (base.py), several kinds."""
