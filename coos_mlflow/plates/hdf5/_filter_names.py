"""Names of HDF5 filters, and advice for messages: how to copy a file without an unsupported one."""

from __future__ import annotations

from coos_mlflow.plates.columns import shown

_OF_HDF5 = {1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset"}
"""Filters of HDF5 itself (H5Zpublic.h)."""

_OF_HDF5PLUGIN = {
    307: "bzip2",
    32001: "blosc",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32015: "zstd",
    32017: "sz",
    32018: "fcidecomp",
    32024: "sz3",
    32026: "blosc2",
    32028: "sperr",
}
"""Filters in the Python package hdf5plugin."""

_OTHERS = {
    305: "lzo",
    32000: "lzf",
    32002: "mafisc",
    32003: "snappy",
    32005: "apax",
    32006: "cbf",
    32007: "jpeg-xr",
    32009: "spdp",
    32010: "lpc-rice",
    32011: "ccsds-123",
    32012: "jpeg-ls",
    32014: "fpzip",
    32016: "b3d",
    32019: "jpeg",
    32020: "vbz",
    32021: "fapec",
    32022: "bitgroom",
    32023: "granular bitround",
    32025: "delta-rice",
    32027: "flac",
    32029: "terse/prolix",
    32030: "ffmpeg",
}
"""Other registered filters. Source of these and of hdf5plugin's: The HDF Group's list,
https://github.com/HDFGroup/hdf5_plugins/blob/master/docs/RegisteredFilterPlugins.md."""

_NAMES = _OF_HDF5 | _OF_HDF5PLUGIN | _OTHERS

_REPACK = "h5repack -f GZIP=1 IN OUT"


def name_of(code: int, in_file: bytes = b"") -> str:
    """Return the name of a filter, such as ``"blosc (HDF5 filter 32001)"``.

    Parameters
    ----------
    code : int
        HDF5's number of the filter.
    in_file : bytes
        Name in the file, used for filters that are not registered.
    """
    name = _NAMES.get(code) or shown(in_file.decode(errors="backslashreplace"), 60)
    return f"{name} (HDF5 filter {code})" if name else f"HDF5 filter {code}"


def copy_without(code: int) -> str:
    """Return advice on how to make a copy that is packed by gzip.

    If h5repack does not find a filter, it leaves out the dataset with a warning and exit code 0.
    Therefore the advice includes the folder of the filter's plugin.
    """
    if code in _OF_HDF5:
        return f"`{_REPACK}` makes such a copy"
    if code in _OF_HDF5PLUGIN:
        plugins = "$(python -c 'import hdf5plugin; print(hdf5plugin.PLUGINS_PATH)')"
        return (
            f"after `pip install hdf5plugin`, `HDF5_PLUGIN_PATH={plugins} {_REPACK}` makes such a "
            "copy"
        )
    return f"with its plugin in the folder HDF5_PLUGIN_PATH, `{_REPACK}` makes such a copy"
