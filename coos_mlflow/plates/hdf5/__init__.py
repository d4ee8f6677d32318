"""The HDF5 layer below plate files: open and verify a file, read its chunks, write a new one."""
